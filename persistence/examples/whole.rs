//! What many open handles cost in a whole store, with its log, its database and its snapshots: the next open, and a restart.
//! `cargo run -p persistence --example whole [OPENS]`. One node, so that nobody's network is measured.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, reason = "a measuring tool")]

#[path = "../tests/common/mod.rs"]
mod common;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use common::{At, Cluster, FILLING, SOON, Wish, fill, numbered};
use persistence::StoreConfig;
use persistence_model::{Command as Order, NodeAddresses, OpenId, Outcome};

/// The small store that the big one is compared with.
const FEW: u64 = 1000;
/// Opens and closes of one measurement.
const PAIRS: u64 = 2000;
/// The word that has the program start a node again, and the file with who it is.
const AGAIN: &str = "--again";
const IDENTITY: &str = "identity";
/// Goals: a restart, and the next open beside the one in the small store.
const RESTART_MAX_S: f64 = 10.0;
const RATIO_MAX: f64 = 1.2;

/// As the program has it (docs/decisions/0024-jemalloc.md).
#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[tokio::main]
async fn main() {
    let args: Vec<String> = std::env::args().collect();
    if let [_, word, dir, address] = args.as_slice()
        && word == AGAIN
    {
        return start_again(Path::new(dir), address.parse().unwrap()).await;
    }
    let opens: u64 = args.get(1).and_then(|text| text.replace('_', "").parse().ok()).unwrap_or(1_000_000);
    let mut cluster = Cluster::new(1, Wish { lease: Duration::from_secs(60), ..Wish::default() }).await;
    let at = cluster.session(1, 1).await;
    fill(cluster.store(1), at, 0, FEW.min(opens)).await;
    let few = pairs(&cluster, at, opens).await;
    let began = Instant::now();
    fill(cluster.store(1), at, FEW.min(opens), opens).await;
    let rate = opens as f64 / began.elapsed().as_secs_f64();
    let many = pairs(&cluster, at, opens + PAIRS).await;
    println!("{opens} opens of a store with one node: persistent, with lease RWH, a path of 60 bytes");
    println!("opened per second, {FILLING} at once                {rate:10.0}");
    println!("open and close at {FEW} opens, median           {:10.1} us", micros(few));
    println!("open and close at {opens} opens, median        {:10.1} us", micros(many));
    let ratio = micros(many) / micros(few);
    println!(
        "ratio of the two                                 {ratio:10.3} times    goal ≤ {RATIO_MAX} times: {}",
        verdict(ratio <= RATIO_MAX)
    );

    let (listed, longest) = pairs_under_a_look(&cluster, at, opens + 2 * PAIRS).await;
    println!(
        "listing all of them                              {:10.1} ms, longest open and close meanwhile {:.1} ms",
        millis(listed),
        millis(longest)
    );

    let address = cluster.store(1).raft_addr();
    std::fs::write(cluster.dir.path().join(IDENTITY), encoded(&cluster.identities[&1])).unwrap();
    cluster.kill(1).await;
    // In a process of its own, as a restart is: here the former life's memory is still being given back.
    let again = Command::new(&args[0]).arg(AGAIN).arg(cluster.dir.path()).arg(address.to_string()).output().unwrap();
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
    let said = String::from_utf8(again.stdout).unwrap();
    let said: Vec<f64> = said.split_whitespace().map(|word| word.parse().unwrap()).collect();
    let [there, loaded, served] = said[..] else { panic!("{said:?}") };
    assert!(there >= opens as f64, "every open is there again: {there}");
    let met = verdict(loaded <= RESTART_MAX_S);
    println!("restart, until all records are there             {loaded:10.2} s        goal ≤ {RESTART_MAX_S} s: {met}");
    println!("and until it serves, with all these opens taken from its own former life {served:10.2} s");
}

/// Starts a node where another process left it, and says how many opens it has, when it had them, and when it served.
async fn start_again(dir: &Path, address: SocketAddr) {
    let identity = std::fs::read(dir.join(IDENTITY)).unwrap();
    let (identity, _) = bincode::serde::decode_from_slice(&identity, bincode::config::standard()).unwrap();
    let mut config = StoreConfig::new(identity, dir.join("node1"), address);
    config.lease = Duration::from_secs(60);
    let began = Instant::now();
    let store = common::open_patiently(config).await;
    let loaded = began.elapsed();
    let any = "127.0.0.1:0".parse().unwrap();
    store.serve(NodeAddresses { smb: vec![any], witness: any, mapper: any, admin: any, raft: any });
    store.wait_serving(4 * SOON).await.unwrap();
    let there = store.with_state(|state| state.opens().count());
    println!("{there} {} {}", loaded.as_secs_f64(), began.elapsed().as_secs_f64());
    store.kill().await;
}

fn encoded(identity: &persistence::NodeIdentity) -> Vec<u8> {
    bincode::serde::encode_to_vec(identity, bincode::config::standard()).unwrap()
}

fn verdict(met: bool) -> &'static str {
    if met { "met" } else { "MISSED" }
}

fn micros(took: Duration) -> f64 {
    took.as_secs_f64() * 1e6
}

fn millis(took: Duration) -> f64 {
    took.as_secs_f64() * 1e3
}

async fn open(cluster: &Cluster, at: At, n: u64) -> OpenId {
    match cluster.run(1, numbered(at, n)).await {
        Outcome::Opened(grant) => grant.open,
        other => panic!("{other:?}"),
    }
}

/// The median of opening one more and closing it.
async fn pairs(cluster: &Cluster, at: At, from: u64) -> Duration {
    let mut took = Vec::new();
    for n in from..from + PAIRS {
        let began = Instant::now();
        let open = open(cluster, at, n).await;
        cluster.run(1, Order::CloseOpen { open, by: at.incarnation }).await;
        took.push(began.elapsed());
    }
    took.sort();
    took[took.len() / 2]
}

/// How long it takes to list every open, and the longest time of opening one more and closing it meanwhile.
async fn pairs_under_a_look(cluster: &Cluster, at: At, from: u64) -> (Duration, Duration) {
    let store = cluster.store(1).clone();
    let looking = tokio::spawn(async move {
        let began = Instant::now();
        let seen = store.look_at_opens(|_, open| open.path.to_string()).await;
        assert!(!seen.is_empty(), "they are there");
        began.elapsed()
    });
    let (mut longest, mut n) = (Duration::ZERO, from);
    while !looking.is_finished() {
        let began = Instant::now();
        let open = open(cluster, at, n).await;
        cluster.run(1, Order::CloseOpen { open, by: at.incarnation }).await;
        longest = longest.max(began.elapsed());
        n += 1;
    }
    (looking.await.unwrap(), longest)
}
