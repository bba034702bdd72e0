//! The Raft log on disk: entries, vote, purge and commit marks, in files of its own.
//!
//! An entry is given to the file before `append` returns, so that it survives the process. Its callback fires at once when neither it nor
//! anything before it has to survive a loss of power, and after a sync otherwise: the class of a record decides what its commit waits for.
//! Everything is written by one caller, in order. Knows nothing of what the entries mean.
//!
//! [`record`] says what the bytes are, [`segments`] writes files, [`scan`] reads them after a start, [`syncer`] syncs.

pub(crate) mod record;
pub(crate) mod scan;
pub(crate) mod segments;
mod syncer;

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::{EntryPayload, LogState, OptionalSend, RaftLogReader};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use self::record::{Kind, Place};
use self::scan::{Contents, EntryPlace};
use self::segments::{Checkpoint, Segments};
use self::syncer::{Job, Syncer};
use super::Database;
use crate::clock::LogClock;
use crate::codec;
use crate::error::StartError;
use crate::faults::Point;
use crate::machine::Class;
use crate::types::{Entry, LeaderId, LogId, TypeConfig, Vote};

/// Folder of the log's files in the data directory.
pub(crate) const FOLDER: &str = "log";
/// Entries kept in memory for replication.
const TAIL_ENTRIES_MAX: usize = 4096;

/// The log of one node.
#[derive(Clone)]
pub(crate) struct LogStore {
    inner: Arc<Inner>,
}

struct Inner {
    database: Arc<Database>,
    clock: Arc<LogClock>,
    memory: Mutex<Memory>,
    segments: Arc<Mutex<Segments>>,
    syncer: Syncer,
    /// Bytes of all entries since the directory's oldest one.
    appended: AtomicU64,
}

/// What is known without reading.
#[derive(Default)]
struct Memory {
    vote: Option<Vote>,
    purged: Option<LogId>,
    last: Option<LogId>,
    committed: Option<LogId>,
    /// The commit mark that is in the file.
    committed_written: Option<LogId>,
    /// Where each entry stands, contiguous up to `last`.
    places: VecDeque<EntryPlace>,
    /// The newest entries, contiguous up to `last`.
    tail: BTreeMap<u64, Entry>,
}

impl LogStore {
    /// Goes on with a log that was read. The receiver is closed when its thread has ended, which it does when the last handle is gone.
    pub(crate) fn open(
        database: Arc<Database>,
        clock: Arc<LogClock>,
        contents: Contents,
    ) -> Result<(Self, oneshot::Receiver<()>), StartError> {
        clock.observe(contents.time_ms);
        let memory = Memory {
            vote: contents.vote,
            purged: contents.purged,
            last: contents.last(),
            committed: contents.committed.min(contents.last()),
            committed_written: contents.committed,
            places: contents.entries.clone(),
            tail: BTreeMap::new(),
        };
        let start = |err: io::Error| database.start_error("the log", &err);
        let fresh = database.last_run().end.is_none();
        let appended = AtomicU64::new(bytes_of(contents.entries.iter()));
        let checkpoint = memory.checkpoint().map_err(start)?;
        let segments = database.open_segments(&contents, fresh, &checkpoint).map_err(start)?;
        database.begin_run().map_err(|err| database.start_error("the mark of this run", &err))?;
        let segments = Arc::new(Mutex::new(segments));
        let (syncer, ended) = Syncer::start(segments.clone(), database.environment().simulated)?;
        let memory = Mutex::new(memory);
        let log = Self { inner: Arc::new(Inner { database: database.clone(), clock, memory, segments, syncer, appended }) };
        log.fill_tail().map_err(start)?;
        Ok((log, ended))
    }

    /// Reads and checks every entry; the newest stay in memory.
    fn fill_tail(&self) -> io::Result<()> {
        let (first, last) = {
            let memory = self.inner.memory.lock();
            (memory.places.front().map_or(1, |first| first.log_id.index), memory.places.back().map_or(0, |last| last.log_id.index))
        };
        let mut from = first;
        while from <= last {
            let entries = self.read_disk(from, last + 1)?;
            let mut memory = self.inner.memory.lock();
            from += entries.len() as u64;
            for entry in entries {
                memory.keep(entry);
            }
        }
        Ok(())
    }

