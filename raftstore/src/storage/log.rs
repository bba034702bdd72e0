//! The Raft log on disk: entries, vote, purge and commit marks.
//!
//! One thread writes, in the order of the requests, and syncs once for everything that waits (group commit). An appended entry can be
//! read at once from the tail in memory; its callback fires after the sync. Knows nothing of what the entries mean.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;

use openraft::entry::RaftEntry;
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::{LogState, OptionalSend, RaftLogReader};
use parking_lot::Mutex;
use rocksdb::{Direction, IteratorMode, WriteBatch};
use tokio::sync::oneshot;

use super::{Database, LOG, META, key};
use crate::clock::LogClock;
use crate::codec::{self, Kind};
use crate::error::StartError;
use crate::types::{Entry, LogId, TypeConfig, Vote};

/// Entries kept in memory for replication, beside those that are not yet on disk.
const TAIL_ENTRIES_MAX: usize = 4096;
/// Requests that one sync serves at most.
const GROUP_REQUESTS_MAX: usize = 1024;

/// The log of one node.
#[derive(Clone)]
pub(crate) struct LogStore {
    inner: Arc<Inner>,
}

struct Inner {
    database: Arc<Database>,
    clock: Arc<LogClock>,
    memory: Arc<Mutex<Memory>>,
    /// Both are set until the drop.
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Inner {
    fn send(&self, job: Job) -> io::Result<()> {
        self.jobs.as_ref().ok_or_else(stopped)?.send(job).map_err(|_| stopped())
    }
}

impl Drop for Inner {
    /// Ends the thread and waits for it: no thread may hold the database when the program ends.
    fn drop(&mut self) {
        self.jobs = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the log's thread broke");
        }
    }
}

/// What is known without reading: always ahead of the disk.
#[derive(Default)]
struct Memory {
    vote: Option<Vote>,
    purged: Option<LogId>,
    last: Option<LogId>,
    committed: Option<LogId>,
    /// The newest entries, contiguous up to `last`.
    tail: BTreeMap<u64, Entry>,
    /// The newest entry on disk. The tail is never trimmed past it.
    flushed: u64,
}

enum Job {
    Append { puts: Vec<(u64, Vec<u8>)>, flushed: IOFlushed<TypeConfig> },
    Vote { bytes: Vec<u8>, done: oneshot::Sender<io::Result<()>> },
    Truncate { from: u64, done: oneshot::Sender<io::Result<()>> },
    Purge { upto: u64, bytes: Vec<u8>, done: oneshot::Sender<io::Result<()>> },
}

impl LogStore {
    /// Reads the log, checks every entry, and starts the writing thread.
    /// The receiver is closed when the thread has ended, which it does when the last handle of the log is gone.
    pub(crate) fn open(database: Arc<Database>, clock: Arc<LogClock>) -> Result<(Self, oneshot::Receiver<()>), StartError> {
        let mut memory = Memory {
            vote: database.read_start(Kind::Vote, key::VOTE, "the vote")?,
            purged: database.read_start(Kind::LogId, key::PURGED, "the purge mark")?,
            committed: database.read_start(Kind::LogId, key::COMMITTED, "the commit mark")?,
            ..Memory::default()
        };
        scan(&database, &clock, &mut memory).map_err(|err| database.start_error("the log", &err))?;
        let (jobs, requests) = mpsc::channel();
        let (alive, ended) = oneshot::channel();
        let memory = Arc::new(Mutex::new(memory));
        let writer = Writer { database: database.clone(), memory: memory.clone() };
        let thread = std::thread::Builder::new()
            .name("log-writer".to_owned())
            .spawn(move || {
                writer.run(&requests);
                drop(writer);
                drop(alive);
            })
            .map_err(|err| StartError::Core(format!("the log thread did not start: {err}")))?;
        let inner = Arc::new(Inner { database, clock, memory, jobs: Some(jobs), thread: Some(thread) });
        Ok((Self { inner }, ended))
    }

    async fn job(&self, make: impl FnOnce(oneshot::Sender<io::Result<()>>) -> Job) -> io::Result<()> {
        let (done, wait) = oneshot::channel();
        self.inner.send(make(done))?;
        wait.await.map_err(|_| stopped())?
    }

