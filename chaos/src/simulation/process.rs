//! What runs on a simulated host: the store, clients beside it, and somebody who takes orders. Ends with the process.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use raftstore::environment::{Clock, Random};
use raftstore::pki::NodeIdentity;
use raftstore::{Config, Environment, Limits, RaftStore, StartError};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::client::Client;
use super::ledger::Ledger;
use super::network::{PORT, SimulatedNetwork, address};
use super::order::carry_out;
use super::world::{End, Life, Shared, digest};
use crate::checker::classes::Happened;

/// How often a process shows what it is.
const SHOW_PAUSE: Duration = Duration::from_millis(10);
/// Clients on each node.
const CLIENTS: u64 = 3;

/// Runs a process on the host of `node` until the simulation ends it.
pub(super) async fn run(shared: Shared, node: u64) -> turmoil::Result {
    let life = Arc::new(Life::default());
    let (orders, mut taken) = mpsc::unbounded_channel();
    let clock = Clock::skewed();
    let (config, seed) = shared.with(|world| {
        let host = world.host(node);
        host.lives += 1;
        (host.life, host.end, host.clock, host.orders) = (Some(life.clone()), None, Some(clock.clone()), Some(orders));
        let seed = digest(shared.seed, &[node.to_le_bytes(), host.lives.to_le_bytes()].concat());
        let network = SimulatedNetwork { shared: shared.clone(), node, life: life.clone() };
        let environment = Environment::simulated(host.disk.boot(), Arc::new(network), clock.clone(), Random::new(seed));
        let (boot, lives) = (host.boots, host.lives);
        world.say(format!("node {node} begins life {lives}, boot {boot}"));
        (configure(&shared, node, boot, environment), seed)
    });
    let ledger = Arc::new(Ledger::new(shared.clone(), node));
    let store = match RaftStore::start(config, ledger.clone()).await {
        Ok(store) => store,
        Err(error) => {
            shared.with(|world| {
                world.say(format!("node {node} does not start: {error}"));
                if matches!(error, StartError::Damaged { .. } | StartError::Load(_)) && !is_on_purpose(&error) {
                    world.broke(format!("node {node} does not start: {error}"));
                }
            });
            return end(&shared, node, &life).await;
        }
    };
    shared.with(|world| world.host(node).ledger = Some(ledger.clone()));
    for number in 0..CLIENTS {
        let client = Client::new(shared.clone(), node, number, life.clone(), store.clone(), ledger.clone(), seed);
        tokio::spawn(client.run());
    }
    loop {
        tokio::select! {
            order = taken.recv() => {
                let Some((number, order)) = order else { return end(&shared, node, &life).await };
                let (shared, store, clock) = (shared.clone(), store.clone(), clock.clone());
                tokio::spawn(async move {
                    let answer = carry_out(&shared, node, &clock, &store, order).await;
                    shared.with(|world| {
                        world.say(format!("node {node} answers {order:?}: {answer:?}"));
                        world.answers.insert(number, answer);
                    });
                });
            }
            () = tokio::time::sleep(SHOW_PAUSE) => show(&shared, node, &life, &store),
            because = store.stopped() => {
                shared.with(|world| world.say(format!("node {node} stops: {because}")));
                return end(&shared, node, &life).await;
            }
        }
    }
}

/// An error of this very moment that a fault made is no damage.
fn is_on_purpose(error: &StartError) -> bool {
    let text = error.to_string();
    ["(simulated)", "on purpose", "process was ended", "process has ended"].iter().any(|mark| text.contains(mark))
}

/// The process ends by itself. Its host clears it away at the end of the tick.
async fn end(shared: &Shared, node: u64, life: &Life) -> turmoil::Result {
    if !life.is_over() {
        shared.with(|world| world.end(&[node].into(), End::Killed));
    }
    std::future::pending().await
}

fn show(shared: &Shared, node: u64, life: &Life, store: &RaftStore) {
    if life.is_over() {
        return;
    }
    let status = store.status();
    shared.with(|world| {
        let (now, at) = (status.in_doubt, world.history.now());
        let before = world.host(node).status.replace(status);
        if !now && before.as_ref().is_none_or(|before| before.in_doubt) {
            world.happened.note(at, Happened::Recovered(node));
        }
        let leader = |status: &raftstore::Status| status.leader.map(|leader| (leader.term, leader.node_id));
        let seen = world.host(node).status.as_ref().and_then(leader);
        if before.as_ref().and_then(leader) != seen {
            world.say(format!("node {node} follows {seen:?}"));
        }
    });
}

fn configure(shared: &Shared, node: u64, boot: u64, environment: Environment) -> Config {
    let identity = NodeIdentity {
        cluster: Uuid::from_u128(u128::from(shared.seed) | 1 << 100),
        node_id: node,
        // The simulated network is trusted: nobody looks at certificates.
        ca_pem: String::new(),
        certificate_pem: String::new(),
        key_pem: String::new(),
    };
    let listen = std::net::SocketAddr::from(([0, 0, 0, 0], PORT));
    let mut config = Config::new(identity, Path::new("/data"), listen);
    config.advertise = Some(address(node));
    config.limits =
        Limits { snapshot_entries: 120, log_entries_kept: 40, log_file_bytes: 64 << 10, connections_max: 1 << 16, ..Limits::default() };
    config.boot_id = Some(format!("boot-{boot}"));
    config.faults = shared.faults.clone();
    config.environment = environment;
    config
}