    /// Passes a named point on the way of a command.
    fn pass(&self, point: Point) -> io::Result<()> {
        self.inner.database.environment().pass(point)
    }

    fn write(&self, kind: Kind, payload: &[u8]) -> io::Result<()> {
        let checkpoint = self.inner.memory.lock().checkpoint()?;
        let mut segments = self.inner.segments.lock();
        segments.put(kind, &[payload], &checkpoint)?;
        segments.flush()
    }

    /// Whether the last flush took so little time that the next one may be waited for on the spot.
    fn flushes_quickly(&self) -> bool {
        !self.inner.database.environment().simulated && self.inner.segments.lock().last_flush() < QUICK_FLUSH
    }

    fn sync_here(&self) -> io::Result<()> {
        syncer::sync(&self.inner.segments)
    }

    /// Waits until everything written so far is on stable storage.
    pub(crate) async fn sync(&self) -> io::Result<()> {
        self.inner.syncer.sync().await
    }

    /// Whether something was written that is not yet on stable storage.
    pub(crate) fn is_dirty(&self) -> bool {
        let segments = self.inner.segments.lock();
        segments.stable() < segments.end()
    }

    /// Bytes of all entries that were appended, with those that a start found. Never less than before.
    pub(crate) fn appended(&self) -> u64 {
        self.inner.appended.load(Ordering::Relaxed)
    }

    /// Bytes of the entries behind an index. Looks at each of them.
    pub(crate) fn bytes_behind(&self, index: u64) -> u64 {
        bytes_of(self.inner.memory.lock().places.iter().filter(|place| place.log_id.index > index))
    }

    /// Makes everything stable and says where the log ends. For the last moment before a clean stop.
    pub(crate) async fn finish(&self) -> io::Result<Place> {
        let committed = self.inner.memory.lock().committed;
        if let Some(committed) = committed {
            self.write(Kind::Committed, &encoded(codec::Kind::LogId, &committed)?)?;
        }
        self.sync().await?;
        Ok(self.inner.segments.lock().end())
    }

    /// The log id at an index, if the log has it or was purged up to it.
    pub(crate) fn log_id_at(&self, index: u64) -> Option<LogId> {
        let memory = self.inner.memory.lock();
        memory.place(index).map(|place| place.log_id).or_else(|| memory.purged.filter(|purged| purged.index == index))
    }

    /// Whether this log holds up to an index, which has an entry of this leader, what the leader's log holds: it does if that very entry is
    /// in it. An index alone says nothing: after a majority lost power, another entry may have been committed there. Of an entry
    /// that was purged from this log only the end is known: one of the same leader, or of a later one, stands on it.
    pub(crate) fn agrees_with(&self, leader: LeaderId, index: u64) -> bool {
        let theirs = LogId { leader_id: leader, index };
        self.log_id_at(index).map_or_else(|| self.bounds().1 >= Some(theirs), |own| own == theirs)
    }

    /// The log ids of the last entry and of the last purged one.
    pub(crate) fn bounds(&self) -> (Option<LogId>, Option<LogId>) {
        let memory = self.inner.memory.lock();
        (memory.last, memory.purged)
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
        let mut entries = Vec::new();
        let mut next = from;
        while next < to_exclusive.min(tail_from) {
            let read = self.read_disk(next, to_exclusive.min(tail_from))?;
            let Some(last) = read.last() else { break };
            next = last.log_id.index + 1;
            entries.extend(read);
        }
        if to_exclusive > tail_from {
            let memory = self.inner.memory.lock();
            let next = entries.last().map_or(from, |entry: &Entry| entry.log_id.index + 1);
            entries.extend(memory.tail.range(next..to_exclusive.max(next)).map(|(_, entry)| entry.clone()));
        }
        Ok(entries)
    }

