//! Who uses a cluster of three nodes, seen and ended by its operator: by command at whichever node, and by foreign RPC clients.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::process::Stdio;
use std::time::{Duration, Instant};

use chaos::client::{ClientError, ClientIdentity, OpenPlan, Session, Tree, Try};
use chaos::cluster::{CA_SHARE, Cluster, ClusterOptions, PASSWORD, USER, write_secret};
use serde_json::Value;
use smb_proto::message::lock::{LockElement, LockFlags};
use smb_types::{NtStatus, ShareAccess};
use tokio::process::Command;

/// How long something that is on its way may take.
const SOON: Duration = Duration::from_secs(20);
const PERSON: &str = "carol";

struct World {
    cluster: Cluster,
    _folder: tempfile::TempDir,
}

/// A handle of the test's own client.
struct Handle {
    tree: Tree,
    id: smb_types::FileId,
}

impl World {
    async fn start(loopback: &str) -> Self {
        let options = ClusterOptions { loopback: Some(loopback.to_owned()), ..ClusterOptions::default() };
        let (cluster, folder) = (Cluster::start(&options).await.unwrap(), tempfile::tempdir().unwrap());
        let password = write_secret(folder.path(), "password", PASSWORD).unwrap();
        let world = Self { cluster, _folder: folder };
        world.holdfast(0, &["user", "add", PERSON, "--password-file", password.to_str().unwrap()]).await;
        world
    }

    /// A command of the operator, to a node.
    async fn holdfast(&self, node: usize, arguments: &[&str]) -> String {
        let (code, said) = self.cluster.command(node, arguments).await.unwrap();
        assert_eq!(code, Some(0), "{arguments:?}: {said}");
        said
    }

    async fn connect(&self, node: usize, user: &str) -> Result<Tree, ClientError> {
        let (session, _breaks) = Session::connect(self.cluster.nodes[node].smb, &ClientIdentity::new(user, PASSWORD), 0).await?;
        Tree::connect(&session, "HOLDFAST", CA_SHARE).await
    }

    /// A persistent handle that shares nothing.
    async fn open(&self, node: usize, user: &str, path: &str) -> Handle {
        let tree = self.connect(node, user).await.unwrap();
        let opened = tree.create(&exclusive(path).durable_request(true), Try::default()).await.unwrap();
        Handle { id: opened.file_id, tree }
    }

    async fn list(&self, node: usize, what: &str) -> Vec<Value> {
        self.cluster.look(node, &format!("/api/v1/{what}")).await.unwrap().as_array().unwrap().clone()
    }

    /// Waits until a list at a node is like this.
    async fn wait(&self, node: usize, what: &str, is: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let end = Instant::now() + SOON;
        loop {
            let list = self.list(node, what).await;
            if is(&list) {
                return list;
            }
            assert!(Instant::now() < end, "{what}: {list:?}");
        }
    }

    async fn rpcclient(&self, node: usize, user: &str, command: &str) -> String {
        let at = self.cluster.nodes[node].smb;
        let mut client = Command::new("rpcclient");
        client.args([&at.ip().to_string(), "-p", &at.port().to_string(), "-U", &format!("{user}%{PASSWORD}"), "-c", command]);
        let output = client.stdin(Stdio::null()).output().await.expect("rpcclient is installed");
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    }
}

