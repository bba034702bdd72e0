//! Two users without privileges, and what one may do with the files of the other: smbclient and smbcacls through every node of a cluster.
//!
//! smbcacls knows no other port than 445: the test runs in a network namespace of its own where it can make one, else at addresses of its
//! own where it may listen there.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::path::Path;
use std::process::Stdio;

use chaos::cluster::{Cluster, ClusterOptions, PLAIN_SHARE, write_secret};
use tokio::process::Command;

/// Set in the process that is in the namespace.
const INSIDE: &str = "HOLDFAST_TEST_NAMESPACE";
const PASSWORD: &str = "Person-Password-1";
/// FILE_ALL_ACCESS and the rights that are taken out of it (MS-SMB2 2.2.13.1).
const ALL: u32 = 0x001F_01FF;
const READ_DATA: u32 = 0x1;
const LIST: u32 = 0x1;
const WRITE_DATA: u32 = 0x2;
const ADD_FILE: u32 = 0x2;
const ADD_DIRECTORY: u32 = 0x4;
const DELETE_CHILD: u32 = 0x40;
const READ_ATTRIBUTES: u32 = 0x80;
const WRITE_ATTRIBUTES: u32 = 0x100;
const DELETE: u32 = 0x0001_0000;
const READ_CONTROL: u32 = 0x0002_0000;
const WRITE_DAC: u32 = 0x0004_0000;
const WRITE_OWNER: u32 = 0x0008_0000;
/// GENERIC_READ of a file.
const READ: u32 = 0x0012_0089;

/// What bob does; %D is ann's directory, %W his own, %BOB his SID.
#[derive(Clone, Copy, Debug)]
enum Deed {
    Smb(&'static str),
    Acls(&'static [&'static str]),
}
use Deed::{Acls, Smb};

/// A deed, what bob has missing from all rights on ann's directory and on her file in it, and whether that is enough (MS-FSA 2.1.5.1,
/// 2.1.5.15.12, 2.1.5.15.6).
const TABLE: &[(Deed, u32, u32, bool)] = &[
    (Smb("get %D/f got"), 0, READ_DATA, false),
    (Smb("get %D/f got"), ALL, ALL & !READ, true),
    (Smb("put other %D/f"), 0, WRITE_DATA, false),
    (Smb("put other %D/f"), ALL, 0, true),
    (Smb("del %D/f"), DELETE_CHILD, DELETE, false),
    (Smb("del %D/f"), DELETE_CHILD, 0, true),
    (Smb("del %D/f"), 0, DELETE, true),
    (Smb("rename %D/f %W/taken"), DELETE_CHILD, DELETE, false),
    (Smb("rename %D/f %W/taken"), DELETE_CHILD, 0, true),
    (Smb("rename %D/f %W/taken"), 0, DELETE, true),
    (Smb("rename %W/own %D/new"), ADD_FILE, 0, false),
    (Smb("rename %W/own %D/new"), ALL & !ADD_FILE, 0, true),
    (Smb("rename %W/own %D/f -f"), DELETE_CHILD, DELETE, false),
    (Smb("rename %W/own %D/f -f"), ADD_FILE, 0, false),
    (Smb("rename %W/own %D/f -f"), DELETE_CHILD, 0, true),
    (Smb("rename %W/owndir %D/moved"), ADD_DIRECTORY, 0, false),
    (Smb("rename %W/owndir %D/moved"), ALL & !ADD_DIRECTORY, 0, true),
    (Smb("hardlink %W/own %D/link"), ADD_FILE, 0, false),
    (Smb("hardlink %W/own %D/link"), ALL & !ADD_FILE, 0, true),
    (Smb("mkdir %D/sub"), ADD_DIRECTORY, 0, false),
    (Smb("mkdir %D/sub"), ALL & !ADD_DIRECTORY, 0, true),
    (Smb("put other %D/new"), ADD_FILE, 0, false),
    (Smb("put other %D/new"), ALL & !ADD_FILE, 0, true),
    (Smb("ls %D/*"), LIST, 0, false),
    (Smb("ls %D/*"), ALL & !LIST, ALL, true),
    (Smb("allinfo %D/f"), LIST, READ_ATTRIBUTES, false),
    (Smb("allinfo %D/f"), 0, READ_ATTRIBUTES, true),
    (Smb("allinfo %D/f"), ALL, 0, true),
    (Smb("setmode %D/f +h"), 0, WRITE_ATTRIBUTES, false),
    (Smb("setmode %D/f +h"), ALL, 0, true),
    (Acls(&["%D/f"]), 0, READ_CONTROL, false),
    (Acls(&["%D/f"]), ALL, 0, true),
    (Acls(&["%D/f", "-a", "ACL:S-1-1-0:ALLOWED/0x0/READ"]), 0, WRITE_DAC, false),
    (Acls(&["%D/f", "-a", "ACL:S-1-1-0:ALLOWED/0x0/READ"]), ALL, 0, true),
    (Acls(&["%D/f", "-S", "OWNER:%BOB"]), 0, WRITE_OWNER, false),
    (Acls(&["%D/f", "-S", "OWNER:%BOB"]), ALL, 0, true),
];

