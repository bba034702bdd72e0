//! The state as it is at one moment, read while entries are applied. Holds no lock and stops nobody.

use std::collections::BTreeMap;
use std::io;

use super::records::{Item, Table};
use super::state::Progress;
use super::{Database, key};
use crate::backup::BackupError;
use crate::codec::{self, Kind};

/// Tries to catch a moment between two batches of entries, each of which is a few microseconds of work.
const TRIES_MAX: usize = 10_000;

/// The state at one moment.
pub(crate) struct View<I> {
    entries: I,
    progress: Progress,
}

impl Database {
    /// Takes the view of now. Every batch of entries moves the applied mark: if it stands still around the making of the iterator, no batch
    /// came between, and both are of the same moment.
    pub(crate) fn view(&self) -> io::Result<View<impl Iterator<Item = io::Result<Item>> + '_>> {
        let mark = || self.read::<Progress>(Kind::Applied, key::APPLIED, "the applied mark").map(Option::unwrap_or_default);
        let mut before = mark()?;
        for _ in 0..TRIES_MAX {
            let entries = self.scan(Table::State);
            let after = mark()?;
            if after == before {
                return Ok(View { entries, progress: before });
            }
            before = after;
        }
        Err(io::Error::other("the state never stood still long enough to be looked at"))
    }
}

impl<I: Iterator<Item = io::Result<Item>>> View<I> {
    pub(crate) fn index(&self) -> u64 {
        self.progress.log_id.map_or(0, |log_id| log_id.index)
    }

    pub(crate) fn term(&self) -> u64 {
        self.progress.log_id.map_or(0, |log_id| log_id.leader_id.term)
    }

    pub(crate) fn time_ms(&self) -> u64 {
        self.progress.time_ms
    }

    pub(crate) fn members(&self) -> BTreeMap<u64, String> {
        self.progress.membership.nodes().map(|(id, node)| (*id, node.addr.clone())).collect()
    }

    /// Shows every entry, in the order of the keys.
    pub(crate) fn for_each(self, mut show: impl FnMut(&[u8], &[u8]) -> Result<(), BackupError>) -> Result<(), BackupError> {
        let unreadable = |err: io::Error| BackupError::Store(err.to_string());
        for item in self.entries {
            let (key, value) = item.map_err(unreadable)?;
            let value = codec::unwrap(Kind::Value, &value)
                .map_err(|err| BackupError::Store(format!("the state's value of key {} is damaged: {err}", key.escape_ascii())))?;
            show(&key, value)?;
        }
        Ok(())
    }
}
