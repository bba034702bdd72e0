//! The files that the log is written to: preallocated, one after the other, and used again.
//!
//! Writing to room that a file already has costs the disk one flush and no change of the file's metadata. A file is prepared in the
//! background before it is needed, and one that is no longer needed is removed there: giving the room of a file back takes milliseconds,
//! and a snapshot may free dozens. Only the active file may hold what is not synced: closing one syncs it.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;

use super::record::{self, HEAD_BYTES, Head, Kind, Place, RECORD_BYTES};
use super::scan::{Contents, UNFINISHED, file_name};
use crate::environment::{Disk, DiskFile, Environment, OpenFile};
use crate::faults::Point;

/// Zeros written with one call: a page. Larger pieces lie in the page cache in larger pieces, and each small write and each sync then
/// goes through all blocks of one.
const ZEROS_BYTES: usize = 4096;
/// Room that the buffer keeps.
const BUFFER_BYTES: usize = 1 << 20;
/// Files without a part of the log that are kept to be used again: more than a load fills from one snapshot of a small state to the next.
const SPARE_FILES_MAX: usize = 4;

#[derive(Debug, Clone)]
struct Segment {
    number: u32,
    file: Arc<dyn DiskFile>,
    bytes: u64,
    last_index: Option<u64>,
}

/// The files of a log.
#[derive(Debug)]
pub(crate) struct Segments {
    shared: Arc<Shared>,
    /// Absent in a simulation: its work is done on the spot.
    helper: Option<Helper>,
    active: Segment,
    offset: u32,
    closed: BTreeMap<u32, Segment>,
    /// Bytes that are not yet given to the file, which belong at `offset`.
    buffer: Vec<u8>,
    /// Everything before this place is on stable storage.
    stable: Place,
    environment: Environment,
    /// How long the last flush took.
    last_flush: Duration,
    /// A file that could not be written or synced: nothing may be written any more.
    broken: Option<(io::ErrorKind, String)>,
}

/// What the work in the background needs.
#[derive(Debug)]
struct Shared {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    owner: (u128, u64),
    bytes: u64,
    /// Held while a file is being prepared: one at a time.
    turn: Mutex<()>,
    next: Mutex<Next>,
}

#[derive(Debug, Default)]
struct Next {
    ready: Option<Segment>,
    /// Asked for, and not yet looked at.
    asked: bool,
    /// The highest number that was given away.
    taken: u32,
    /// In ascending order; the lowest goes first, so that no gap comes into being. What is too much is removed.
    spare: VecDeque<PathBuf>,
}

/// The thread that prepares files and removes them. The drop waits for it: no thread may touch the files of a log that is closed.
#[derive(Debug)]
struct Helper {
    /// Set until the drop.
    tasks: Option<mpsc::Sender<Task>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Clone, Copy)]
enum Task {
    /// The file of this number will be needed soon.
    Prepare(u32),
    /// There are more spare files than are kept.
    Trim,
}

impl Helper {
    fn start(shared: Arc<Shared>) -> io::Result<Self> {
        let (tasks, requests) = mpsc::channel();
        let work = move || {
            loop {
                // One removal at a time: a file that is needed does not wait for all of them.
                let request = match requests.try_recv() {
                    Err(mpsc::TryRecvError::Empty) if shared.remove_one() => continue,
                    Err(mpsc::TryRecvError::Empty) => requests.recv().ok(),
                    request => request.ok(),
                };
                match request {
                    Some(Task::Prepare(number)) => shared.prepare_ahead(number),
                    Some(Task::Trim) => {}
                    None => return,
                }
            }
        };
        let thread = std::thread::Builder::new().name("log-files".to_owned()).spawn(work)?;
        Ok(Self { tasks: Some(tasks), thread: Some(thread) })
    }

    fn ask(&self, task: Task) {
        // If the thread is gone, files are prepared when they are needed, and the next start finds what is too much.
        let _ = self.tasks.as_ref().map(|tasks| tasks.send(task));
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.tasks = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread of the log's files broke");
        }
    }
}

/// What every file begins with: what earlier files said and is still true.
pub(crate) type Checkpoint = Vec<(Kind, Vec<u8>)>;

