//! A client beside a node: one operation after the other, everything that it sees written down.

use std::sync::Arc;
use std::time::Duration;

use raftstore::environment::Random;
use raftstore::{Applied, ProposeError, RaftStore};

use super::ledger::{self, KEYS, Ledger};
use super::world::{Doubt, Life, Shared, World, digest};
use crate::checker::linear::record::{Input, Record};

/// Pauses between two operations, shortest and the most that is added.
const PAUSE_MS: (u64, u64) = (10, 50);
/// How long an operation may take, shortest and the most that is added.
const TIMEOUT_MS: (u64, u64) = (300, 2200);

/// One of so many acknowledged commands is confirmed by another node.
const CONFIRM_ONE_IN: u64 = 4;
/// How long that may take.
const CONFIRM_MAX: Duration = Duration::from_millis(500);

/// A client.
pub(super) struct Client {
    shared: Shared,
    number: u64,
    life: Arc<Life>,
    store: RaftStore,
    ledger: Arc<Ledger>,
    random: Random,
    /// For what the client does besides.
    other: Random,
    node: u64,
    /// The record that it saw last, for comparing and setting.
    seen: [Record; KEYS as usize],
}

impl Client {
    /// The client of this number beside a node.
    pub(super) fn new(shared: Shared, node: u64, number: u64, life: Arc<Life>, store: RaftStore, ledger: Arc<Ledger>, seed: u64) -> Self {
        let random = Random::new(digest(seed, &[b'c', u8::try_from(number).unwrap_or(u8::MAX)]));
        let other = Random::new(digest(seed, &[b'o', u8::try_from(number).unwrap_or(u8::MAX)]));
        Self { shared, number: node * 10 + number, life, store, ledger, random, other, node, seen: Default::default() }
    }

    /// Works until the simulation has seen enough, or the process ends.
    pub(super) async fn run(mut self) {
        loop {
            tokio::time::sleep(Duration::from_millis(PAUSE_MS.0 + self.random.below(PAUSE_MS.1))).await;
            if self.life.is_over() || !self.shared.with(|world| world.clients_go_on) {
                return;
            }
            self.operate().await;
        }
    }

    async fn operate(&mut self) {
        let key = u8::try_from(self.random.below(u64::from(KEYS))).expect("less than a few keys");
        let class = World::class_of(key);
        let timeout = Duration::from_millis(TIMEOUT_MS.0 + self.random.below(TIMEOUT_MS.1));
        let (input, proposed) = self.choose(key);
        let (operation, open) = self.shared.with(|world| world.call(self.number, key, class, input));
        let (answer, applied) = if proposed {
            match self.propose(operation, key, input, timeout).await {
                Ok(applied) => (ledger::read_outcome(&applied.outcome).ok_or(Doubt::Unknown), Some(applied)),
                Err(doubt) => (Err(doubt), None),
            }
        } else {
            let read = self.store.read_barrier(timeout).await;
            // A read that failed changed nothing, whatever happened.
            (read.map(|_| self.ledger.read(key)).map_err(|_| Doubt::Refused), None)
        };
        if let Ok(record) = answer {
            self.seen[usize::from(key)] = record;
        }
        self.shared.with(|world| {
            // What a dead process has still heard, nobody knows.
            if !self.life.is_over() {
                world.heard(self.number, operation, &open, answer);
            }
        });
        if let Some(applied) = applied {
            self.confirm_somewhere(operation, &applied).await;
        }
    }

    /// What to ask for, and whether as a command.
    fn choose(&mut self, key: u8) -> (Input, bool) {
        let value = self.shared.with(|world| world.next_value());
        match self.random.below(100) {
            0..30 => (Input::Read, false),
            30..40 => (Input::Read, true),
            40..65 => (Input::Write(value), true),
            65..80 => (Input::CompareAndSet(self.seen[usize::from(key)].value, value), true),
            _ => (Input::Add(value), true),
        }
    }

    /// Asks some node whether it has applied this, now and then, and looks whether a yes is true.
    async fn confirm_somewhere(&mut self, operation: u64, applied: &Applied) {
        let node = 1 + self.other.below(self.shared.with(|world| world.hosts.len() as u64));
        if node == self.node || self.other.below(CONFIRM_ONE_IN) > 0 {
            return;
        }
        let standing = |world: &mut World| (world.host(node).lives, world.happened.losses().len());
        let before = self.shared.with(standing);
        if self.store.wait_applied_on(node, applied, CONFIRM_MAX).await.is_err() || self.life.is_over() {
            return;
        }
        self.shared.with(|world| {
            // What a process has that came later, or what was lost meanwhile, the answer did not speak of.
            let same = standing(world) == before;
            let (Some(theirs), true) = (world.host(node).ledger.clone(), same) else { return };
            world.say(format!("client {} #{operation} is confirmed by node {node}", self.number));
            if !theirs.agrees(&self.ledger, applied.index) {
                world.broke(format!("node {node} says it has applied #{operation}, at {}, and has applied something else", applied.index));
            }
        });
    }

    async fn propose(&self, operation: u64, key: u8, input: Input, timeout: Duration) -> Result<Applied, Doubt> {
        let command = ledger::command(operation, key, input);
        self.store.propose(command, World::class_of(key), timeout).await.map_err(|err| match err {
            ProposeError::NotApplied(_) | ProposeError::NoLeader | ProposeError::TooLarge { .. } | ProposeError::ShuttingDown => {
                Doubt::Refused
            }
            // Also whatever errors there may be one day.
            _ => Doubt::Unknown,
        })
    }
}
