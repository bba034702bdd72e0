//! The machine's state: applied entries, changed keys, snapshots.
//!
//! Tells waiting proposals of this node what became of them, and hands what changed to [`behind`], together with the applied index. It is
//! written unsynced: after a crash the log brings back what is missing.

use std::any::Any;
use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use futures::{Stream, StreamExt};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::{oneshot, watch};

use super::behind::WriteBehind;
use super::log::scan::Contents;
use super::records::{Batch, Table};
use super::snapshot::{self, Head, SnapshotFile, SnapshotReader, SnapshotWriter};
use super::{Database, key};
use crate::clock::LogClock;
use crate::codec::{self, Kind};
use crate::error::StartError;
use crate::faults::Point;
use crate::machine::{Applied, Machine};
use crate::store::waiters::Waiters;
use crate::types::{LogId, Snapshot, SnapshotMeta, StoredMembership, TypeConfig};

/// Keys and values that are read at once while the machine takes those before them, and how many such chunks wait at most.
const READ_AHEAD_ENTRIES: usize = 1024;
const READ_AHEAD_CHUNKS: usize = 8;
/// Entries applied before the machine's changes are written.
const BATCH_ENTRIES_MAX: usize = 256;

/// How far the state is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Progress {
    pub(crate) log_id: Option<LogId>,
    pub(crate) membership: StoredMembership,
    pub(crate) time_ms: u64,
}

/// What others see of the progress.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct AppliedMark {
    pub(crate) log_id: Option<LogId>,
    pub(crate) time_ms: u64,
}

impl AppliedMark {
    pub(crate) fn index(&self) -> u64 {
        self.log_id.map_or(0, |log_id| log_id.index)
    }
}

/// The state of one node.
#[derive(Clone)]
pub(crate) struct StateStore {
    inner: Arc<Inner>,
}

struct Inner {
    database: Arc<Database>,
    machine: Arc<dyn Machine>,
    clock: Arc<LogClock>,
    waiters: Arc<Waiters>,
    progress: Mutex<Progress>,
    applied: watch::Sender<AppliedMark>,
    current: Mutex<Option<(SnapshotFile, SnapshotMeta)>>,
    behind: WriteBehind,
}

impl StateStore {
    /// What the entries are applied to.
    pub(crate) fn machine(&self) -> &dyn Machine {
        self.inner.machine.as_ref()
    }

    /// Reads the state into the machine. An installation of a snapshot that was cut short is done again first. A state that the log does
    /// not explain is made anew from the snapshot: it was ahead of a log that lost its end, or fell behind one that was purged.
    pub(crate) fn open(
        database: Arc<Database>,
        machine: Arc<dyn Machine>,
        clock: Arc<LogClock>,
        waiters: Arc<Waiters>,
        log: &Contents,
    ) -> Result<Self, StartError> {
        let start = |err: io::Error| database.start_error("the state", &err);
        if let Some(name) = database.read_start::<String>(Kind::Installing, key::INSTALLING, "the installation mark")? {
            let path = database.dir().join(snapshot::FOLDER).join(name);
            fill(&database, &path).map_err(start)?;
        }
        let mut progress: Progress = database.read_start(Kind::Applied, key::APPLIED, "the applied mark")?.unwrap_or_default();
        let snapshot = snapshot::newest(&database).map_err(start)?;
        let from_snapshot = snapshot.as_ref().map(|(_, head)| head.meta.last_log_id);
        // A snapshot of another node is stable before the log says that it covers it; and a log that lost its end may end before one's own.
        let beyond_log = from_snapshot.is_some_and(|last| last > log.last());
        let explained = match explained(progress.log_id, log) {
            Err(_) if beyond_log && from_snapshot == Some(progress.log_id) => Ok(()),
            explained => explained,
        };
        if let Err(because) = explained {
            tracing::warn!(because, applied = ?progress.log_id, "the state is made anew from the snapshot and the log");
            progress = match &snapshot {
                Some((file, head)) => {
                    if !beyond_log {
                        self::explained(head.meta.last_log_id, log)
                            .map_err(|because| start(database.damaged("the state", &format!("{because}, and so is the snapshot"))))?;
                    }
                    fill(&database, &file.path).map_err(start)?
                }
                None if log.purged.is_none() => {
                    let mut batch = Batch::default();
                    batch.clear(Table::State);
                    batch.delete(Table::Meta, key::APPLIED);
                    database.write(batch, true).map_err(start)?;
                    Progress::default()
                }
                None => {
                    return Err(start(database.damaged("the state", &format!("{because}, and there is no snapshot to make it anew from"))));
                }
            };
        }
        clock.observe(progress.time_ms);
        load(&database, machine.as_ref()).map_err(|err| match err {
            LoadError::Damaged(err) => start(err),
            LoadError::Refused(because) => StartError::Load(because),
        })?;
        machine.applied(progress.log_id.map_or(0, |log_id| log_id.index));
        let current = snapshot.map(|(file, head)| (file, head.meta));
        let (applied, _) = watch::channel(AppliedMark { log_id: progress.log_id, time_ms: progress.time_ms });
        let behind = WriteBehind::start(database.clone())?;
        let (progress, current) = (Mutex::new(progress), Mutex::new(current));
        let inner = Inner { database, machine, clock, waiters, progress, applied, current, behind };
        Ok(Self { inner: Arc::new(inner) })
    }