/// Shares nothing.
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
async fn what_is_in_use_is_seen_and_ended_at_any_node() {
    let world = World::start("127.0.122").await;
    let hers = world.open(0, PERSON, "hers").await;
    let lock = LockElement { offset: 10, length: 5, flags: LockFlags::EXCLUSIVE | LockFlags::FAIL_IMMEDIATELY };
    hers.tree.lock(hers.id, &[lock], (0, 0), Try::default()).await.unwrap();
    let away = world.open(1, PERSON, "dir-away").await;
    let his = world.open(1, USER, "his").await;
    away.tree.session.connection.sever();

    // Seen from the third node, by name, address and path, also who is away and until when.
    let handles = world.wait(2, "handles", |list| list.len() == 3 && list.iter().any(|handle| !handle["away_until"].is_null())).await;
    let of = |list: &[Value], path: &str| list.iter().find(|handle| handle["path"] == path).unwrap().clone();
    let (seen, lost) = (of(&handles, "hers"), of(&handles, "dir-away"));
    for handle in [&seen, &lost] {
        assert_eq!(
            (&handle["user"], &handle["share"], &handle["class"]),
            (&PERSON.into(), &CA_SHARE.into(), &"persistent".into()),
            "{handle}"
        );
        assert!(
            handle["client"].as_str().unwrap().starts_with("127.0.0.1:") && handle["since"].as_str().unwrap().ends_with('Z'),
            "{handle}"
        );
    }
    assert_eq!((&seen["node"], &seen["away_since"], &seen["locks"]), (&1.into(), &Value::Null, &1.into()));
    assert!(lost["node"].is_null() && lost["away_since"].as_str() < lost["away_until"].as_str(), "{lost}");
    let locks = world.list(2, "locks").await;
    assert_eq!(locks.len(), 1);
    assert_eq!((&locks[0]["offset"], &locks[0]["length"], &locks[0]["exclusive"]), (&10.into(), &5.into(), &true.into()));
    let said = world.holdfast(2, &["sessions", "--user", PERSON]).await;
    assert!(said.contains("127.0.0.1:") && said.contains("1 sessions"), "{said}");
    let said = world.holdfast(1, &["handles", "--user", PERSON, "--away", "--json"]).await;
    assert_eq!(serde_json::from_str::<Vec<Value>>(said.trim()).unwrap().len(), 1, "{said}");
    assert!(world.holdfast(1, &["handles", "--client", "192.0.2.0/24"]).await.contains("0 handles"));
    assert!(world.holdfast(0, &["locks", "--path", "hers"]).await.contains("exclusive"));

    // A handle whose client is away is in the way until it is closed.
    let other = world.connect(2, USER).await.unwrap();
    let taken = other.create(&exclusive("hers").request(), Try::default()).await.unwrap_err();
    assert_eq!(taken.status(), Some(NtStatus::SHARING_VIOLATION));
    world.holdfast(2, &["handle", "close", lost["id"].as_str().unwrap()]).await;
    other.create(&exclusive("dir-away").request(), Try::default()).await.expect("nobody is in the way any more");
    let (code, said) = world.cluster.command(2, &["handle", "close", lost["id"].as_str().unwrap()]).await.unwrap();
    assert!(code != Some(0) && said.contains("no such handle"), "{said}");

    // A session is closed at a node that does not serve it; its persistent handle goes with it, and others stay.
    assert!(world.holdfast(1, &["session", "close", "--user", PERSON]).await.contains("closed 1 sessions, 1 handles"));
    assert!(is_out(&hers.tree.create(&OpenPlan::read_write("more").request(), Try::default()).await));
    other.create(&exclusive("hers").request(), Try::default()).await.expect("nobody is in the way any more");
    his.tree.flush(his.id, Try::default()).await.expect("another's session stays");
    let (code, _) = world.cluster.command(1, &["session", "close"]).await.unwrap();
    assert_eq!(code, Some(64), "all sessions are not closed for want of a word");

    // Clients at an address are shut out at every node, with what they have.
    let said = world.holdfast(0, &["client", "block", "127.0.0.1", "--reason", "broken host"]).await;
    assert!(said.contains("sessions"), "{said}");
    assert!(is_out(&his.tree.create(&OpenPlan::read_write("more").request(), Try::default()).await));
    world.wait(2, "handles", <[Value]>::is_empty).await;
    for node in 0..3 {
        assert!(world.connect(node, USER).await.is_err(), "node {node} lets nobody in from there");
    }
    assert!(world.holdfast(2, &["client", "list"]).await.contains("broken host"));
    world.holdfast(1, &["client", "unblock", "127.0.0.1"]).await;
    for node in 0..3 {
        world.connect(node, USER).await.unwrap();
    }
    let audit = world.holdfast(0, &["audit", "--all-nodes"]).await;
    for route in ["handles/close", "sessions/close", "clients/block", "clients/unblock"] {
        assert!(audit.contains(route), "{route}: {audit}");
    }
    world.cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_administrators_see_and_end_it_over_rpc() {
    let world = World::start("127.0.123").await;
    let hers = world.open(0, PERSON, "hers").await;
    // It says how many there are, and their names nowhere.
    let said = world.rpcclient(1, USER, "netsessenum 127.0.0.1 carol").await;
    assert!(said.contains("Received 1 entries"), "{said}");
    let said = world.rpcclient(1, USER, "netsessenum 127.0.0.1 nobody").await;
    assert!(!said.contains("Received 1 entries"), "{said}");
    let said = world.rpcclient(1, USER, "netfileenum").await;
    assert!(said.contains(&format!("C:\\{CA_SHARE}\\hers")), "{said}");
    let said = world.rpcclient(0, USER, &format!("netconnenum {CA_SHARE}")).await;
    assert!(!said.contains("ACCESS_DENIED"), "{said}");
    for command in ["netsessenum", "netfileenum", "netsessdel 127.0.0.1 carol"] {
        let said = world.rpcclient(1, PERSON, command).await;
        assert!(said.contains("ACCESS_DENIED"), "{command}: {said}");
    }
    hers.tree.flush(hers.id, Try::default()).await.expect("whoever is no administrator ends nothing");
    // Asked at another node than the one that serves it.
    world.rpcclient(2, USER, "netsessdel 127.0.0.1 carol").await;
    assert!(is_out(&hers.tree.create(&OpenPlan::read_write("more").request(), Try::default()).await));
    world.cluster.stop().await.unwrap();
}
