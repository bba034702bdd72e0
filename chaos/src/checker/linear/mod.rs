//! Is a history linearizable? The search of Wing and Gong with Lowe's memory of what was tried, record by record.
//!
//! A history is what clients saw: calls and returns in one order of time. An operation without return is *unknown*: it may take effect at
//! any time after its call, or never. Operations on different records do not concern each other, so each record is searched alone; the
//! history is linearizable when each of them is (Herlihy and Wing, locality). Pure: knows no cluster and no clock.

pub mod record;
mod search;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt::{self, Debug};
use std::hash::Hash;

/// What operations mean, one record at a time.
pub trait Model {
    /// The state of one record.
    type State: Clone + Eq + Hash + Debug;
    /// What was asked for.
    type Input: PartialEq + Debug;
    /// What was answered.
    type Output: Debug;

    /// The state after the operation, or `None` when it cannot give this output in this state. Without an output, any is right.
    fn step(&self, state: &Self::State, input: &Self::Input, output: Option<&Self::Output>) -> Option<Self::State>;

    /// Tells whether no operations whatever lead from this state to this output. Saves the search ways that lead nowhere.
    fn is_past(&self, _state: &Self::State, _output: &Self::Output) -> bool {
        false
    }
}

/// One operation as its client saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation<I, O> {
    /// Who asked. For reports only.
    pub client: u64,
    /// When it was called. Times are places in the history: no two events have the same.
    pub called: u64,
    /// What was asked for.
    pub input: I,
    /// When it returned, and what. `None`: unknown.
    pub returned: Option<(u64, O)>,
}

/// Operations by record.
#[derive(Clone, Debug)]
pub struct History<K, I, O> {
    now: u64,
    records: BTreeMap<K, Vec<Operation<I, O>>>,
}

/// An operation that was called and has not returned yet.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "its return belongs into the history; dropped, it stays unknown"]
pub struct Open<K> {
    key: K,
    at: usize,
}

impl<K, I, O> Default for History<K, I, O> {
    fn default() -> Self {
        Self { now: 0, records: BTreeMap::new() }
    }
}

impl<K: Ord + Clone + Debug, I: Debug, O: Debug> History<K, I, O> {
    /// Writes a call down.
    pub fn call(&mut self, client: u64, key: K, input: I) -> Open<K> {
        self.now += 1;
        let operations = self.records.entry(key.clone()).or_default();
        operations.push(Operation { client, called: self.now, input, returned: None });
        Open { key, at: operations.len() - 1 }
    }

    /// Writes a return down.
    pub fn returned(&mut self, open: &Open<K>, output: O) {
        self.now += 1;
        let now = self.now;
        if let Some(operation) = self.operation(open) {
            operation.returned = Some((now, output));
        }
    }

    /// Takes an operation out that certainly had no effect.
    ///
    /// The places of later operations of the record would move: so it stays, as a hole that nobody sees.
    pub fn failed(&mut self, open: &Open<K>)
    where
        I: Default,
    {
        if let Some(operation) = self.operation(open) {
            operation.input = I::default();
        }
    }

    fn operation(&mut self, open: &Open<K>) -> Option<&mut Operation<I, O>> {
        self.records.get_mut(&open.key).and_then(|operations| operations.get_mut(open.at))
    }

    /// The present place in the history: what is called later has a later one.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// The operations of each record, in the order of their calls.
    pub fn records(&self) -> impl Iterator<Item = (&K, &[Operation<I, O>])> {
        self.records.iter().map(|(key, operations)| (key, operations.as_slice()))
    }
}

/// What a search came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is an order that explains everything.
    Linearizable,
    /// There is none.
    Violation(Violation),
    /// The search was given up after so many steps. Counts as a failure: a checker that cannot say is of no use.
    Undecided(u64),
}

/// Why a history is not linearizable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The longest order that was found, as text, operation by operation.
    pub longest: Vec<String>,
    /// The state after it.
    pub state: String,
    /// The operations of which one had to come next, and none could.
    pub stuck: Vec<String>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} operations can be ordered, the last of them:", self.longest.len())?;
        for line in self.longest.iter().rev().take(8).rev() {
            writeln!(f, "    {line}")?;
        }
        writeln!(f, "  which gives {}; none of these can follow:", self.state)?;
        for line in &self.stuck {
            writeln!(f, "    {line}")?;
        }
        Ok(())
    }
}

/// Steps of one search at most.
pub const STEPS_MAX: u64 = 20_000_000;

/// Checks the operations of one record, which began in `initial`.
pub fn check<M: Model>(model: &M, initial: M::State, operations: &[Operation<M::Input, M::Output>]) -> Verdict {
    search::search(model, initial, operations, STEPS_MAX)
}