    pub(crate) fn watch_applied(&self) -> watch::Receiver<AppliedMark> {
        self.inner.applied.subscribe()
    }

    /// The members as of the last applied entry.
    pub(crate) fn members(&self) -> BTreeMap<u64, String> {
        self.inner.progress.lock().membership.nodes().map(|(id, node)| (*id, node.addr.clone())).collect()
    }

    pub(crate) fn database(&self) -> &Arc<Database> {
        &self.inner.database
    }

    /// Bytes of the newest snapshot; nought without one.
    pub(crate) fn snapshot_bytes(&self) -> u64 {
        self.inner.current.lock().as_ref().map_or(0, |(file, _)| file.bytes)
    }

    /// Waits until the database holds everything that was applied before the call.
    ///
    /// # Errors
    /// The disk.
    pub(crate) async fn settle(&self) -> io::Result<()> {
        self.inner.behind.settle().await
    }
}

impl Inner {
    /// Applies a batch of entries, tells who waits, and gives what is to be written.
    fn apply_batch(&self, entries: Vec<EntryResponder<TypeConfig>>) -> io::Result<Batch> {
        self.database.environment().pass(Point::ApplyBefore)?;
        let mut progress = self.progress.lock().clone();
        let mut outcomes = Vec::new();
        let mut responders = Vec::new();
        for (entry, responder) in entries {
            let index = entry.log_id.index;
            progress.log_id = Some(entry.log_id);
            match entry.payload {
                EntryPayload::Blank => {}
                EntryPayload::Normal(command) => {
                    // Two proposals may overtake each other between stamp and log: the log's order is time's order.
                    progress.time_ms = progress.time_ms.max(command.time_ms);
                    let command_bytes = &command.data.0;
                    let outcome =
                        if command_bytes.is_empty() { Vec::new() } else { self.machine.apply(index, progress.time_ms, command_bytes) };
                    if self.waiters.waits(command.operation) {
                        outcomes.push((command.operation, Applied { index, leader: entry.log_id.leader_id.into(), outcome }));
                    }
                }
                EntryPayload::Membership(membership) => progress.membership = StoredMembership::new(Some(entry.log_id), membership),
            }
            responders.extend(responder);
        }
        let mut batch = Batch::default();
        for (key, value) in self.machine.take_changes() {
            match value {
                Some(value) => batch.put(Table::State, key, codec::wrap(Kind::Value, &value)),
                None => batch.delete(Table::State, key),
            }
        }
        let mark = codec::encode(Kind::Applied, &progress).map_err(io::Error::other)?;
        batch.put(Table::Meta, key::APPLIED, mark);
        self.clock.observe(progress.time_ms);
        let applied = AppliedMark { log_id: progress.log_id, time_ms: progress.time_ms };
        *self.progress.lock() = progress;
        self.machine.applied(applied.index());
        // Waiters first: who sees the new mark may conclude from it that an operation was not applied.
        for (operation, outcome) in outcomes {
            self.waiters.resolve(operation, outcome);
        }
        self.applied.send_replace(applied);
        for responder in responders {
            responder.send(());
        }
        Ok(batch)
    }