    /// Reads entries of one file, from the first that is there.
    fn read_disk(&self, from: u64, to_exclusive: u64) -> io::Result<Vec<Entry>> {
        let database = &self.inner.database;
        let places: Vec<EntryPlace> = {
            let memory = self.inner.memory.lock();
            let Some(first) = memory.places.front() else { return Ok(Vec::new()) };
            let skip = usize::try_from(from.saturating_sub(first.log_id.index)).unwrap_or(usize::MAX);
            let here = memory.places.iter().skip(skip).take_while(|place| place.log_id.index < to_exclusive);
            let segment = memory.places.get(skip).map(|place| place.at.segment());
            here.take_while(|place| Some(place.at.segment()) == segment).take(READ_ENTRIES_MAX).copied().collect()
        };
        let (Some(first), Some(last)) = (places.first().copied(), places.last().copied()) else { return Ok(Vec::new()) };
        let Some(file) = self.inner.segments.lock().file(first.at.segment()) else { return Ok(Vec::new()) };
        let end = u64::from(last.at.offset()) + record::padded(last.bytes as usize) as u64;
        let mut bytes = vec![0; usize::try_from(end - u64::from(first.at.offset())).map_err(io::Error::other)?];
        file.read_exact_at(&mut bytes, u64::from(first.at.offset()))?;
        let mut entries = Vec::with_capacity(places.len());
        for place in places {
            let start = usize::try_from(place.at.offset() - first.at.offset()).map_err(io::Error::other)?;
            let name =
                || format!("log entry {} at byte {} of {}", place.log_id.index, place.at.offset(), scan::file_name(place.at.segment()));
            let read = bytes.get(start..).and_then(|rest| record::read(rest, place.at)).filter(|record| record.kind == Kind::Entry);
            let Some(record) = read else {
                // It may have been purged since, and its file be in use again.
                if self.inner.memory.lock().place(place.log_id.index).is_none() {
                    return Ok(entries);
                }
                return Err(database.damaged(&name(), &"its bytes were changed"));
            };
            let (_, _, envelope) = record::split_entry(record.payload).ok_or_else(|| database.damaged(&name(), &"it is cut off"))?;
            let entry: Entry = codec::decode(codec::Kind::Entry, envelope).map_err(|err| database.damaged(&name(), &err))?;
            if entry.log_id != place.log_id {
                return Err(database.damaged(&name(), &format!("it says that it is entry {}", entry.log_id)));
            }
            entries.push(entry);
        }
        Ok(entries)
    }
}

/// A flush that took less is waited for where it is needed.
const QUICK_FLUSH: Duration = Duration::from_millis(1);
/// Entries read from disk with one call.
const READ_ENTRIES_MAX: usize = 256;

fn bytes_of<'a>(places: impl Iterator<Item = &'a EntryPlace>) -> u64 {
    places.map(|place| u64::from(place.bytes)).sum()
}

fn encoded<T: serde::Serialize>(kind: codec::Kind, value: &T) -> io::Result<Vec<u8>> {
    codec::encode(kind, value).map_err(io::Error::other)
}

/// Whether the commit of an entry waits for the disks of a majority.
fn must_be_stable(entry: &Entry) -> bool {
    match &entry.payload {
        EntryPayload::Normal(command) => command.class == Class::Persistent,
        EntryPayload::Blank | EntryPayload::Membership(_) => true,
    }
}

fn time_ms(entry: &Entry) -> u64 {
    match &entry.payload {
        EntryPayload::Normal(command) => command.time_ms,
        EntryPayload::Blank | EntryPayload::Membership(_) => 0,
    }
}

impl Memory {
    fn place(&self, index: u64) -> Option<&EntryPlace> {
        let first = self.places.front()?.log_id.index;
        self.places.get(usize::try_from(index.checked_sub(first)?).ok()?)
    }

    fn keep(&mut self, entry: Entry) {
        self.tail.insert(entry.log_id.index, entry);
        if self.tail.len() > TAIL_ENTRIES_MAX {
            self.tail.pop_first();
        }
    }