/// A foreign client's answer: all that it says.
async fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().await.expect("smbclient is installed");
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn is_refused(said: &str) -> bool {
    said.contains("NT_STATUS_ACCESS_DENIED")
}

struct World {
    cluster: Cluster,
    folder: tempfile::TempDir,
    ann: String,
    bob: String,
}

impl World {
    async fn start(loopback: &str) -> Self {
        let options = ClusterOptions { loopback: Some(loopback.to_owned()), well_known_ports: true, ..ClusterOptions::default() };
        let cluster = Cluster::start(&options).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("hers"), "ann's\n").unwrap();
        std::fs::write(folder.path().join("other"), "bob's\n").unwrap();
        let password = write_secret(folder.path(), "password", PASSWORD).unwrap();
        let mut world = Self { cluster, folder, ann: String::new(), bob: String::new() };
        for name in ["ann", "bob"] {
            world.holdfast(&["user", "add", name, "--password-file", password.to_str().unwrap()]).await;
        }
        let users = world.cluster.look(0, "/api/v1/users").await.unwrap();
        let sid =
            |name: &str| users.as_array().unwrap().iter().find(|user| user["name"] == name).unwrap()["sid"].as_str().unwrap().to_owned();
        (world.ann, world.bob) = (sid("ann"), sid("bob"));
        world
    }

    /// A command of the operator.
    async fn holdfast(&self, arguments: &[&str]) {
        let (code, said) = self.cluster.command(0, arguments).await.unwrap();
        assert_eq!(code, Some(0), "{arguments:?}: {said}");
    }

    /// `turn`: which node.
    fn share(&self, turn: usize) -> String {
        format!("//{}/{PLAIN_SHARE}", self.cluster.nodes[turn % self.cluster.nodes.len()].smb.ip())
    }

    fn client(&self, program: &str, user: &str, turn: usize) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.folder.path()).arg(self.share(turn)).args(["-U", &format!("{user}%{PASSWORD}")]);
        command
    }

    async fn smbclient(&self, user: &str, turn: usize, commands: &str) -> String {
        run(self.client("smbclient", user, turn).args(["-c", commands])).await
    }

    async fn smbcacls(&self, user: &str, turn: usize, arguments: &[&str]) -> String {
        run(self.client("smbcacls", user, turn).args(arguments)).await
    }

    /// What ann's file says.
    async fn hers(&self, turn: usize, path: &str) -> String {
        let said = self.smbclient("ann", turn, &format!("get {path} back")).await;
        std::fs::read_to_string(self.folder.path().join("back")).unwrap_or(said)
    }

    /// Bob's rights, and all rights of ann.
    async fn allow_bob(&self, turn: usize, path: &str, rights: u32) {
        let mut list = format!("ACL:{}:ALLOWED/0x0/0x{ALL:08x}", self.ann);
        if rights != 0 {
            list.push_str(&format!(",ACL:{}:ALLOWED/0x0/0x{rights:08x}", self.bob));
        }
        let said = self.smbcacls("ann", turn, &[path, "-S", &list]).await;
        assert!(said.is_empty(), "{path} {list}: {said}");
    }
}

/// One deed at a time, each with a directory and a file of its own; the lists are set through one node and asked at another.
async fn table(world: &World) {
    let (mut of_ann, mut of_bob) = (String::new(), String::new());
    for row in 0..TABLE.len() {
        of_ann.push_str(&format!("mkdir d{row}; put hers d{row}/f; "));
        of_bob.push_str(&format!("mkdir w{row}; put other w{row}/own; mkdir w{row}/owndir; "));
    }
    for (user, commands) in [("ann", of_ann), ("bob", of_bob)] {
        let said = world.smbclient(user, 0, &commands).await;
        assert!(!said.contains("NT_STATUS"), "{user}: {said}");
    }
    for (row, &(deed, not_directory, not_file, expected)) in TABLE.iter().enumerate() {
        let named = |text: &str| text.replace("%D/", &format!("d{row}/")).replace("%W/", &format!("w{row}/")).replace("%BOB", &world.bob);
        world.allow_bob(row, &named("%D/f"), ALL & !not_file).await;
        world.allow_bob(row, &format!("d{row}"), ALL & !not_directory).await;
        let said = match deed {
            Smb(commands) => world.smbclient("bob", row + 1, &named(commands)).await,
            Acls(arguments) => {
                let arguments: Vec<String> = arguments.iter().map(|argument| named(argument)).collect();
                let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
                world.smbcacls("bob", row + 1, &arguments).await
            }
        };
        let what = format!("{deed:?} without 0x{not_directory:x} on the directory and 0x{not_file:x} on the file");
        assert_eq!(!is_refused(&said), expected, "{what}: {said}");
        assert_ne!(expected, said.contains("NT_STATUS"), "{what}: {said}");
        if !expected {
            assert_eq!(world.hers(row + 2, &named("%D/f")).await, "ann's\n", "{what}: refused, and yet");
        }
    }
}

