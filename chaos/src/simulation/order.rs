//! What the simulation has a node's process do. Everything happens inside the process's own host, where its time and network are.

use std::time::Duration;

use raftstore::environment::Clock;
use raftstore::{MembershipError, RaftStore, ReadError};

use super::ledger::KEYS;
use super::network::address;
use super::world::Shared;
use super::world::World;
use crate::checker::linear::Open;
use crate::checker::linear::record::Input;

/// Longest wait for the read at the end.
const READ_MAX: Duration = Duration::from_secs(10);
/// Client number of the reads at the end, before the node is added.
const READER: u64 = 1000;

/// An order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Begin a cluster of one.
    Bootstrap,
    /// Take a node in, without a vote.
    AddLearner(u64),
    /// Let a node vote.
    Promote(u64),
    /// Take a node out.
    Remove(u64),
    /// Hand the lead to a node.
    Transfer(u64),
    /// Make a snapshot.
    Snapshot,
    /// Read every record, linearizably.
    ReadAll,
    /// The machine's clock runs so many millionths faster from now on.
    ClockRate(i64),
    /// The machine's clock jumps ahead.
    ClockJump(Duration),
}

/// Carries an order out.
pub(super) async fn carry_out(shared: &Shared, node: u64, clock: &Clock, store: &RaftStore, order: Order) -> Result<(), String> {
    let text = |err: MembershipError| err.to_string();
    match order {
        Order::Bootstrap => store.bootstrap().await.map_err(text),
        Order::AddLearner(id) => store.add_learner(id, address(id)).await.map_err(text),
        Order::Promote(id) => store.promote(id).await.map_err(text),
        Order::Remove(id) => store.remove(id).await.map_err(text),
        Order::Transfer(id) => store.transfer_leader(id).await.map_err(text),
        Order::Snapshot => store.snapshot().await.map_err(|err| err.to_string()),
        Order::ReadAll => read_all(shared, node, store).await.map_err(|err| err.to_string()),
        Order::ClockRate(ppm) => {
            clock.set_rate(ppm);
            Ok(())
        }
        Order::ClockJump(ahead) => {
            clock.jump(ahead);
            Ok(())
        }
    }
}

async fn read_all(shared: &Shared, node: u64, store: &RaftStore) -> Result<(), ReadError> {
    let client = READER + node;
    let calls: Vec<(u8, u64, Open<u8>)> = shared.with(|world| {
        let call = |key| {
            let (operation, open) = world.call(client, key, World::class_of(key), Input::Read);
            (key, operation, open)
        };
        (0..KEYS).map(call).collect()
    });
    store.read_barrier(READ_MAX).await?;
    shared.with(|world| {
        let Some(ledger) = world.host(node).ledger.clone() else { return };
        for (key, operation, open) in &calls {
            world.heard(client, *operation, open, Ok(ledger.read(*key)));
        }
    });
    Ok(())
}
