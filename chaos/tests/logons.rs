//! Who is in and for how long, on three real nodes: users that are shut out, passwords that change, accounts that are locked out, and what
//! the cluster demands of sessions.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use chaos::client::{ClientError, ClientIdentity, OpenPlan, Session, Tree, Try};
use chaos::cluster::{CA_SHARE, Cluster, ClusterOptions};
use serde_json::Value;
use smb_proto::message::negotiate::SecurityMode;
use smb_types::{NtStatus, ShareAccess};
use tokio::process::Command;

const PASSWORD: &str = "Person-Password-1";
const OTHER_PASSWORD: &str = "Person-Password-2";
/// Within this a user is out on every node, from the operator's command on.
const CUT_OFF_MAX: Duration = Duration::from_secs(1);
/// How long something that is on its way may take.
const SOON: Duration = Duration::from_secs(20);

struct World {
    cluster: Cluster,
    folder: tempfile::TempDir,
}

impl World {
    async fn start(loopback: &str) -> Self {
        let options = ClusterOptions { loopback: Some(loopback.to_owned()), ..ClusterOptions::default() };
        let world = Self { cluster: Cluster::start(&options).await.unwrap(), folder: tempfile::tempdir().unwrap() };
        for name in ["ann", "bob"] {
            world.holdfast(0, &["user", "add", name, "--password-file", world.secret(PASSWORD).to_str().unwrap()]).await;
        }
        world
    }

    /// A file that holds a password.
    fn secret(&self, password: &str) -> PathBuf {
        let path = self.folder.path().join(password);
        std::fs::write(&path, password).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        path
    }

    /// A command of the operator, to a node.
    async fn holdfast(&self, node: usize, arguments: &[&str]) -> String {
        let (code, said) = self.cluster.command(node, arguments).await.unwrap();
        assert_eq!(code, Some(0), "{arguments:?}: {said}");
        said
    }

    async fn log_on(&self, node: usize, user: &str, password: &str) -> Result<Tree, ClientError> {
        let (session, _breaks) = Session::connect(self.cluster.nodes[node].smb, &ClientIdentity::new(user, password), 0).await?;
        Tree::connect(&session, "HOLDFAST", CA_SHARE).await
    }

    /// The status of a logon that fails at a node.
    async fn refused(&self, node: usize, user: &str, password: &str) -> Option<NtStatus> {
        self.log_on(node, user, password).await.expect_err("the logon is refused").status()
    }

    /// Waits until a node says this of ann.
    async fn ann(&self, node: usize, is: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + SOON;
        loop {
            let users = self.cluster.look(node, "/api/v1/users").await.unwrap();
            let ann = users.as_array().unwrap().iter().find(|user| user["name"] == "ann").unwrap().clone();
            if is(&ann) {
                return ann;
            }
            assert!(Instant::now() < end, "{ann}");
        }
    }

    async fn foreign(&self, program: &str, node: usize, arguments: &[&str]) -> String {
        let at = self.cluster.nodes[node].smb;
        let mut command = Command::new(program);
        command.args(arguments).args(["-p", &at.port().to_string()]).stdin(Stdio::null());
        let output = command.output().await.expect("smbclient and rpcclient are installed");
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    }

    /// What smbclient lists as bob, with options of its own.
    async fn list(&self, node: usize, options: &[&str]) -> String {
        let share = format!("//{}/{CA_SHARE}", self.cluster.nodes[node].smb.ip());
        let account = format!("bob%{PASSWORD}");
        self.foreign("smbclient", node, &[&[share.as_str(), "-U", &account, "-c", "ls"][..], options].concat()).await
    }
}

/// Shares nothing, and persists.
fn exclusive(path: &str) -> OpenPlan {
    OpenPlan { share_access: ShareAccess::NONE, ..OpenPlan::read_write(path) }
}

