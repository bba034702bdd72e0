//! Measures commits and failover of three nodes in one process: `cargo run -p raftstore --example commit_latency [seconds per step]`.
#![allow(clippy::unwrap_used, reason = "a measuring tool")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use raftstore::pki::ClusterCa;
use raftstore::{Change, Class, Config, Machine, RaftStore};

struct Nothing;

impl Machine for Nothing {
    fn apply(&self, _index: u64, _time_ms: u64, _command: &[u8]) -> Vec<u8> {
        Vec::new()
    }
    fn take_changes(&self) -> Vec<Change> {
        Vec::new()
    }
    fn load(&self, _entries: &mut dyn Iterator<Item = (Vec<u8>, Vec<u8>)>) -> Result<(), String> {
        Ok(())
    }
    fn applied(&self, _index: u64) {}
}

#[tokio::main]
async fn main() {
    let seconds: u64 = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(3);
    let (ca, dir) = (ClusterCa::create().unwrap(), tempfile::tempdir_in(".").unwrap());
    let mut stores = Vec::new();
    for id in 1..=3 {
        let config = Config::new(ca.issue(id).unwrap(), dir.path().join(id.to_string()), "127.0.0.1:0".parse().unwrap());
        let store = RaftStore::start(config, Arc::new(Nothing)).await.unwrap();
        if id == 1 {
            store.bootstrap().await.unwrap();
        } else {
            let first: &RaftStore = &stores[0];
            first.add_learner(id, store.local_addr().to_string()).await.unwrap();
            first.promote(id).await.unwrap();
        }
        stores.push(store);
    }
    for clients in [1, 16, 64, 256] {
        for (name, store) in [("leader", &stores[0]), ("follower", &stores[1])] {
            let until = Instant::now() + Duration::from_secs(seconds);
            let runs: Vec<_> = (0..clients)
                .map(|_| {
                    let store = store.clone();
                    tokio::spawn(async move {
                        let mut took = Vec::new();
                        while Instant::now() < until {
                            let start = Instant::now();
                            store.propose(vec![7; 256], Class::Persistent, Duration::from_secs(10)).await.unwrap();
                            took.push(start.elapsed());
                        }
                        took
                    })
                })
                .collect();
            let mut took = Vec::new();
            for run in runs {
                took.extend(run.await.unwrap());
            }
            took.sort();
            let at = |part: f64| took[((took.len() - 1) as f64 * part) as usize];
            let rate = took.len() as u64 / seconds;
            println!("{clients:4} clients at the {name:8}: {rate:6}/s  p50 {:?}  p99 {:?}  max {:?}", at(0.5), at(0.99), at(1.0));
        }
    }
    let start = Instant::now();
    for _ in 0..200 {
        stores[1].read_barrier(Duration::from_secs(10)).await.unwrap();
    }
    println!("read barrier at a follower: {:?}", start.elapsed() / 200);

    let leader = stores.iter().position(|store| Some(store.node_id()) == stores[0].leader().map(|leader| leader.node_id)).unwrap();
    let other = stores[(leader + 1) % 3].clone();
    let start = Instant::now();
    stores[leader].shutdown().await;
    let down = start.elapsed();
    other.propose(vec![1], Class::Persistent, Duration::from_secs(10)).await.unwrap();
    println!("leader stopped in {down:?}, first commit elsewhere after {:?}", start.elapsed());
}
