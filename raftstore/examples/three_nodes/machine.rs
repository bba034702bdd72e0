//! The replicated machine: numbered keys with values, and how often each was put.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use raftstore::{Change, Machine};

/// Bytes of a value, as in the rows that are compared with other stores.
pub(crate) const VALUE_BYTES: usize = 256;

/// Keys with values.
#[derive(Default)]
pub(crate) struct Puts {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    counts: BTreeMap<u64, u64>,
    changes: Vec<Change>,
}

impl Puts {
    /// How often each key was put.
    pub(crate) fn counts(&self) -> BTreeMap<u64, u64> {
        self.inner.lock().counts.clone()
    }
}

/// The command that puts a key.
pub(crate) fn put(key: u64) -> Vec<u8> {
    let mut command = key.to_be_bytes().to_vec();
    command.resize(size_of::<u64>() + VALUE_BYTES, 7);
    command
}

impl Machine for Puts {
    fn apply(&self, _index: u64, _time_ms: u64, command: &[u8]) -> Vec<u8> {
        let (key, value) = command.split_first_chunk().expect("every command of this program begins with a key");
        let mut inner = self.inner.lock();
        let count = inner.counts.entry(u64::from_be_bytes(*key)).or_default();
        *count += 1;
        let stored = [&count.to_be_bytes()[..], value].concat();
        inner.changes.push((key.to_vec(), Some(stored)));
        Vec::new()
    }

    fn take_changes(&self) -> Vec<Change> {
        std::mem::take(&mut self.inner.lock().changes)
    }

    fn load(&self, entries: &mut dyn Iterator<Item = (Vec<u8>, Vec<u8>)>) -> Result<(), String> {
        let mut inner = self.inner.lock();
        *inner = Inner::default();
        for (key, value) in entries {
            let key = key.try_into().map_err(|_| "a key of another program")?;
            let count = value.first_chunk().ok_or("a value of another program")?;
            inner.counts.insert(u64::from_be_bytes(key), u64::from_be_bytes(*count));
        }
        Ok(())
    }

    fn applied(&self, _index: u64) {}
}
