//! Real processes, stopped and continued: what a node does with a life that ended while it slept.
//!
//! The test program starts itself again as the other nodes. Each writes a journal as a server writes files: it makes sure of its lease,
//! writes, makes sure again, and only then acknowledges.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests; a child tells on its standard output that it serves")]

mod common;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, Stdio};
use std::time::Duration;

use common::Cluster;
use common::*;
use persistence::{NodeIdentity, OpenError, Scope, StartError, Store, StoreConfig};
use persistence_model::*;
use tokio::time::timeout;

const CHILD: &str = "PERSISTENCE_TEST_CHILD";
const LEASE: Duration = Duration::from_millis(1000);

fn config(dir: &Path, identity: NodeIdentity, listen: SocketAddr) -> StoreConfig {
    let mut config = StoreConfig::new(identity, dir.join("data"), listen);
    (config.lease, config.margin) = (LEASE, LEASE / 10);
    config
}

fn journal(dir: &Path) -> File {
    OpenOptions::new().create(true).append(true).open(dir.join("journal")).unwrap()
}

/// Not a test by itself: what a started process does. It ends with its standard input.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Ok(dir) = std::env::var(CHILD) else { return };
    let dir = PathBuf::from(dir);
    let bytes = std::fs::read(dir.join("identity")).unwrap();
    let (identity, _) = bincode::serde::decode_from_slice(&bytes, bincode::config::standard()).unwrap();
    let listen = std::fs::read_to_string(dir.join("listen")).unwrap().parse().unwrap();
    let store = Store::open(config(&dir, identity, listen)).await.unwrap();
    let any = "127.0.0.1:0".parse().unwrap();
    store.serve(NodeAddresses { smb: vec![any], witness: any, mapper: any, admin: any, raft: any });
    store.wait_serving(SOON).await.unwrap();
    println!("\nserving");
    std::thread::spawn(move || work(&store, &mut journal(&dir)));
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await.unwrap().unwrap();
    std::process::exit(0);
}

/// One I/O after the other, as long as the process lives.
fn work(store: &Store, journal: &mut File) {
    for n in 0u64.. {
        std::thread::sleep(Duration::from_micros(300));
        let Some(life) = store.incarnation() else { continue };
        let ours = || store.lease_valid() && store.incarnation() == Some(life);
        if !ours() {
            continue;
        }
        writeln!(journal, "wrote {life} {n}").unwrap();
        if ours() {
            writeln!(journal, "acknowledged {life} {n}").unwrap();
        }
    }
}

struct Node {
    child: Child,
    dir: PathBuf,
}

impl Node {
    async fn start(cluster: &mut Cluster, id: u64) -> Self {
        let (identity, listen) = cluster.admit().await;
        assert_eq!(identity.node_id, id);
        let dir = cluster.dir.path().join(format!("process{id}"));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("identity"), bincode::serde::encode_to_vec(&identity, bincode::config::standard()).unwrap()).unwrap();
        std::fs::write(dir.join("listen"), listen.to_string()).unwrap();
        let exe = std::env::current_exe().unwrap();
        let mut child = Process::new(exe)
            .args(["--exact", "child", "--nocapture"])
            .env(CHILD, &dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = child.stdout.take().unwrap();
        let served = tokio::task::spawn_blocking(move || BufReader::new(stdout).lines().any(|line| line.unwrap() == "serving"));
        assert!(served.await.unwrap(), "node {id} did not begin to serve");
        Self { child, dir }
    }

    fn signal(&self, name: &str) {
        assert!(Process::new("kill").args([name, &self.child.id().to_string()]).status().unwrap().success());
    }

    fn journal(&self) -> String {
        std::fs::read_to_string(self.dir.join("journal")).unwrap_or_default()
    }