/// Groups in groups, share options and share lists: each is asked at another node than the one that was told, and counts at once.
async fn rules(world: &World) {
    let try_to = |turn: usize, commands: &'static str| world.smbclient("bob", turn, commands);
    let said = world.smbclient("ann", 0, "mkdir team; put hers team/f").await;
    assert!(!said.contains("NT_STATUS"), "{said}");
    for group in ["staff", "inner"] {
        world.holdfast(&["group", "add", group]).await;
    }
    let groups = world.cluster.look(0, "/api/v1/groups").await.unwrap();
    let staff = groups.as_array().unwrap().iter().find(|group| group["name"] == "staff").unwrap()["sid"].as_str().unwrap();
    let list = format!("ACL:{}:ALLOWED/0x3/FULL,ACL:{staff}:ALLOWED/0x3/FULL", world.ann);
    for path in ["team", "team/f"] {
        let said = world.smbcacls("ann", 1, &[path, "-S", &list]).await;
        assert!(said.is_empty(), "{said}");
    }
    let get = "get team/f got";
    assert!(is_refused(&try_to(2, get).await), "bob is in no group");
    world.holdfast(&["group", "member", "add", "staff", "inner"]).await;
    world.holdfast(&["group", "member", "add", "inner", "bob"]).await;
    let said = try_to(2, get).await;
    assert!(!said.contains("NT_STATUS"), "a member of a member: {said}");
    let said = world.smbclient("bob", 1, "ls team/*").await;
    assert!(said.contains(" f "), "{said}");
    world.holdfast(&["group", "member", "remove", "inner", "bob"]).await;
    assert!(is_refused(&try_to(2, get).await), "no longer a member");

    let change = |options: &'static [&'static str]| async move {
        let arguments: Vec<&str> = ["share"].iter().chain(options).copied().collect();
        world.holdfast(&arguments).await;
    };
    let put = "put other free";
    // (change, what bob tries then, whether it succeeds)
    let steps: &[(&[&str], &str, bool)] = &[
        (&["set", PLAIN_SHARE, "comment=as it was"], put, true),
        (&["set", PLAIN_SHARE, "read-only=on"], put, false),
        (&["set", PLAIN_SHARE, "read-only=on"], "get free got", true),
        (&["set", PLAIN_SHARE, "read-only=off"], put, true),
        (&["set", PLAIN_SHARE, "valid-users=ann"], "ls", false),
        (&["set", PLAIN_SHARE, "valid-users=ann,bob"], "ls", true),
        (&["set", PLAIN_SHARE, "valid-users=", "hosts-allow=192.0.2.0/24"], "ls", false),
        (&["set", PLAIN_SHARE, "hosts-allow="], put, true),
        (&["acl", "deny", PLAIN_SHARE, "bob", "change"], "ls", false),
        (&["acl", "remove", PLAIN_SHARE, "bob"], put, true),
        (&["acl", "allow", PLAIN_SHARE, "Everyone", "read"], put, false),
        (&["acl", "allow", PLAIN_SHARE, "Everyone", "read"], "get free got", true),
        (&["acl", "reset", PLAIN_SHARE], put, true),
    ];
    for (turn, (options, commands, expected)) in steps.iter().enumerate() {
        change(options).await;
        let said = try_to(turn, commands).await;
        assert_eq!(!said.contains("NT_STATUS"), *expected, "{options:?}, {commands}: {said}");
        assert_eq!(is_refused(&said), !expected, "{options:?}, {commands}: {said}");
    }
    assert!(try_to(0, "ls").await.contains("team"), "a name is seen by all");
    change(&["set", PLAIN_SHARE, "access-based-enumeration=on"]).await;
    for turn in 0..3 {
        let said = try_to(turn, "ls").await;
        assert!(said.contains("free") && !said.contains("team"), "what bob may not read is not listed: {said}");
        assert!(world.smbclient("ann", turn, "ls").await.contains("team"));
    }
}

async fn inside(loopback: &str) {
    let world = World::start(loopback).await;
    table(&world).await;
    rules(&world).await;
    world.cluster.stop().await.unwrap();
}

/// Runs this test once more in a network namespace; None where none can be made.
fn in_a_namespace() -> Option<std::process::Output> {
    let unshare = || {
        let mut command = std::process::Command::new("unshare");
        if !rustix::process::geteuid().is_root() {
            command.args(["--user", "--map-root-user"]);
        }
        command.args(["--net", "--", "sh", "-c"]);
        command
    };
    let possible = unshare().arg("ip link set lo up").stderr(Stdio::null()).status();
    if !possible.is_ok_and(|status| status.success()) {
        return None;
    }
    let own = std::env::current_exe().unwrap();
    let again = "ip link set lo up && exec \"$0\" --exact two_users_and_what_one_may_do_with_the_files_of_the_other --nocapture";
    Some(unshare().arg(again).arg(Path::new(&own)).env(INSIDE, "1").output().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_users_and_what_one_may_do_with_the_files_of_the_other() {
    if std::env::var_os(INSIDE).is_some() {
        return inside("127.0.0").await;
    }
    match tokio::task::spawn_blocking(in_a_namespace).await.unwrap() {
        Some(output) => assert!(
            output.status.success(),
            "in a network namespace: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        ),
        None => inside("127.0.107").await,
    }
}