impl Segments {
    /// Goes on where the contents end. With `fresh` the log goes on in a new file, because behind its end something may stand that was lost.
    pub(crate) fn open(
        environment: &Environment,
        dir: &Path,
        owner: (u128, u64),
        bytes: u64,
        contents: &Contents,
        fresh: bool,
        checkpoint: &Checkpoint,
    ) -> io::Result<Self> {
        let disk = environment.disk.clone();
        disk.create_dir_all(dir)?;
        let mut next = Next { spare: contents.spare.iter().cloned().collect(), ..Next::default() };
        let (mut closed, mut active) = (BTreeMap::new(), None);
        for file in &contents.segments {
            let segment = Segment { number: file.number, file: file.file.clone(), bytes: file.bytes, last_index: file.last_index };
            if !file.used {
                // Prepared for a size that may have changed: only the very next one is kept.
                next.ready = next.ready.or(Some(segment));
            } else if let Some(before) = active.replace(segment) {
                closed.insert(before.number, before);
            }
        }
        next.taken = active.as_ref().map_or(0, |active| active.number);
        let shared = Arc::new(Shared { disk, dir: dir.to_owned(), owner, bytes, turn: Mutex::new(()), next: Mutex::new(next) });
        let helper = if environment.simulated { None } else { Some(Helper::start(shared.clone())?) };
        let active = match active {
            Some(active) => active,
            None => shared.take_next(1)?,
        };
        let mut segments = Self {
            shared,
            helper,
            active,
            offset: contents.end.offset(),
            closed,
            buffer: Vec::new(),
            stable: contents.end,
            environment: environment.clone(),
            last_flush: Duration::ZERO,
            broken: None,
        };
        segments.make_stable(contents)?;
        if contents.segments.is_empty() {
            segments.begin(checkpoint);
            segments.flush()?;
            segments.sync_now()?;
        } else if fresh {
            segments.rotate(checkpoint)?;
            segments.flush()?;
            segments.sync_now()?;
        }
        Ok(segments)
    }

    /// What the page cache holds counts from now on: it must not be lost with the power any more. After a sync that failed the cache
    /// believes that its pages are written, and no later sync writes them: so all that is not known to be stable is written again.
    fn make_stable(&self, contents: &Contents) -> io::Result<()> {
        for segment in self.closed.values().chain([&self.active]).filter(|segment| segment.number >= contents.stable.segment()) {
            let known = if segment.number == contents.stable.segment() { contents.stable.offset().max(HEAD_BYTES) } else { HEAD_BYTES };
            let end = if segment.number == contents.end.segment() { u64::from(contents.end.offset()) } else { segment.bytes };
            let mut bytes = vec![0; usize::try_from(end.saturating_sub(u64::from(known))).map_err(io::Error::other)?];
            segment.file.read_exact_at(&mut bytes, u64::from(known))?;
            segment.file.write_all_at(&bytes, u64::from(known))?;
            segment.file.sync()?;
        }
        Ok(())
    }

    /// The place where the next record will stand.
    pub(crate) fn end(&self) -> Place {
        let buffered = u32::try_from(self.buffer.len()).unwrap_or(u32::MAX);
        Place::new(self.active.number, self.offset.saturating_add(buffered))
    }

    /// How far the log is on stable storage.
    pub(crate) fn stable(&self) -> Place {
        self.stable
    }

    pub(crate) fn check(&self) -> io::Result<()> {
        match &self.broken {
            Some((kind, text)) => Err(io::Error::new(*kind, text.clone())),
            None => Ok(()),
        }
    }

    /// Adds a record and says where it stands. It is in the file after [`Segments::flush`].
    pub(crate) fn put(&mut self, kind: Kind, payload: &[&[u8]], checkpoint: &Checkpoint) -> io::Result<Place> {
        self.check()?;
        let length: usize = payload.iter().map(|part| part.len()).sum();
        if !self.has_room(length) {
            self.rotate(checkpoint)?;
            if !self.has_room(length) {
                return Err(io::Error::other(format!("a record of {length} bytes does not fit into a file of the log")));
            }
        }
        let place = self.end();
        record::put(&mut self.buffer, place, kind, self.stable, payload);
        Ok(place)
    }