/// Whether a request shows that its session is gone.
fn is_out(answer: &Result<impl Sized, ClientError>) -> bool {
    match answer {
        Err(ClientError::Lost) => true,
        Err(error) => error.status() == Some(NtStatus::USER_SESSION_DELETED),
        Ok(_) => false,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_user_is_out_on_three_nodes_within_a_second() {
    let world = World::start("127.0.121").await;
    let mut hers = Vec::new();
    for node in 0..3 {
        let tree = world.log_on(node, "ann", PASSWORD).await.unwrap();
        tree.create(&exclusive(&format!("f{node}")).durable_request(true), Try::default()).await.unwrap();
        hers.push(tree);
    }
    // One whose client is away waits for it.
    let away = world.log_on(1, "ann", PASSWORD).await.unwrap();
    away.create(&exclusive("away").durable_request(true), Try::default()).await.unwrap();
    away.session.connection.sever();
    let bob = world.log_on(2, "bob", PASSWORD).await.unwrap();
    let taken = bob.create(&exclusive("f0").request(), Try::default()).await.unwrap_err();
    assert_eq!(taken.status(), Some(NtStatus::SHARING_VIOLATION));

    let from = Instant::now();
    world.holdfast(1, &["user", "disable", "ann"]).await;
    for tree in &hers {
        let answer = tree.create(&OpenPlan::read_write("more").request(), Try::default()).await;
        assert!(is_out(&answer), "{:?}", answer.err());
    }
    let cut_off = from.elapsed();
    assert!(cut_off < CUT_OFF_MAX, "{cut_off:?}");
    for name in ["f0", "f1", "f2", "away"] {
        bob.create(&exclusive(name).request(), Try::default()).await.expect("nobody is in the way any more");
    }
    for node in 0..3 {
        assert_eq!(world.refused(node, "ann", PASSWORD).await, Some(NtStatus::ACCOUNT_DISABLED));
        assert_eq!(world.refused(node, "ann", "wrong").await, Some(NtStatus::LOGON_FAILURE));
    }
    assert!(world.holdfast(2, &["user", "list"]).await.contains("disabled"));
    world.holdfast(0, &["user", "enable", "ann"]).await;
    world.log_on(2, "ann", PASSWORD).await.unwrap();

    let from = Instant::now();
    let there = world.log_on(0, "ann", PASSWORD).await.unwrap();
    world.holdfast(2, &["user", "remove", "ann"]).await;
    assert!(is_out(&there.create(&OpenPlan::read_write("more").request(), Try::default()).await));
    assert!(from.elapsed() < CUT_OFF_MAX + CUT_OFF_MAX);
    assert_eq!(world.refused(1, "ann", PASSWORD).await, Some(NtStatus::LOGON_FAILURE), "as if there had never been one");
    println!("cut off on three nodes {cut_off:?} after the operator's command had been started");
    world.cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_password_ends_what_the_old_one_has_begun() {
    let world = World::start("127.0.122").await;
    let mut hers = Vec::new();
    for node in 0..3 {
        hers.push(world.log_on(node, "ann", PASSWORD).await.unwrap());
    }
    let other = world.secret(OTHER_PASSWORD);
    let from = Instant::now();
    world.holdfast(0, &["user", "passwd", "ann", "--password-file", other.to_str().unwrap()]).await;
    for tree in &hers {
        assert!(is_out(&tree.create(&OpenPlan::read_write("more").request(), Try::default()).await));
    }
    assert!(from.elapsed() < CUT_OFF_MAX, "{:?}", from.elapsed());
    for node in 0..3 {
        assert_eq!(world.refused(node, "ann", PASSWORD).await, Some(NtStatus::LOGON_FAILURE));
        world.log_on(node, "ann", OTHER_PASSWORD).await.unwrap();
    }
    world.cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_at_different_nodes_lock_an_account_out_on_all() {
    let world = World::start("127.0.123").await;
    world.holdfast(0, &["cluster", "set", "lockout-threshold=3", "lockout-minutes=60"]).await;
    for node in 0..3 {
        assert_eq!(world.refused(node, "ann", "wrong").await, Some(NtStatus::LOGON_FAILURE), "node {node}");
        assert_eq!(world.refused(node, "nobody", "wrong").await, Some(NtStatus::LOGON_FAILURE), "as for no account");
        world.ann((node + 1) % 3, |ann| ann["failed_logons"] == node + 1).await;
    }
    for node in 0..3 {
        world.ann(node, |ann| ann["locked_out"] == true).await;
        for word in [PASSWORD, "wrong"] {
            assert_eq!(world.refused(node, "ann", word).await, Some(NtStatus::ACCOUNT_LOCKED_OUT), "node {node}");
        }
    }
    assert!(world.holdfast(2, &["user", "list"]).await.contains("locked out"));
    world.log_on(0, "bob", PASSWORD).await.unwrap();
    world.holdfast(1, &["user", "unlock", "ann"]).await;
    for node in 0..3 {
        world.log_on(node, "ann", PASSWORD).await.unwrap();
    }
    let logged = std::fs::read_to_string(world.cluster.directory().join("node-1").join("log")).unwrap();
    let line = logged.lines().find(|line| line.contains("logon refused") && line.contains("ann")).expect("refused logons are logged");
    assert!(line.contains("WARN") && line.contains("address=127.0."), "{line}");
    world.cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_cluster_demands_holds_on_every_node_at_once() {
    let world = World::start("127.0.124").await;
    let said = world.holdfast(2, &["cluster", "show"]).await;
    assert!(said.contains("signing=required") && said.contains("encryption=offered") && said.contains("list-anonymously=off"), "{said}");
    let (in_clear, sealed) = (&["--client-protection=sign"], &["--client-protection=encrypt"]);
    for (option, may_be_in_clear) in [("encryption=required", false), ("encryption=offered", true)] {
        world.holdfast(0, &["cluster", "set", option]).await;
        for node in 0..3 {
            let said = world.list(node, in_clear).await;
            // The server tells the client to encrypt, and a client of 3.1.1 can; one of 2.1 cannot.
            assert!(said.contains("blocks"), "{option}, node {node}: {said}");
            let old = world.list(node, &["-m", "SMB2_10"]).await;
            assert_eq!(old.contains("blocks"), may_be_in_clear, "{option}, node {node}: {old}");
            assert!(world.list(node, sealed).await.contains("blocks"));
        }
    }
    for (option, is_listed) in [("list-anonymously=off", false), ("list-anonymously=on", true)] {
        world.holdfast(1, &["cluster", "set", option]).await;
        for node in 0..3 {
            let address = world.cluster.nodes[node].smb.ip().to_string();
            let said = world.foreign("rpcclient", node, &["-U", "%", &address, "-c", "netshareenum 1"]).await;
            assert_eq!(said.contains(CA_SHARE), is_listed, "{option}, node {node}: {said}");
            assert_eq!(said.contains("NT_STATUS_ACCESS_DENIED"), !is_listed, "{option}, node {node}: {said}");
        }
    }
    for (option, demands) in [("signing=offered", false), ("signing=required", true)] {
        world.holdfast(2, &["cluster", "set", option]).await;
        for node in 0..3 {
            let tree = world.log_on(node, "bob", PASSWORD).await.unwrap();
            assert_eq!(tree.session.negotiated.security_mode.contains(SecurityMode::SIGNING_REQUIRED), demands, "{option}, node {node}");
        }
    }
    let (code, said) = world.cluster.command(0, &["cluster", "set", "lockout-minutes=0"]).await.unwrap();
    assert!(code != Some(0) && said.contains("1 to 10080"), "{said}");
    let audit = world.holdfast(0, &["audit"]).await;
    assert!(audit.contains("settings"), "{audit}");
    world.cluster.stop().await.unwrap();
}
