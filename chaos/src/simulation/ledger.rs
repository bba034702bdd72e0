//! The replicated machine of the simulation: a few records, each with the list of operations that changed it.
//!
//! The list makes visible what was done, how often and in which order, whatever later operations made of the values.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::Mutex;
use raftstore::{Change, Machine};

use super::world::Shared;
use crate::checker::linear::record::{Input, Record};

/// Classes; the key of a record says which its operations have.
pub(super) const CLASSES: usize = 3;
/// Records.
pub(super) const KEYS: u8 = 9;

/// A replica.
#[derive(Debug)]
pub(super) struct Ledger {
    shared: Shared,
    node: u64,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    records: BTreeMap<u8, Entry>,
    changed: BTreeSet<u8>,
    newest_ms: u64,
    /// What was applied in this life.
    applied: BTreeMap<u64, u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Entry {
    record: Record,
    operations: Vec<u64>,
}

/// A command as bytes: operation, key, what to do.
pub(super) fn command(operation: u64, key: u8, input: Input) -> Vec<u8> {
    let (what, a, b) = match input {
        Input::Nothing => (0, 0, 0),
        Input::Read => (1, 0, 0),
        Input::Write(value) => (2, value, 0),
        Input::CompareAndSet(from, to) => (3, from, to),
        Input::Add(more) => (4, more, 0),
    };
    let mut out = vec![key, what];
    for number in [operation, a, b] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out
}

fn numbers(bytes: &[u8]) -> Option<Vec<u64>> {
    let chunks = bytes.chunks(8).map(|chunk| <[u8; 8]>::try_from(chunk).ok().map(u64::from_le_bytes));
    chunks.collect()
}

fn read_command(bytes: &[u8]) -> Option<(u64, u8, Input)> {
    let (&[key, what], rest) = bytes.split_first_chunk::<2>()?;
    let [operation, a, b] = <[u64; 3]>::try_from(numbers(rest)?).ok()?;
    let input = match what {
        0 => Input::Nothing,
        1 => Input::Read,
        2 => Input::Write(a),
        3 => Input::CompareAndSet(a, b),
        4 => Input::Add(a),
        _ => return None,
    };
    Some((operation, key, input))
}

/// A record as bytes.
fn outcome(record: Record) -> Vec<u8> {
    [record.version.to_le_bytes(), record.value.to_le_bytes()].concat()
}

/// The record in an outcome.
pub(super) fn read_outcome(bytes: &[u8]) -> Option<Record> {
    let [version, value] = <[u64; 2]>::try_from(numbers(bytes)?).ok()?;
    Some(Record { version, value })
}

impl Ledger {
    /// An empty replica.
    pub(super) fn new(shared: Shared, node: u64) -> Self {
        Self { shared, node, inner: Mutex::default() }
    }

    /// The record of a key.
    pub(super) fn read(&self, key: u8) -> Record {
        self.inner.lock().records.get(&key).map(|entry| entry.record).unwrap_or_default()
    }

    /// All operations that changed something.
    pub(super) fn operations(&self) -> Vec<u64> {
        self.inner.lock().records.values().flat_map(|entry| entry.operations.iter().copied()).collect()
    }

    /// Everything, for comparing replicas.
    pub(super) fn dump(&self) -> String {
        format!("{:?}", self.inner.lock().records)
    }

    /// Whether both replicas have applied the same at an index, as far as they have applied it since they were loaded.
    pub(super) fn agrees(&self, other: &Self, index: u64) -> bool {
        let at = |ledger: &Self| ledger.inner.lock().applied.get(&index).copied();
        at(self).zip(at(other)).is_none_or(|(own, theirs)| own == theirs)
    }

    /// What was applied since this replica was loaded.
    pub(super) fn applied_entries(&self) -> BTreeMap<u64, u64> {
        self.inner.lock().applied.clone()
    }
}

impl Machine for Ledger {
    fn apply(&self, index: u64, time_ms: u64, command: &[u8]) -> Vec<u8> {
        let Some((operation, key, input)) = read_command(command) else { return Vec::new() };
        let mut inner = self.inner.lock();
        let mut wrong = Vec::new();
        if time_ms < inner.newest_ms {
            wrong.push(format!("log time went back from {} to {time_ms} at entry {index} of node {}", inner.newest_ms, self.node));
        }
        inner.newest_ms = time_ms;
        let entry = inner.records.entry(key).or_default();
        if !matches!(input, Input::Read | Input::Nothing) {
            if entry.operations.contains(&operation) {
                wrong.push(format!("operation {operation} was applied twice on node {}, again at {index}", self.node));
            }
            entry.operations.push(operation);
        }
        entry.record = entry.record.after(input);
        let record = entry.record;
        inner.changed.insert(key);
        let seen = [command, &time_ms.to_le_bytes(), &outcome(record)].concat();
        inner.applied.insert(index, super::world::digest(index, &seen));
        drop(inner);
        self.shared.with(|world| {
            world.applied(self.node, index, &seen);
            wrong.into_iter().for_each(|text| world.broke(text));
        });
        outcome(record)
    }

    fn take_changes(&self) -> Vec<Change> {
        let mut inner = self.inner.lock();
        let changed = std::mem::take(&mut inner.changed);
        let value = |key: u8| {
            let entry = inner.records.get(&key)?;
            let numbers = [entry.record.version, entry.record.value].into_iter().chain(entry.operations.iter().copied());
            Some(numbers.flat_map(u64::to_le_bytes).collect())
        };
        changed.into_iter().map(|key| (vec![key], value(key))).collect()
    }

    fn load(&self, entries: &mut dyn Iterator<Item = (Vec<u8>, Vec<u8>)>) -> Result<(), String> {
        let mut records = BTreeMap::new();
        for (key, value) in entries {
            let (Some(&key), Some(numbers)) = (key.first(), numbers(&value)) else { return Err("a record makes no sense".to_owned()) };
            let [version, value, operations @ ..] = numbers.as_slice() else { return Err("a record is too short".to_owned()) };
            let record = Record { version: *version, value: *value };
            records.insert(key, Entry { record, operations: operations.to_vec() });
        }
        *self.inner.lock() = Inner { records, ..Inner::default() };
        Ok(())
    }

    fn applied(&self, _index: u64) {}
}

#[cfg(test)]
mod tests {
    use super::super::world::World;
    use super::*;

    #[test]
    fn commands_and_states_read_back() {
        let shared = Shared::new(World::new(1, 1, false), 1);
        let ledger = Ledger::new(shared.clone(), 1);
        for (number, input) in
            (1..).zip([Input::Write(5), Input::Add(2), Input::CompareAndSet(7, 1), Input::Read, Input::CompareAndSet(9, 9)])
        {
            let bytes = command(number, 3, input);
            assert_eq!(read_command(&bytes), Some((number, 3, input)));
            assert_eq!(read_outcome(&ledger.apply(number, number, &bytes)), Some(ledger.read(3)));
        }
        assert_eq!(ledger.read(3), Record { version: 3, value: 1 });
        assert_eq!(ledger.operations(), [1, 2, 3, 5]);
        let other = Ledger::new(shared.clone(), 2);
        other.load(&mut ledger.take_changes().into_iter().map(|(key, value)| (key, value.unwrap()))).unwrap();
        assert_eq!(other.dump(), ledger.dump());
        assert!(shared.with(|world| world.broken.is_empty()));
        ledger.apply(9, 9, &command(5, 3, Input::Add(1)));
        assert!(shared.with(|world| world.broken[0].contains("twice")));
    }
}