    /// Waits until the journal says something; it is a file, so it is looked at again and again.
    async fn wait_for(&self, what: &str) {
        let looks = async {
            while !self.journal().contains(what) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(SOON, looks).await.unwrap_or_else(|_| panic!("the journal never said {what:?}"));
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Writes of `life` that were made after the line that says that it was taken, and how many of them were acknowledged.
fn late(journal: &str, life: Incarnation) -> (usize, usize) {
    let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let life = life.to_string();
    let (mut after, mut wrote, mut acknowledged) = (false, BTreeMap::new(), 0);
    for line in journal.lines().map(words) {
        match line.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["taken", of] if of == life => after = true,
            ["wrote", of, n] if of == life => drop(wrote.insert(n.to_owned(), after)),
            ["acknowledged", of, n] if of == life => acknowledged += usize::from(wrote[n]),
            _ => {}
        }
    }
    (wrote.into_values().filter(|late| *late).count(), acknowledged)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_slept_past_its_lease_acknowledges_nothing_of_its_old_life() {
    if std::env::var(CHILD).is_ok() {
        return;
    }
    let mut cluster = Cluster::new(1, Wish { lease: LEASE, ..Wish::default() }).await;
    let second = Node::start(&mut cluster, 2).await;
    let third = Node::start(&mut cluster, 3).await;
    cluster.wait_voters(3).await;
    let store = cluster.store(1).clone();
    // First as a follower, then as the one that gives the leases.
    for leads in [false, true] {
        let who = if leads { 2 } else { 1 };
        store.transfer_leader(NodeId(who)).await.unwrap();
        store.watch_leader().wait_for(|leader| leader.is_some_and(|leader| leader.node_id == who)).await.unwrap();
        store.read_barrier().await.unwrap();
        let life = store.with_state(|state| state.node(NodeId(2)).unwrap().incarnation);
        second.wait_for(&format!("acknowledged {life} ")).await;
        let began = store.events_end();
        let mut events = store.subscribe();
        second.signal("-STOP");
        assert_eq!(death(&mut events, NodeId(2)).await, life);
        // From here on somebody else may use what it had.
        writeln!(journal(&second.dir), "taken {life}").unwrap();
        second.signal("-CONT");
        let next_life = |event: &Event| match event {
            Event::NodeUp { node: NodeId(2), incarnation } => Some(*incarnation),
            _ => None,
        };
        let new = next(&mut events, next_life).await;
        assert!(new > life);
        second.wait_for(&format!("acknowledged {new} ")).await;
        let (wrote, acknowledged) = late(&second.journal(), life);
        eprintln!("writes of the old life after the takeover: {wrote} (leader: {leads})");
        assert_eq!(acknowledged, 0, "acknowledged after its death was declared");
        assert!(wrote <= 1, "only the I/O that was under way may still be done");
        // When it woke it believed everybody else silent. It declared nobody dead.
        let mut stream = store.watch(began, Scope::News);
        let dead = std::iter::from_fn(|| stream.next_ready().unwrap()).filter_map(|placed| match *placed.event {
            Event::NodeDown { node, .. } => Some(node),
            _ => None,
        });
        assert_eq!(dead.collect::<Vec<_>>(), [NodeId(2)]);
    }
    drop((second, third));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_data_directory_serves_one_process() {
    if std::env::var(CHILD).is_ok() {
        return;
    }
    let mut cluster = Cluster::new(1, Wish { lease: LEASE, ..Wish::default() }).await;
    let second = Node::start(&mut cluster, 2).await;
    let bytes = std::fs::read(second.dir.join("identity")).unwrap();
    let (identity, _): (NodeIdentity, _) = bincode::serde::decode_from_slice(&bytes, bincode::config::standard()).unwrap();
    let refused = Store::open(config(&second.dir, identity, free_address())).await.err().unwrap();
    assert!(matches!(refused, OpenError::Start(StartError::DataDirInUse { .. })), "{refused}");
    assert!(refused.to_string().contains(&second.dir.join("data").display().to_string()), "{refused}");
    // The first one has not noticed anything.
    let life = cluster.store(1).with_state(|state| state.node(NodeId(2)).unwrap().incarnation);
    second.wait_for(&format!("acknowledged {life} ")).await;
}

// A copy of a data directory on another machine is the same node at another address.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copied_data_directory_is_refused_while_its_node_runs() {
    if std::env::var(CHILD).is_ok() {
        return;
    }
    let mut cluster = Cluster::new(3, Wish { lease: LEASE, ..Wish::default() }).await;
    cluster.kill(3).await;
    let mut copy = cluster.config(3);
    let original = copy.listen.to_string();
    copy.data_dir = cluster.dir.path().join("copy");
    copy.listen = free_address();
    assert!(Process::new("cp").arg("-a").arg(cluster.config(3).data_dir).arg(&copy.data_dir).status().unwrap().success());
    cluster.start(3).await;
    let life = cluster.store(3).wait_serving(SOON).await.unwrap();
    let refused = Store::open(copy.clone()).await.err().unwrap();
    assert!(matches!(refused, OpenError::Start(StartError::RunsElsewhere { node: 3, .. })), "{refused}");
    for named in [&original, &copy.data_dir.display().to_string()] {
        assert!(refused.to_string().contains(named), "{refused}");
    }
    assert_eq!(cluster.store(3).incarnation(), Some(life), "the first one has not noticed anything");
    // When it is gone, nobody can tell that its copy is older than what it had promised; but the others go on, and nobody else dies.
    let began = cluster.store(1).events_end();
    cluster.kill(3).await;
    let stale = Store::open(copy).await.unwrap();
    let any = "127.0.0.1:0".parse().unwrap();
    stale.serve(NodeAddresses { smb: vec![any], witness: any, mapper: any, admin: any, raft: any });
    for n in 0..50u8 {
        let added = cluster.run(2, Command::UserAdd { name: format!("u{n}"), nt_hash: [n; 16], sid: None, unix: None }).await;
        assert!(matches!(added, Outcome::UserAdded { .. }), "{added:?}");
    }
    for id in [1, 2] {
        cluster.store(id).read_barrier().await.unwrap();
        assert_eq!(cluster.store(id).with_state(|state| state.users().count()), 50);
        assert!(cluster.store(id).lease_valid(), "node {id}");
    }
    let mut stream = cluster.store(1).watch(began, Scope::News);
    let downs = std::iter::from_fn(|| stream.next_ready().unwrap()).filter_map(|placed| match *placed.event {
        Event::NodeDown { node, .. } => Some(node),
        _ => None,
    });
    assert!(downs.into_iter().all(|node| node == NodeId(3)));
    stale.kill().await;
}
