//! The storage under openraft's own suite; [`crash`] ends the process at every change, [`damage`] changes bytes.

mod crash;
mod damage;
mod false_sync;
mod migrate;
mod removal;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use openraft::StorageError;
use openraft::async_runtime::Oneshot as _;
use openraft::entry::{RaftEntry, RaftPayload};
use openraft::storage::{IOFlushed, RaftLogStorage, RaftLogStorageExt};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::{EntryPayload, RaftLogReader};
use tempfile::TempDir;
use uuid::Uuid;

use super::log::LogStore;
use super::state::StateStore;
use super::*;
use crate::clock::LogClock;
use crate::environment::{SimulatedDisk, SystemDisk};
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

const CLUSTER: Uuid = Uuid::from_u128(0xc1);

fn opening(dir: &Path, environment: Environment) -> Opening<'_> {
    Opening { dir, cluster: CLUSTER, node_id: 1, boot_id: "boot".to_owned(), segment_bytes: 1 << 20, environment }
}

fn open_with(opening: Opening<'_>) -> Result<(LogStore, StateStore), StartError> {
    let (clock, (database, contents)) = (Arc::new(LogClock::new()), Database::open(opening)?);
    let state = StateStore::open(database.clone(), Arc::new(Nothing), clock.clone(), Arc::new(Waiters::default()), &contents)?;
    Ok((LogStore::open(database, clock, contents)?.0, state))
}

