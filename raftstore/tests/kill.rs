//! Real processes: the leader is killed or stopped, and the others notice.
//!
//! The test program starts itself again as the other nodes.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests; a child tells its address on its standard output")]

mod common;

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use common::{Cluster, Map, SOON};
use raftstore::pki::NodeIdentity;
use raftstore::{Class, Config, RaftStore};

const CHILD: &str = "RAFTSTORE_TEST_CHILD";

/// Not a test by itself: what a started process does. It ends with its standard input.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Ok(dir) = std::env::var(CHILD) else { return };
    let dir = Path::new(&dir);
    let read = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap();
    let identity = NodeIdentity {
        cluster: uuid::Uuid::parse_str(&read("cluster")).unwrap(),
        node_id: read("id").parse().unwrap(),
        ca_pem: read("ca"),
        certificate_pem: read("certificate"),
        key_pem: read("key"),
    };
    let config = Config::new(identity, dir.join("data"), read("listen").parse().unwrap());
    let store = RaftStore::start(config, Arc::new(Map::default())).await.unwrap();
    println!("\nlistening on {}", store.local_addr());
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await.unwrap().unwrap();
}

struct Process {
    child: Child,
    address: String,
}

impl Process {
    fn start(cluster: &Cluster, id: u64, listen: &str) -> Self {
        let dir = cluster.data_dir(id);
        std::fs::create_dir_all(&dir).unwrap();
        let identity = cluster.ca.issue(id).unwrap();
        for (name, text) in [
            ("cluster", identity.cluster.to_string()),
            ("id", id.to_string()),
            ("ca", identity.ca_pem),
            ("certificate", identity.certificate_pem),
            ("key", identity.key_pem),
            ("listen", listen.to_owned()),
        ] {
            std::fs::write(dir.join(name), text).unwrap();
        }
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--nocapture"])
            .env(CHILD, &dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = lines.map(|line| line.unwrap()).find_map(|line| line.strip_prefix("listening on ").map(str::to_owned)).unwrap();
        Self { child, address }
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// SIGKILL, and waits until the kernel has taken everything away.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Node 1 in this process, nodes 2 and 3 as children.
async fn cluster_of_processes() -> (Cluster, Process, Process) {
    let cluster = Cluster::new(1).await;
    let second = Process::start(&cluster, 2, "127.0.0.1:0");
    let third = Process::start(&cluster, 3, "127.0.0.1:0");
    for (id, process) in [(2, &second), (3, &third)] {
        cluster.store(1).add_learner(id, process.address.clone()).await.unwrap();
        cluster.store(1).promote(id).await.unwrap();
    }
    (cluster, second, third)
}

async fn lead(store: &RaftStore, id: u64) {
    store.transfer_leader(id).await.unwrap();
    store.watch_leader().wait_for(|leader| leader.is_some_and(|leader| leader.node_id == id)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_leader_is_replaced_at_once() {
    let (cluster, mut second, third) = cluster_of_processes().await;
    let store = cluster.store(1).clone();
    let mut gaps = Vec::new();
    for round in 0..6u64 {
        lead(&store, 2).await;
        for n in 0..20 {
            store.propose(format!("r{round}={n}").into_bytes(), Class::Persistent, SOON).await.unwrap();
        }
        let address = second.address.clone();
        let start = Instant::now();
        second.kill();
        let applied = store.propose(format!("r{round}=20").into_bytes(), Class::Persistent, SOON).await.unwrap();
        gaps.push(start.elapsed());
        assert_eq!(applied.outcome, b"21", "applied once");
        second = Process::start(&cluster, 2, &address);
    }
    gaps.sort();
    println!("gap between kill and the next commit: {gaps:?}");
    second.kill();
    third.kill();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_leader_is_replaced_and_comes_back_as_a_follower() {
    let (cluster, second, third) = cluster_of_processes().await;
    let store = cluster.store(1).clone();
    lead(&store, 2).await;
    store.propose(b"a=1".to_vec(), Class::Persistent, SOON).await.unwrap();
    second.signal("-STOP");
    let start = Instant::now();
    // The process stops a moment after the signal: it may still take a command.
    store.watch_leader().wait_for(|leader| leader.is_some_and(|leader| leader.node_id != 2)).await.unwrap();
    store.propose(b"a=2".to_vec(), Class::Persistent, SOON).await.unwrap();
    println!("gap between stop and the next commit: {:?}", start.elapsed());
    second.signal("-CONT");
    let applied = store.propose(b"a=3".to_vec(), Class::Persistent, SOON).await.unwrap();
    store.wait_applied_on(2, &applied, SOON).await.unwrap();
    assert_ne!(store.leader().unwrap().node_id, 2);
    second.kill();
    third.kill();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_nodes_killed_at_once_lose_nothing() {
    let (mut cluster, second, third) = cluster_of_processes().await;
    let store = cluster.store(1).clone();
    lead(&store, 2).await;
    for n in 0..50 {
        store.propose(format!("k{n}=v").into_bytes(), Class::Persistent, SOON).await.unwrap();
    }
    let (two, three) = (second.address.clone(), third.address.clone());
    second.kill();
    third.kill();
    drop(store);
    let one = cluster.stop(1).await;
    let (second, third) = (Process::start(&cluster, 2, &two), Process::start(&cluster, 3, &three));
    cluster.start(1, Some(one)).await;
    cluster.store(1).read_barrier(SOON).await.unwrap();
    for n in 0..50 {
        assert_eq!(cluster.nodes[&1].map.get(&format!("k{n}")).unwrap(), (1, "v".to_owned()));
    }
    second.kill();
    third.kill();
}
