//! Measures what a lock costs when other nodes have the file open, three nodes in one process:
//! `cargo run -p persistence --example barrier_cost [seconds per step]`.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measuring tool")]

#[path = "../tests/common/mod.rs"]
mod common;

use std::time::{Duration, Instant};

use common::{At, Cluster, Wish, lock, request};
use persistence::Store;
use persistence_model::{Command, FileKey, OpenId, Outcome};

/// As the program has it (docs/decisions/0024-jemalloc.md).
#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[tokio::main]
async fn main() {
    let seconds: u64 = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(3);
    let cluster = Cluster::new(3, Wish { lease: Duration::from_secs(20), ..Wish::default() }).await;
    let leader = cluster.authority().await;
    let follower = *cluster.ids().iter().find(|id| **id != leader).unwrap();
    println!("{:<10}{:<9}{:<13}{:>8}{:>12}{:>12}{:>16}", "at", "clients", "open also on", "locks/s", "p50", "p99", "asked per lock");
    let mut inode = 0;
    for (name, via) in [("leader", leader), ("follower", follower)] {
        for clients in [1u8, 16] {
            // Interleaved twice, so that whatever drifts shows.
            for others in [0, 1, 2, 0, 1, 2] {
                inode += 1;
                let file = Some(FileKey { volume: 1, inode, generation: 1, stream: 0 });
                let rest = cluster.ids().into_iter().filter(|id| *id != via);
                for (id, client) in rest.take(others).zip(100u8..) {
                    let at = cluster.session(client.wrapping_add(u8::try_from(inode).unwrap() * 2), id).await;
                    cluster.opened(common_request(file, at)).await;
                }
                step(&cluster, name, via, clients, others, file, seconds).await;
            }
        }
    }
}

fn common_request(file: Option<FileKey>, at: At) -> persistence_model::OpenRequest {
    persistence_model::OpenRequest { file, ..request(at) }
}

async fn step(cluster: &Cluster, name: &str, via: u64, clients: u8, others: usize, file: Option<FileKey>, seconds: u64) {
    let at = session(cluster, via, file).await;
    let open = cluster.opened(common_request(file, at)).await.open;
    let before = cluster.store(via).barriers_asked();
    let until = Instant::now() + Duration::from_secs(seconds);
    let runs = (0..clients).map(|client| tokio::spawn(locks(cluster.store(via).clone(), at, open, u64::from(client) * 100, until)));
    let mut took = Vec::new();
    for run in runs.collect::<Vec<_>>() {
        took.extend(run.await.unwrap());
    }
    took.sort();
    let asked = (cluster.store(via).barriers_asked() - before) as f64 / took.len() as f64;
    let (p50, p99) = (took[took.len() / 2], took[took.len() * 99 / 100]);
    let rate = took.len() as u64 / seconds;
    println!("{name:<10}{clients:<9}{others:<13}{rate:>8}{:>12}{:>12}{asked:>16.2}", format!("{p50:.0?}"), format!("{p99:.0?}"));
    cluster.run(via, Command::CloseOpen { open, by: at.incarnation }).await;
}

async fn session(cluster: &Cluster, via: u64, file: Option<FileKey>) -> At {
    let n = u8::try_from(file.unwrap().inode).unwrap();
    cluster.session(n, via).await
}

async fn locks(store: Store, at: At, open: OpenId, offset: u64, until: Instant) -> Vec<Duration> {
    let mut took = Vec::new();
    while Instant::now() < until {
        let start = Instant::now();
        assert_eq!(store.propose(lock(at, open, offset)).await, Ok(Outcome::LockGranted));
        took.push(start.elapsed());
        let unlock = Command::Unlock { open, ranges: vec![(offset, 10)], sequence: None, by: at.incarnation };
        assert_eq!(store.propose(unlock).await, Ok(Outcome::Done));
    }
    took
}