    /// What a new file begins with.
    fn checkpoint(&self) -> io::Result<Checkpoint> {
        let mut checkpoint = Checkpoint::new();
        if let Some(vote) = &self.vote {
            checkpoint.push((Kind::Vote, encoded(codec::Kind::Vote, vote)?));
        }
        for (kind, mark) in [(Kind::Purge, self.purged), (Kind::Committed, self.committed_written), (Kind::Follows, self.last)] {
            if let Some(mark) = mark {
                checkpoint.push((kind, encoded(codec::Kind::LogId, &mark)?));
            }
        }
        Ok(checkpoint)
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
        self.pass(Point::VoteBeforeSave)?;
        self.write(Kind::Vote, &encoded(codec::Kind::Vote, vote)?)?;
        // A file that begins from now on must begin with it.
        self.inner.memory.lock().vote = Some(*vote);
        self.sync().await?;
        self.pass(Point::VoteAfterSave)
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
        let inner = &self.inner;
        let (mut stable, mut led_here) = (false, false);
        {
            let mut segments = inner.segments.lock();
            let mut memory = inner.memory.lock();
            if memory.committed != memory.committed_written
                && let Some(committed) = memory.committed
            {
                let checkpoint = memory.checkpoint()?;
                segments.put(Kind::Committed, &[&encoded(codec::Kind::LogId, &committed)?], &checkpoint)?;
                memory.committed_written = Some(committed);
            }
            for entry in entries {
                let (log_id, time_ms) = (entry.log_id, time_ms(&entry));
                let (head, envelope) = (record::entry_head(log_id, time_ms), encoded(codec::Kind::Entry, &entry)?);
                // Only the start of a new file needs it, but it must be of this moment.
                let at = match segments.put_if_room(Kind::Entry, &[&head, &envelope])? {
                    Some(at) => at,
                    None => {
                        let checkpoint = memory.checkpoint()?;
                        segments.put(Kind::Entry, &[&head, &envelope], &checkpoint)?
                    }
                };
                segments.note_entry(log_id.index);
                let bytes = u32::try_from(head.len() + envelope.len()).map_err(io::Error::other)?;
                inner.appended.fetch_add(u64::from(bytes), Ordering::Relaxed);
                stable |= must_be_stable(&entry);
                led_here |= log_id.leader_id.node_id == inner.database.node_id();
                inner.clock.observe(time_ms);
                memory.places.push_back(EntryPlace { log_id, at, bytes });
                memory.last = Some(log_id);
                memory.keep(entry);
            }
            segments.pass(Point::LogBeforeWrite)?;
            segments.flush()?;
        }
        if stable && !led_here && inner.syncer.is_idle() && self.flushes_quickly() {
            // A follower has nothing else to do with these entries: waking a thread would cost as much as the flush.
            callback.io_completed(self.sync_here());
            Ok(())
        } else if stable {
            inner.syncer.send_soon(Job::Stable(callback))
        } else if inner.syncer.is_idle() {
            callback.io_completed(Ok(()));
            Ok(())
        } else {
            inner.syncer.send_soon(Job::Written(callback))
        }
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        let next = last_log_id.map_or(0, |log_id| log_id.index + 1);
        self.pass(Point::LogTruncate)?;
        self.write(Kind::Truncate, &next.to_le_bytes())?;
        let mut memory = self.inner.memory.lock();
        memory.tail.split_off(&next);
        while memory.places.back().is_some_and(|last| last.log_id.index >= next) {
            memory.places.pop_back();
        }
        let kept = last_log_id.max(memory.purged);
        memory.last = memory.last.min(kept);
        Ok(())
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), io::Error> {
        self.pass(Point::LogPurge)?;
        {
            let mut memory = self.inner.memory.lock();
            memory.purged = memory.purged.max(Some(log_id));
            memory.last = memory.last.max(Some(log_id));
            memory.tail = memory.tail.split_off(&(log_id.index + 1));
            while memory.places.front().is_some_and(|first| first.log_id.index <= log_id.index) {
                memory.places.pop_front();
            }
        }
        self.write(Kind::Purge, &encoded(codec::Kind::LogId, &log_id)?)?;
        // Files may be used again only when nobody can miss what stood in them.
        self.sync().await?;
        self.inner.segments.lock().recycle(log_id.index);
        Ok(())
    }
}