    /// As [`Segments::put`], if no new file is needed for it.
    pub(crate) fn put_if_room(&mut self, kind: Kind, payload: &[&[u8]]) -> io::Result<Option<Place>> {
        let length = payload.iter().map(|part| part.len()).sum();
        if self.has_room(length) { self.put(kind, payload, &Checkpoint::new()).map(Some) } else { Ok(None) }
    }

    /// A file always has room for the record that ends it.
    fn has_room(&self, payload: usize) -> bool {
        let wanted = (record::padded(payload) + RECORD_BYTES) as u64;
        u64::from(self.end().offset()) + wanted <= self.active.bytes
    }

    pub(crate) fn note_entry(&mut self, index: u64) {
        self.active.last_index = Some(index);
    }

    /// Gives what was added to the file: from now on it survives the process.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.check()?;
        if self.buffer.is_empty() {
            return Ok(());
        }
        let written = self.active.file.write_all_at(&self.buffer, u64::from(self.offset));
        self.note(written)?;
        self.offset += u32::try_from(self.buffer.len()).map_err(io::Error::other)?;
        self.buffer.clear();
        self.buffer.shrink_to(BUFFER_BYTES);
        if u64::from(self.offset) > self.active.bytes / 2 {
            self.prepare_soon(self.active.number + 1);
        }
        Ok(())
    }

    fn prepare_soon(&self, number: u32) {
        {
            let mut next = self.shared.next.lock();
            if next.asked || next.ready.as_ref().is_some_and(|ready| ready.number == number) {
                return;
            }
            next.asked = true;
        }
        match &self.helper {
            Some(helper) => helper.ask(Task::Prepare(number)),
            None => self.shared.prepare_ahead(number),
        }
    }

    /// After an error nobody knows what is on the disk: nothing is written any more.
    fn note<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        if let Err(err) = &result {
            self.broken = Some((err.kind(), self.shared.describe(err)));
        }
        result.map_err(|err| io::Error::new(err.kind(), self.shared.describe(&err)))
    }

    /// Passes a named point on the way of a command.
    pub(crate) fn pass(&self, point: Point) -> io::Result<()> {
        self.environment.pass(point)
    }

    pub(crate) fn last_flush(&self) -> Duration {
        self.last_flush
    }

    pub(crate) fn note_flush(&mut self, took: Duration) {
        self.last_flush = took;
    }

    /// What has to be synced, and up to where the log is stable then. The caller syncs without holding the lock.
    pub(crate) fn to_sync(&self) -> (Arc<dyn DiskFile>, Place) {
        (self.active.file.clone(), Place::new(self.active.number, self.offset))
    }

    /// Takes note of a sync that was begun with [`Segments::to_sync`].
    pub(crate) fn synced(&mut self, upto: Place, result: io::Result<()>) -> io::Result<()> {
        self.note(result)?;
        self.stable = self.stable.max(upto);
        Ok(())
    }

    fn sync_now(&mut self) -> io::Result<()> {
        let (file, upto) = self.to_sync();
        let result = file.sync();
        self.synced(upto, result)
    }

    /// Closes the active file and goes on in the next one.
    fn rotate(&mut self, checkpoint: &Checkpoint) -> io::Result<()> {
        self.environment.pass(Point::LogNewSegment)?;
        let number = self.active.number + 1;
        // The next file is there, with its name, before this one says that the log goes on in it.
        let next = self.shared.take_next(number);
        let next = self.note(next)?;
        let end = self.end();
        record::put(&mut self.buffer, end, Kind::End, self.stable, &[]);
        let written = self.active.file.write_all_at(&self.buffer, u64::from(self.offset)).and_then(|()| self.active.file.sync());
        self.note(written)?;
        self.buffer.clear();
        let before = std::mem::replace(&mut self.active, next);
        self.closed.insert(before.number, before);
        self.offset = HEAD_BYTES;
        self.stable = Place::new(number, HEAD_BYTES);
        self.begin(checkpoint);
        Ok(())
    }

    fn begin(&mut self, checkpoint: &Checkpoint) {
        for (kind, payload) in checkpoint {
            let end = self.end();
            record::put(&mut self.buffer, end, *kind, self.stable, &[payload]);
        }
    }

    /// The file that holds a place.
    pub(crate) fn file(&self, number: u32) -> Option<Arc<dyn DiskFile>> {
        if number == self.active.number {
            return Some(self.active.file.clone());
        }
        self.closed.get(&number).map(|segment| segment.file.clone())
    }

    /// Gives up the files whose entries are all purged. The purge mark must be stable.
    pub(crate) fn recycle(&mut self, purged: u64) {
        while let Some((&number, segment)) = self.closed.first_key_value() {
            if segment.last_index.is_some_and(|last| last > purged) {
                break;
            }
            self.closed.remove(&number);
            self.shared.next.lock().spare.push_back(self.shared.dir.join(file_name(number)));
        }
        match &self.helper {
            Some(helper) => helper.ask(Task::Trim),
            None => while self.shared.remove_one() {},
        }
    }
}