fn open(dir: &Path) -> Result<(LogStore, StateStore), StartError> {
    open_with(opening(dir, Environment::default()))
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

/// Directories on one disk: the suite hands snapshots from one store to another.
struct Simulated(Environment, AtomicU64);

impl StoreBuilder<TypeConfig, LogStore, StateStore, ()> for Simulated {
    async fn build(&self) -> Result<((), LogStore, StateStore), StorageError<TypeConfig>> {
        let dir = format!("/node{}", self.1.fetch_add(1, Ordering::Relaxed));
        let (log, state) = open_with(opening(Path::new(&dir), self.0.clone())).unwrap();
        Ok(((), log, state))
    }
}

fn simulated(disk: &SimulatedDisk) -> Environment {
    Environment { disk: disk.boot(), simulated: true, ..Environment::default() }
}

#[tokio::test(start_paused = true)]
async fn openraft_suite_on_a_simulated_disk() {
    Suite::test_all(Simulated(simulated(&SimulatedDisk::new(1)), AtomicU64::new(0))).await.unwrap();
}

fn entry(index: u64) -> Entry {
    entry_of(index, 1, Class::Persistent)
}

fn entry_of(index: u64, term: u64, class: Class) -> Entry {
    let command = Command { time_ms: index, class, operation: 1, data: vec![b'x'; 40].into() };
    let log_id = LogId { leader_id: LeaderId { term, node_id: 1 }, index };
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
    // Only what was applied is purged.
    let mut batch = records::Batch::default();
    batch.put(Table::Meta, key::APPLIED, codec::encode(Kind::Applied, &state::tests_progress(entry(9).log_id)).unwrap());
    state.database().write(batch, true).unwrap();
    let all = log.try_get_log_entries(..).await.unwrap();
    assert_eq!((all.len(), all[0].log_id.index), (5982, 10));
    drop((log, state));
    let (mut log, _state) = reopen(dir.path()).unwrap();
    assert_eq!(log.try_get_log_entries(..).await.unwrap(), all);
    assert_eq!(log.get_log_state().await.unwrap().last_log_id, Some(entry(5991).log_id));
    assert_eq!(log.get_log_state().await.unwrap().last_purged_log_id, Some(entry(9).log_id));
}

/// A leader's sync begins when its other tasks have run. The end of the log may come before that.
#[tokio::test]
async fn what_waits_for_a_sync_is_answered_before_the_end() {
    let dir = TempDir::new().unwrap();
    let (mut log, state) = open(dir.path()).unwrap();
    let mut answers = Vec::new();
    for (index, class) in (1..).zip([Class::Persistent, Class::Volatile, Class::Persistent, Class::Durable]) {
        let (tell, told) = <openraft::type_config::alias::OneshotOf<TypeConfig>>::channel();
        log.append([entry_of(index, 1, class)], IOFlushed::signal(tell)).await.unwrap();
        answers.push(told);
    }
    // Nothing else has run so far.
    drop((log, state));
    for told in answers {
        assert!(told.await.unwrap().is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn a_log_agrees_with_a_leader_whose_entry_it_holds() {
    let (mut log, _state) = open_with(opening(Path::new("/node"), simulated(&SimulatedDisk::new(1)))).unwrap();
    let leader = |term| LeaderId { term, node_id: 1 };
    let entries = (0..10).map(|index| (index, 1)).chain((10..15).map(|index| (index, 2)));
    log.blocking_append(entries.map(|(index, term)| entry_of(index, term, Class::Volatile))).await.unwrap();
    for purged in [false, true] {
        if purged {
            log.purge(entry_of(12, 2, Class::Volatile).log_id).await.unwrap();
        }
        for (term, index) in [(1, 9), (2, 11), (2, 12), (2, 14)] {
            assert!(log.agrees_with(leader(term), index), "term {term}, index {index}, purged: {purged}");
        }
        // A later leader has other entries where this log was applied; or it has more, which are not here yet.
        for (term, index) in [(3, 9), (3, 11), (3, 12), (3, 14), (2, 15)] {
            assert!(!log.agrees_with(leader(term), index), "term {term}, index {index}, purged: {purged}");
        }
    }
}

#[test]
fn a_cut_off_snapshot_is_noticed() {
    let dir = TempDir::new().unwrap();
    let (database, _) = Database::open(opening(dir.path(), Environment::default())).unwrap();
    let disk = SystemDisk;
    let head = snapshot::Head { meta: Default::default(), time_ms: 5 };
    let mut writer = snapshot::SnapshotWriter::create(&database, &head).unwrap();
    for n in 0..3000u32 {
        writer.put(&n.to_be_bytes(), &[7; 200]).unwrap();
    }
    let file = writer.finish().unwrap();
    assert_eq!(snapshot::verify(&disk, &file.path).unwrap().time_ms, 5);
    let good = std::fs::read(&file.path).unwrap();
    for cut in [0, 3, 10, 1000, good.len() / 2, good.len() - 1] {
        std::fs::write(&file.path, &good[..cut]).unwrap();
        let because = snapshot::verify(&disk, &file.path).unwrap_err().to_string();
        assert!(because.contains("snapshot-"), "{because}");
    }
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 0x10;
    std::fs::write(&file.path, &flipped).unwrap();
    assert!(snapshot::verify(&disk, &file.path).is_err());
}

/// The power goes after a snapshot of another node was installed, and before the log says that it covers it.
#[tokio::test(start_paused = true)]
async fn a_snapshot_beyond_the_log_is_where_the_node_goes_on() {
    use openraft::storage::RaftStateMachine;
    for lost in [false, true] {
        let disk = SimulatedDisk::new(3);
        let dir = Path::new("/node");
        {
            let (mut log, state) = open_with(opening(dir, simulated(&disk))).unwrap();
            log.blocking_append((1..20).map(entry)).await.unwrap();
            let database = state.database();
            let head = snapshot::Head { meta: state::tests_meta(entry(300).log_id), time_ms: 5 };
            let mut writer = snapshot::SnapshotWriter::create(database, &head).unwrap();
            writer.put(b"key", b"value").unwrap();
            writer.finish().unwrap();
            // What was applied after it is not in the log either.
            let applied = if lost { 310 } else { 300 };
            let mut batch = records::Batch::default();
            let mark = codec::encode(Kind::Applied, &state::tests_progress(entry(applied).log_id)).unwrap();
            batch.put(Table::Meta, key::APPLIED, mark);
            database.write(batch, true).unwrap();
        }
        disk.power_loss();
        let (_log, mut state) = open_with(Opening { boot_id: "another".to_owned(), ..opening(dir, simulated(&disk)) }).unwrap();
        assert_eq!(state.applied_state().await.unwrap().0, Some(entry(300).log_id), "lost: {lost}");
    }
}
