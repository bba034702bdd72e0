//! The storage under openraft's own suite, and with damaged bytes.

use std::sync::Arc;

use openraft::StorageError;
use openraft::entry::{RaftEntry, RaftPayload};
use openraft::storage::{RaftLogStorage, RaftLogStorageExt};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::{EntryPayload, RaftLogReader};
use tempfile::TempDir;
use uuid::Uuid;

use super::log::LogStore;
use super::state::StateStore;
use super::*;
use crate::clock::LogClock;
use crate::machine::{Change, Class, Machine};
use crate::store::waiters::Waiters;
use crate::types::{Command, Entry, LeaderId, LogId, TypeConfig};

struct Nothing;

impl Machine for Nothing {
    fn apply(&self, _index: u64, _time_ms: u64, _command: &[u8]) -> Vec<u8> {
        Vec::new()
    }
    fn take_changes(&self) -> Vec<Change> {
        Vec::new()
    }
    fn load(&self, entries: &mut dyn Iterator<Item = (Vec<u8>, Vec<u8>)>) -> Result<(), String> {
        entries.for_each(drop);
        Ok(())
    }
    fn applied(&self, _index: u64) {}
}

fn open(dir: &Path) -> Result<(LogStore, StateStore), StartError> {
    let (clock, database) = (Arc::new(LogClock::new()), Database::open(dir, Uuid::nil(), 1)?);
    let state = StateStore::open(database.clone(), Arc::new(Nothing), clock.clone(), Arc::new(Waiters::default()))?;
    Ok((LogStore::open(database, clock)?.0, state))
}

struct Builder;

impl StoreBuilder<TypeConfig, LogStore, StateStore, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, LogStore, StateStore), StorageError<TypeConfig>> {
        let dir = TempDir::new().unwrap();
        let (log, state) = open(dir.path()).unwrap();
        Ok((dir, log, state))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openraft_suite() {
    Suite::test_all(Builder).await.unwrap();
}

fn entry(index: u64) -> Entry {
    let command = Command { time_ms: index, class: Class::Persistent, operation: 1, data: vec![b'x'; 40].into() };
    let log_id = LogId { leader_id: LeaderId { term: 1, node_id: 1 }, index };
    Entry::new(log_id, EntryPayload::blank().with_normal(command))
}

/// Opens a directory that the log thread of an earlier store may still hold for a moment.
fn reopen(dir: &Path) -> Result<(LogStore, StateStore), StartError> {
    loop {
        match open(dir) {
            Err(StartError::DataDirInUse { .. }) => std::thread::yield_now(),
            opened => return opened,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_is_read_back_and_truncated() {
    let dir = TempDir::new().unwrap();
    let (mut log, state) = open(dir.path()).unwrap();
    log.blocking_append((0..6000).map(entry)).await.unwrap();
    log.truncate_after(Some(entry(5990).log_id)).await.unwrap();
    log.blocking_append([entry(5991)]).await.unwrap();
    log.purge(entry(9).log_id).await.unwrap();
    let all = log.try_get_log_entries(..).await.unwrap();
    assert_eq!((all.len(), all[0].log_id.index), (5982, 10));
    drop((log, state));
    let (mut log, _state) = reopen(dir.path()).unwrap();
    assert_eq!(log.try_get_log_entries(..).await.unwrap(), all);
    assert_eq!(log.get_log_state().await.unwrap().last_log_id, Some(entry(5991).log_id));
    assert_eq!(log.get_log_state().await.unwrap().last_purged_log_id, Some(entry(9).log_id));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flipped_and_missing_entries_are_named() {
    let dir = TempDir::new().unwrap();
    let (mut log, state) = open(dir.path()).unwrap();
    log.blocking_append((0..20).map(entry)).await.unwrap();
    let database = state.database().clone();
    let put = |index: u64, bytes: Option<Vec<u8>>| {
        let mut batch = WriteBatch::default();
        match bytes {
            Some(bytes) => batch.put_cf(database.family(LOG), index.to_be_bytes(), bytes),
            None => batch.delete_cf(database.family(LOG), index.to_be_bytes()),
        }
        database.write(batch, true).unwrap();
    };
    let mut bytes = codec::encode(Kind::Entry, &entry(7)).unwrap();
    bytes[20] ^= 4;
    put(7, Some(bytes));
    let (clock, again) = (Arc::new(LogClock::new()), database.clone());
    let because = LogStore::open(again, clock.clone()).err().unwrap().to_string();
    assert!(because.contains("log entry 7") && because.contains("checksum"), "{because}");
    put(7, Some(codec::encode(Kind::Entry, &entry(8)).unwrap()));
    let because = LogStore::open(database.clone(), clock.clone()).err().unwrap().to_string();
    assert!(because.contains("log entry 7"), "{because}");
    put(7, None);
    let because = LogStore::open(database.clone(), clock).err().unwrap().to_string();
    assert!(because.contains("log entry 7") && because.contains("missing"), "{because}");
}

#[test]
fn damaged_state_and_marks_are_named() {
    let dir = TempDir::new().unwrap();
    let database = Database::open(dir.path(), Uuid::nil(), 1).unwrap();
    let put = |family: &str, key: &[u8], value: Vec<u8>| {
        let mut batch = WriteBatch::default();
        batch.put_cf(database.family(family), key, value);
        database.write(batch, true).unwrap();
    };
    let open_state = || StateStore::open(database.clone(), Arc::new(Nothing), Arc::new(LogClock::new()), Arc::new(Waiters::default()));
    let mut value = codec::wrap(Kind::Value, b"value");
    put(STATE, b"some key", value.clone());
    assert!(open_state().is_ok());
    value[8] ^= 1;
    put(STATE, b"some key", value);
    let because = open_state().err().unwrap().to_string();
    assert!(because.contains("some key") && because.contains("checksum"), "{because}");
    put(META, key::VOTE, vec![1, 2, 3]);
    let because = LogStore::open(database.clone(), Arc::new(LogClock::new())).err().unwrap().to_string();
    assert!(because.contains("the vote"), "{because}");
}

#[test]
fn a_cut_off_snapshot_is_noticed() {
    let dir = TempDir::new().unwrap();
    let database = Database::open(dir.path(), Uuid::nil(), 1).unwrap();
    let head = snapshot::Head { meta: Default::default(), time_ms: 5 };
    let mut writer = snapshot::SnapshotWriter::create(&database, &head).unwrap();
    for n in 0..3000u32 {
        writer.put(&n.to_be_bytes(), &[7; 200]).unwrap();
    }
    let file = writer.finish().unwrap();
    assert_eq!(snapshot::verify(&file.path).unwrap().time_ms, 5);
    let good = std::fs::read(&file.path).unwrap();
    for cut in [0, 3, 10, 1000, good.len() / 2, good.len() - 1] {
        std::fs::write(&file.path, &good[..cut]).unwrap();
        let because = snapshot::verify(&file.path).unwrap_err().to_string();
        assert!(because.contains("snapshot-"), "{because}");
    }
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 0x10;
    std::fs::write(&file.path, &flipped).unwrap();
    assert!(snapshot::verify(&file.path).is_err());
}