impl Shared {
    fn describe(&self, err: &io::Error) -> String {
        let dir = self.dir.display();
        match err.kind() {
            io::ErrorKind::StorageFull => format!("no space is left on the disk of {dir}; free some and restart the node"),
            _ => format!("writing the log in {dir} failed: {err}"),
        }
    }

    fn take_next(&self, number: u32) -> io::Result<Segment> {
        let _turn = self.turn.lock();
        let ready = {
            let mut next = self.next.lock();
            next.taken = next.taken.max(number);
            next.ready.take().filter(|ready| ready.number == number)
        };
        ready.map_or_else(|| self.prepare(number), Ok)
    }

    fn prepare_ahead(&self, number: u32) {
        let _turn = self.turn.lock();
        let wanted = self.next.lock().taken < number;
        // A failure shows when the file is needed: it is then prepared in the foreground.
        let prepared = if wanted {
            self.prepare(number).inspect_err(|err| tracing::warn!(%err, "a file of the log cannot be prepared yet")).ok()
        } else {
            None
        };
        let mut next = self.next.lock();
        next.asked = false;
        next.ready = prepared.or(next.ready.take());
    }

    /// Makes a file ready: full length, head, name, all on stable storage.
    fn prepare(&self, number: u32) -> io::Result<Segment> {
        let path = self.dir.join(file_name(number));
        let head = Head { number, bytes: self.bytes, cluster: self.owner.0, node: self.owner.1 }.encode();
        let spare = self.next.lock().spare.pop_front();
        if let Some(spare) = spare {
            match self.reuse(&spare, &path, &head) {
                Ok(file) => return Ok(Segment { number, file, bytes: self.bytes, last_index: None }),
                Err(err) => tracing::debug!(%err, path = %spare.display(), "a file of the log is not used again"),
            }
        }
        let part = path.with_extension(UNFINISHED);
        let file = self.disk.open(&part, OpenFile::CreateEmpty)?;
        let zeros = vec![0; ZEROS_BYTES];
        let mut at = 0;
        while at < self.bytes {
            let piece = usize::try_from((self.bytes - at).min(ZEROS_BYTES as u64)).map_err(io::Error::other)?;
            file.write_all_at(&zeros[..piece], at)?;
            at += piece as u64;
        }
        file.write_all_at(&head, 0)?;
        file.sync()?;
        self.disk.rename(&part, &path)?;
        self.disk.sync_dir(&self.dir)?;
        Ok(Segment { number, file, bytes: self.bytes, last_index: None })
    }

    /// Turns a file that is no longer needed into the next one. Its old records are void under its new number.
    fn reuse(&self, spare: &Path, path: &Path, head: &[u8]) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.disk.open(spare, OpenFile::Write)?;
        if file.len()? != self.bytes {
            self.disk.remove(spare)?;
            return Err(io::Error::other("it has another length"));
        }
        file.write_all_at(head, 0)?;
        file.sync()?;
        self.disk.rename(spare, path)?;
        self.disk.sync_dir(&self.dir)?;
        Ok(file)
    }

    /// Removes a spare file if there are more than are kept.
    fn remove_one(&self) -> bool {
        let path = {
            let mut next = self.next.lock();
            if next.spare.len() <= SPARE_FILES_MAX {
                return false;
            }
            next.spare.pop_front()
        };
        if let Some(path) = path
            && let Err(err) = self.disk.remove(&path)
        {
            tracing::warn!(%err, path = %path.display(), "a file of the log that is no longer needed cannot be removed");
        }
        true
    }
}
