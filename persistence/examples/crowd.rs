//! What the death of a node with many open handles is for everybody else: how long an open of another client takes meanwhile, and when the
//! last handle can be reclaimed. `cargo run -p persistence --example crowd [OPENS]`. Three nodes in one process, so that each command is
//! applied three times on the same processors.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, reason = "a measuring tool")]

#[path = "../tests/common/mod.rs"]
mod common;

use std::time::{Duration, Instant};

use common::{At, Cluster, Wish, persistent};
use persistence::{Scope, Store};
use persistence_model::{Command as Order, Event, FileKey, NodeId, OpenRequest, Outcome, RequestedLease, RequestedOplock};
use smb_types::{Guid, LeaseState};
use tokio::sync::oneshot;

/// Proposals under way while the node is filled.
const FILLING: u64 = 512;
/// The client opens so long before the death, and after its end.
const CALM: Duration = Duration::from_secs(2);
/// The goal for an open while a node dies.
const OPEN_MAX_MS: f64 = 1000.0;

#[tokio::main]
async fn main() {
    let args: Vec<String> = std::env::args().collect();
    let opens: u64 = args.get(1).and_then(|text| text.replace('_', "").parse().ok()).unwrap_or(333_000);
    let mut cluster = Cluster::new(3, Wish { lease: Duration::from_secs(2), ..Wish::default() }).await;
    let leader = cluster.authority().await;
    let victim = *cluster.ids().iter().find(|id| **id != leader).unwrap();
    let crowd = cluster.session(1, victim).await;
    fill(cluster.store(victim), crowd, opens).await;
    let client = cluster.session(2, leader).await;
    let store = cluster.store(leader).clone();

    let (stop, stopped) = oneshot::channel();
    let working = tokio::spawn(open_all_the_time(store.clone(), client, opens, stopped));
    tokio::time::sleep(CALM).await;
    let mut events = store.watch(store.events_end(), Scope::News);
    let killed = Instant::now();
    cluster.kill(victim).await;
    let mut declared = None;
    while declared.is_none() || store.with_state(|state| state.is_ending(NodeId(victim))) {
        let placed = events.next().await.unwrap();
        if matches!(&*placed.event, Event::NodeDown { node, .. } if node.0 == victim) {
            declared = Some(killed.elapsed());
        }
    }
    let ended = killed.elapsed();
    tokio::time::sleep(CALM).await;
    stop.send(()).unwrap();
    let took = working.await.unwrap();

    let (mut calm, mut meanwhile) = (Vec::new(), Vec::new());
    for (began, took) in took {
        let is_calm = began + took < killed || began > killed + ended;
        if is_calm { calm.push(took) } else { meanwhile.push(took) }
    }
    let free = store.with_state(|state| state.detached_count());
    assert_eq!(free as u64, opens, "every handle waits for its client");
    println!("{opens} persistent opens of a node that dies, of three in one process; another client opens on the leader");
    println!(
        "declared dead                                    {:10.1} ms after the kill, which frees its memory first",
        millis(declared.unwrap())
    );
    println!("its last handle free to be reclaimed             {:10.1} ms (any of them at once, for its client)", millis(ended));
    println!("an open of the other client, normally            {}", spread(&mut calm));
    let longest = millis(*meanwhile.iter().max().unwrap());
    let met = if longest <= OPEN_MAX_MS { "met" } else { "MISSED" };
    println!("an open of the other client, meanwhile           {}   goal ≤ {OPEN_MAX_MS} ms: {met}", spread(&mut meanwhile));
}

fn millis(took: Duration) -> f64 {
    took.as_secs_f64() * 1e3
}

fn spread(times: &mut [Duration]) -> String {
    times.sort_unstable();
    let at = |share: f64| millis(times[((times.len() - 1) as f64 * share) as usize]);
    format!("p50 {:.2}  p99 {:.2}  longest {:.2} ms", at(0.5), at(0.99), at(1.0))
}

fn wish(at: At, n: u64) -> Order {
    let id = u128::from(n).wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835).to_le_bytes();
    let lease = RequestedLease { key: Guid(id), state: LeaseState::RWH, parent_key: None, epoch: 0, version: 2 };
    Order::OpenFile(Box::new(OpenRequest {
        client_guid: Guid(id),
        create_guid: Some(Guid(id)),
        file: Some(FileKey { volume: 1, inode: 100 + n, generation: 1, stream: 0 }),
        path: format!("department\\project-{:08}\\virtual-machine-{n:016}.vhdx", n / 100),
        oplock: RequestedOplock::Lease(lease),
        ..persistent(at, 600_000)
    }))
}

async fn fill(store: &Store, at: At, opens: u64) {
    let mut tasks = tokio::task::JoinSet::new();
    for lane in 0..FILLING {
        let store = store.clone();
        tasks.spawn(async move {
            for n in (lane..opens).step_by(FILLING as usize) {
                assert!(matches!(store.propose(wish(at, n)).await, Ok(Outcome::Opened(_))));
                if n % 50_000 == 0 {
                    eprintln!("{n} of {opens} opens");
                }
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
}

/// Opens one file after the other; gives when each open began and how long it took.
async fn open_all_the_time(store: Store, at: At, first: u64, mut stopped: oneshot::Receiver<()>) -> Vec<(Instant, Duration)> {
    let mut took = Vec::new();
    let mut n = first;
    while stopped.try_recv().is_err() {
        let began = Instant::now();
        let outcome = store.propose(wish(at, n)).await.unwrap();
        assert!(matches!(outcome, Outcome::Opened(_)), "{outcome:?}");
        took.push((began, began.elapsed()));
        n += 1;
    }
    took
}