    fn read_range(&self, from: u64, to_exclusive: u64) -> io::Result<Vec<Entry>> {
        let tail_from = {
            let memory = self.inner.memory.lock();
            let tail_from = memory.tail.keys().next().copied().unwrap_or(u64::MAX);
            if from >= tail_from {
                return Ok(memory.tail.range(from..to_exclusive.max(from)).map(|(_, entry)| entry.clone()).collect());
            }
            tail_from
        };
        let mut entries = self.read_disk(from, to_exclusive.min(tail_from))?;
        if to_exclusive > tail_from {
            let memory = self.inner.memory.lock();
            let next = entries.last().map_or(from, |entry| entry.log_id.index + 1);
            entries.extend(memory.tail.range(next..to_exclusive.max(next)).map(|(_, entry)| entry.clone()));
        }
        Ok(entries)
    }

    fn read_disk(&self, from: u64, to_exclusive: u64) -> io::Result<Vec<Entry>> {
        let database = &self.inner.database;
        let mut entries = Vec::new();
        let start = from.to_be_bytes();
        for item in database.db().iterator_cf(database.family(LOG), IteratorMode::From(&start, Direction::Forward)) {
            let (key, value) = item.map_err(|err| database.io_error("reading", &err))?;
            let entry = decode_entry(database, &key, &value)?;
            if entry.log_id.index >= to_exclusive {
                break;
            }
            entries.push(entry);
        }
        Ok(entries)
    }
}

/// Reads the whole log once: every entry must be readable, in its place, and follow the one before it.
fn scan(database: &Database, clock: &LogClock, memory: &mut Memory) -> io::Result<()> {
    let purged = memory.purged.map(|log_id| log_id.index);
    memory.last = memory.purged;
    let mut previous = None;
    for item in database.db().iterator_cf(database.family(LOG), IteratorMode::Start) {
        let (key, value) = item.map_err(|err| database.io_error("reading", &err))?;
        let entry = decode_entry(database, &key, &value)?;
        let index = entry.log_id.index;
        if purged.is_some_and(|purged| index <= purged) {
            continue;
        }
        let expected = previous.map_or(index, |previous: u64| previous + 1);
        if index != expected {
            return Err(database.damaged(&format!("log entry {expected}"), &"it is missing"));
        }
        previous = Some(index);
        if let openraft::EntryPayload::Normal(command) = &entry.payload {
            clock.observe(command.time_ms);
        }
        memory.last = Some(entry.log_id);
        memory.tail.insert(index, entry);
        if memory.tail.len() > TAIL_ENTRIES_MAX {
            memory.tail.pop_first();
        }
    }
    memory.flushed = memory.last.map_or(0, |log_id| log_id.index);
    Ok(())
}

fn decode_entry(database: &Database, key: &[u8], value: &[u8]) -> io::Result<Entry> {
    let index = <[u8; 8]>::try_from(key).map(u64::from_be_bytes).map_err(|_| database.damaged("a key of the log", &"wrong length"))?;
    let name = || format!("log entry {index}");
    let entry: Entry = codec::decode(Kind::Entry, value).map_err(|err| database.damaged(&name(), &err))?;
    if entry.log_id.index != index {
        return Err(database.damaged(&name(), &format!("it says that it is entry {}", entry.log_id.index)));
    }
    Ok(entry)
}

fn stopped() -> io::Error {
    io::Error::other("the log writer has stopped")
}

fn encoded<T: serde::Serialize>(kind: Kind, value: &T) -> io::Result<Vec<u8>> {
    codec::encode(kind, value).map_err(io::Error::other)
}

/// The thread that writes.
struct Writer {
    database: Arc<Database>,
    memory: Arc<Mutex<Memory>>,
}

impl Writer {
    fn run(&self, requests: &mpsc::Receiver<Job>) {
        while let Ok(first) = requests.recv() {
            let mut group = VecDeque::from([first]);
            while group.len() < GROUP_REQUESTS_MAX
                && let Ok(next) = requests.try_recv()
            {
                group.push_back(next);
            }
            self.write(group);
        }
    }