    fn install(&self, meta: &SnapshotMeta, file: &SnapshotFile) -> io::Result<()> {
        let head = snapshot::verify(self.database.disk(), &file.path)?;
        if head.meta.last_log_id != meta.last_log_id {
            return Err(self.database.damaged("a received snapshot", &"it ends at another entry than announced"));
        }
        let file = snapshot::adopt(&self.database, file, meta)?;
        let name = file.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let mut batch = Batch::default();
        batch.put(Table::Meta, key::INSTALLING, codec::encode(Kind::Installing, &name).map_err(io::Error::other)?);
        self.database.write(batch, true)?;
        self.database.environment().pass(Point::SnapshotInstall)?;
        let progress = fill(&self.database, &file.path)?;
        load(&self.database, self.machine.as_ref()).map_err(|err| match err {
            LoadError::Damaged(err) => err,
            LoadError::Refused(because) => self.database.damaged("the installed snapshot", &because),
        })?;
        snapshot::remove_others(&self.database, &file.path);
        *self.current.lock() = Some((file, meta.clone()));
        self.clock.observe(progress.time_ms);
        let applied = AppliedMark { log_id: progress.log_id, time_ms: progress.time_ms };
        *self.progress.lock() = progress;
        self.machine.applied(applied.index());
        // Their outcomes may lie in the entries that the snapshot replaced.
        self.waiters.lose_all();
        self.applied.send_replace(applied);
        Ok(())
    }
}

/// Whether the log goes on from a state that was applied up to here.
pub(crate) fn explained(applied: Option<LogId>, log: &Contents) -> Result<(), String> {
    let last = log.last();
    match applied {
        _ if applied < log.purged => Err(format!("it lacks entries that the log no longer has (up to {:?})", log.purged)),
        Some(applied) if Some(applied) == log.purged => Ok(()),
        Some(applied) => {
            let first = log.entries.front().map_or(0, |first| first.log_id.index);
            let at = usize::try_from(applied.index.saturating_sub(first)).unwrap_or(usize::MAX);
            match log.entries.get(at) {
                Some(place) if place.log_id == applied => Ok(()),
                _ => Err(format!("it holds entry {applied}, which the log (up to {last:?}) does not")),
            }
        }
        None => Ok(()),
    }
}

/// Replaces the state by a snapshot file and removes the installation mark. Can be repeated.
fn fill(database: &Database, path: &Path) -> io::Result<Progress> {
    let (mut reader, head) = SnapshotReader::open(database.disk(), path)?;
    let mut batch = Batch::default();
    batch.clear(Table::State);
    // A state that is only half filled must not pass for anything.
    batch.delete(Table::Meta, key::APPLIED);
    database.write(batch, false)?;
    while let Some(piece) = reader.piece()? {
        let mut batch = Batch::default();
        for (key, value) in piece {
            batch.put(Table::State, &key.0[..], codec::wrap(Kind::Value, &value.0));
        }
        database.write(batch, false)?;
    }
    let progress = Progress { log_id: head.meta.last_log_id, membership: head.meta.last_membership, time_ms: head.time_ms };
    let mut batch = Batch::default();
    batch.put(Table::Meta, key::APPLIED, codec::encode(Kind::Applied, &progress).map_err(io::Error::other)?);
    batch.delete(Table::Meta, key::INSTALLING);
    database.write(batch, true)?;
    Ok(progress)
}

enum LoadError {
    Damaged(io::Error),
    Refused(String),
}

/// Hands the whole state to the machine. Reading and checking go on in a thread of their own meanwhile, except in a simulation.
fn load(database: &Database, machine: &dyn Machine) -> Result<(), LoadError> {
    let entries = || {
        database.scan(Table::State).map(|item| {
            let (key, value) = item?;
            let value = codec::unwrap(Kind::Value, &value).map_err(|err| database.damaged(&name_of(&key), &err))?.to_vec();
            Ok((key.into_vec(), value))
        })
    };
    if database.environment().simulated {
        return load_from(entries(), machine);
    }
    std::thread::scope(|scope| {
        let (give, take) = std::sync::mpsc::sync_channel(READ_AHEAD_CHUNKS);
        let read = move || {
            let mut entries = entries();
            loop {
                let chunk: Vec<io::Result<(Vec<u8>, Vec<u8>)>> = entries.by_ref().take(READ_AHEAD_ENTRIES).collect();
                // Nobody listens any more after damage, or when the machine refuses.
                if chunk.is_empty() || give.send(chunk).is_err() {
                    return;
                }
            }
        };
        match std::thread::Builder::new().name("state-read".to_owned()).spawn_scoped(scope, read) {
            Ok(_) => load_from(take.into_iter().flatten(), machine),
            Err(err) => Err(LoadError::Damaged(err)),
        }
    })
}

