//! What the death of a node with many open handles is for everybody else: how long an open of another client takes meanwhile, and when the
//! last handle can be reclaimed. `cargo run -p persistence --example crowd [OPENS]`. Three nodes in one process, so that each command is
//! applied three times on the same processors.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, reason = "a measuring tool")]

#[path = "../tests/common/mod.rs"]
mod common;

use std::time::{Duration, Instant};

use common::{At, Cluster, Wish, fill, numbered};
use persistence::{Scope, Store};
use persistence_model::{Event, NodeId, Outcome};
use tokio::sync::watch;

/// The client opens so many files before the death, and after its end.
const CALM: usize = 3000;
/// The goal for an open while a node dies.
const OPEN_MAX_MS: f64 = 1000.0;

/// As the program has it (docs/decisions/0024-jemalloc.md).
#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[tokio::main]
async fn main() {
    let args: Vec<String> = std::env::args().collect();
    let opens: u64 = args.get(1).and_then(|text| text.replace('_', "").parse().ok()).unwrap_or(333_000);
    let mut cluster = Cluster::new(3, Wish { lease: Duration::from_secs(2), ..Wish::default() }).await;
    let leader = cluster.authority().await;
    let victim = *cluster.ids().iter().find(|id| **id != leader).unwrap();
    let crowd = cluster.session(1, victim).await;
    fill(cluster.store(victim), crowd, 0, opens).await;
    let client = cluster.session(2, leader).await;
    let store = cluster.store(leader).clone();

    let (count, mut opened) = watch::channel(0);
    let working = tokio::spawn(open_while_watched(store.clone(), client, opens, count));
    opened.wait_for(|opened| *opened >= CALM).await.unwrap();
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
    let enough = *opened.borrow() + CALM;
    opened.wait_for(|opened| *opened >= enough).await.unwrap();
    drop(opened);
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

/// Opens one file after the other while somebody watches how many there are; gives when each open began and how long it took.
async fn open_while_watched(store: Store, at: At, first: u64, count: watch::Sender<usize>) -> Vec<(Instant, Duration)> {
    let mut took = Vec::new();
    let mut n = first;
    while count.send(took.len()).is_ok() {
        let began = Instant::now();
        let outcome = store.propose(numbered(at, n)).await.unwrap();
        assert!(matches!(outcome, Outcome::Opened(_)), "{outcome:?}");
        took.push((began, began.elapsed()));
        n += 1;
    }
    took
}