    /// Writes a group of requests in their order, syncs once, then answers them in their order.
    fn write(&self, group: VecDeque<Job>) {
        let (log, meta) = (self.database.family(LOG), self.database.family(META));
        let mut batch = WriteBatch::default();
        let mut sync = false;
        let mut flushed = None;
        for job in &group {
            match job {
                Job::Append { puts, .. } => {
                    sync = true;
                    for (index, bytes) in puts {
                        batch.put_cf(log, index.to_be_bytes(), bytes);
                        flushed = Some(*index);
                    }
                }
                Job::Vote { bytes, .. } => {
                    sync = true;
                    batch.put_cf(meta, key::VOTE, bytes);
                }
                Job::Truncate { from, .. } => {
                    sync = true;
                    batch.delete_range_cf(log, from.to_be_bytes(), u64::MAX.to_be_bytes());
                }
                Job::Purge { upto, bytes, .. } => {
                    batch.put_cf(meta, key::PURGED, bytes);
                    batch.delete_range_cf(log, 0u64.to_be_bytes(), (upto + 1).to_be_bytes());
                }
            }
        }
        let committed = self.memory.lock().committed;
        if let Some(bytes) = committed.and_then(|committed| encoded(Kind::LogId, &committed).ok()) {
            batch.put_cf(meta, key::COMMITTED, bytes);
        }
        let result = self.database.write(batch, sync);
        if let (Ok(()), Some(index)) = (&result, flushed) {
            self.memory.lock().trim(index);
        }
        for job in group {
            let answer = match &result {
                Ok(()) => Ok(()),
                Err(err) => Err(io::Error::new(err.kind(), err.to_string())),
            };
            match job {
                Job::Append { flushed, .. } => flushed.io_completed(answer),
                // A caller that went away does not want to know.
                Job::Vote { done, .. } | Job::Truncate { done, .. } | Job::Purge { done, .. } => drop(done.send(answer)),
            }
        }
    }
}

impl Memory {
    fn trim(&mut self, flushed: u64) {
        self.flushed = flushed;
        while self.tail.len() > TAIL_ENTRIES_MAX && self.tail.keys().next().is_some_and(|&first| first <= flushed) {
            self.tail.pop_first();
        }
    }
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        let from = match range.start_bound() {
            Bound::Included(&index) => index,
            Bound::Excluded(&index) => index.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(&index) => index.saturating_add(1),
            Bound::Excluded(&index) => index,
            Bound::Unbounded => u64::MAX,
        };
        self.read_range(from, to)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.inner.memory.lock().vote)
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let memory = self.inner.memory.lock();
        Ok(LogState { last_purged_log_id: memory.purged, last_log_id: memory.last })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let bytes = encoded(Kind::Vote, vote)?;
        self.job(|done| Job::Vote { bytes, done }).await?;
        // Readers compare this vote before and after they read: it may show only what is on disk.
        self.inner.memory.lock().vote = Some(*vote);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        // Written with the next entries: a commit mark only saves work at the next start.
        self.inner.memory.lock().committed = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.inner.memory.lock().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut puts = Vec::new();
        let entries: Vec<Entry> = entries.into_iter().collect();
        for entry in &entries {
            puts.push((entry.log_id.index, encoded(Kind::Entry, entry)?));
            if let openraft::EntryPayload::Normal(command) = &entry.payload {
                self.inner.clock.observe(command.time_ms);
            }
        }
        {
            let mut memory = self.inner.memory.lock();
            for entry in entries {
                memory.last = Some(entry.log_id());
                memory.tail.insert(entry.log_id.index, entry);
            }
        }
        self.inner.send(Job::Append { puts, flushed: callback })
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        let from = last_log_id.map_or(0, |log_id| log_id.index + 1);
        self.job(|done| Job::Truncate { from, done }).await?;
        let mut memory = self.inner.memory.lock();
        memory.tail.split_off(&from);
        let kept = last_log_id.max(memory.purged);
        memory.last = memory.last.min(kept);
        memory.flushed = memory.flushed.min(from.saturating_sub(1));
        Ok(())
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), io::Error> {
        let bytes = encoded(Kind::LogId, &log_id)?;
        {
            let mut memory = self.inner.memory.lock();
            memory.purged = memory.purged.max(Some(log_id));
            memory.last = memory.last.max(Some(log_id));
            memory.tail = memory.tail.split_off(&(log_id.index + 1));
        }
        self.job(|done| Job::Purge { upto: log_id.index, bytes, done }).await
    }
}