fn load_from(entries: impl Iterator<Item = io::Result<(Vec<u8>, Vec<u8>)>>, machine: &dyn Machine) -> Result<(), LoadError> {
    let mut damage = None;
    let mut sound = entries.map_while(|read| read.map_err(|err| damage = Some(err)).ok());
    let loaded = machine.load(&mut sound);
    drop(sound);
    match damage {
        Some(err) => Err(LoadError::Damaged(err)),
        None => loaded.map_err(LoadError::Refused),
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_else(|| "for an unknown reason".to_owned())
}

fn name_of(key: &[u8]) -> String {
    format!("the state's value of key {}", key.escape_ascii())
}

/// Writes one snapshot.
pub(crate) struct Builder {
    inner: Arc<Inner>,
    written: tokio::task::JoinHandle<io::Result<(SnapshotFile, SnapshotMeta)>>,
}

impl RaftSnapshotBuilder<TypeConfig> for Builder {
    type SnapshotData = SnapshotFile;

    async fn build_snapshot(&mut self) -> Result<Snapshot<SnapshotFile>, io::Error> {
        let (file, meta) = (&mut self.written).await.map_err(io::Error::other)??;
        *self.inner.current.lock() = Some((file.clone(), meta.clone()));
        // To give the room of a large file back takes the file system a while, and this thread has others to serve.
        let (database, keep) = (self.inner.database.clone(), file.path.clone());
        self.inner.database.environment().block(move || snapshot::remove_others(&database, &keep)).await;
        Ok(Snapshot { meta, snapshot: file })
    }
}

/// Writes a snapshot of what the database holds now. `ready` fires when the view of now is taken.
fn write_snapshot(inner: &Inner, head: &Head, ready: oneshot::Sender<()>) -> io::Result<(SnapshotFile, SnapshotMeta)> {
    let database = &inner.database;
    // An iterator sees the database as it was when it was made.
    let entries = database.scan(Table::State);
    // The caller waits for it; if it does not, nobody minds.
    let _ = ready.send(());
    database.environment().pass(Point::SnapshotBuild)?;
    let mut writer = SnapshotWriter::create(database, head)?;
    for item in entries {
        let (key, value) = item?;
        let value = codec::unwrap(Kind::Value, &value).map_err(|err| database.damaged(&name_of(&key), &err))?;
        writer.put(&key, value)?;
    }
    Ok((writer.finish()?, head.meta.clone()))
}

impl RaftStateMachine<TypeConfig> for StateStore {
    type SnapshotData = SnapshotFile;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        let progress = self.inner.progress.lock();
        Ok((progress.log_id, progress.membership.clone()))
    }

    async fn apply<Strm>(&mut self, entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        let mut batches = entries.ready_chunks(BATCH_ENTRIES_MAX);
        while let Some(batch) = batches.next().await {
            let batch = batch.into_iter().collect::<Result<_, _>>()?;
            // A panic would end this task alone and leave a node that leads and applies nothing: it must stop the node.
            match catch_unwind(AssertUnwindSafe(|| self.inner.apply_batch(batch))) {
                Ok(applied) => self.inner.behind.write(applied?).await?,
                Err(panic) => return Err(io::Error::other(format!("the machine broke: {}", panic_text(panic.as_ref())))),
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        let inner = self.inner.clone();
        let head = {
            let progress = inner.progress.lock();
            Head {
                meta: SnapshotMeta { last_log_id: progress.log_id, last_membership: progress.membership.clone() },
                time_ms: progress.time_ms,
            }
        };
        let settled = inner.behind.settle().await;
        let (ready, taken) = oneshot::channel();
        let (worker, environment) = (inner.clone(), inner.database.environment().clone());
        let written = tokio::spawn(async move {
            settled?;
            environment.block(move || write_snapshot(&worker, &head, ready)).await
        });
        // No entry is applied before the view is taken. An error here shows up in build_snapshot.
        drop(taken.await);
        Builder { inner, written }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: SnapshotFile) -> Result<(), io::Error> {
        let (inner, meta) = (self.inner.clone(), meta.clone());
        inner.behind.settle().await?;
        let environment = inner.database.environment().clone();
        environment.block(move || inner.install(&meta, &snapshot)).await
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<SnapshotFile>>, io::Error> {
        Ok(self.inner.current.lock().clone().map(|(snapshot, meta)| Snapshot { meta, snapshot }))
    }
}

/// A progress as it stands in the database, for tests of the directory.
#[cfg(test)]
pub(crate) fn tests_progress(log_id: LogId) -> impl Serialize {
    Progress { log_id: Some(log_id), ..Progress::default() }
}

/// What a snapshot up to here says of itself, for tests of the directory.
#[cfg(test)]
pub(crate) fn tests_meta(log_id: LogId) -> SnapshotMeta {
    SnapshotMeta { last_log_id: Some(log_id), ..SnapshotMeta::default() }
}
