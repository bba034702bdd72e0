//! Reads the log's files after a start, or for somebody who only looks: what stands in them, where the log ends, and what is damaged.
//!
//! Changes nothing. A hole is the log's end only where a lost write may be: behind everything that was ever synced. Anywhere else it is
//! damage, named by file and offset, and the node does not start on it.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::record::{self, BadHead, HEAD_BYTES, Head, Kind, Place};
use crate::codec;
use crate::environment::{Disk, DiskFile, OpenFile};
use crate::storage::life::LastRun;
use crate::types::{LogId, Vote};

/// Ending of the log's files.
pub(crate) const ENDING: &str = "log";
/// Ending of a file that is being prepared.
pub(crate) const UNFINISHED: &str = "part";
/// Longest file that is read: what a head may claim.
const SEGMENT_BYTES_MAX: u64 = 1 << 30;

/// Where an entry stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EntryPlace {
    pub(crate) log_id: LogId,
    pub(crate) at: Place,
    /// Of the payload.
    pub(crate) bytes: u32,
}

/// A file of the log.
#[derive(Debug, Clone)]
pub(crate) struct SegmentFile {
    pub(crate) number: u32,
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn DiskFile>,
    /// It holds the log from here on; otherwise it only waits for its turn.
    pub(crate) used: bool,
    pub(crate) bytes: u64,
    pub(crate) last_index: Option<u64>,
    pub(crate) records: u64,
}

/// What stands in the log.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    /// In ascending order, without a gap. The last used one is where the log goes on.
    pub(crate) segments: Vec<SegmentFile>,
    /// Files without a part of the log; they may be used again.
    pub(crate) spare: Vec<PathBuf>,
    pub(crate) entries: VecDeque<EntryPlace>,
    pub(crate) vote: Option<Vote>,
    pub(crate) purged: Option<LogId>,
    pub(crate) committed: Option<LogId>,
    pub(crate) time_ms: u64,
    /// Where the next record belongs.
    pub(crate) end: Place,
    /// Up to here the records themselves say that the log had been synced.
    pub(crate) stable: Place,
    /// Entries up to this index stood in files that are not there. They must have been purged.
    pub(crate) missing_upto: Option<(u64, PathBuf)>,
}

impl Contents {
    pub(crate) fn last(&self) -> Option<LogId> {
        self.entries.back().map(|entry| entry.log_id).max(self.purged)
    }
}

/// Why the log cannot be used.
#[derive(Debug)]
pub(crate) struct Damage {
    pub(crate) path: PathBuf,
    pub(crate) offset: u64,
    pub(crate) because: String,
    /// What could be read before it.
    pub(crate) before: Box<Contents>,
}

impl Damage {
    pub(crate) fn text(&self) -> String {
        format!("the log file {} is damaged at byte {}: {}", self.path.display(), self.offset, self.because)
    }
}

/// Why there are no contents.
#[derive(Debug)]
pub(crate) enum ScanError {
    Io(io::Error),
    Damage(Damage),
}

impl From<io::Error> for ScanError {
    fn from(err: io::Error) -> Self {
        Self::Io(err)
    }
}

/// The name of a segment's file.
pub(crate) fn file_name(number: u32) -> String {
    format!("{number:08x}.{ENDING}")
}

fn number_of(path: &Path) -> Option<u32> {
    if path.extension()? != ENDING {
        return None;
    }
    u32::from_str_radix(path.file_stem()?.to_str()?, 16).ok()
}

/// Reads the whole log of a directory.
pub(crate) fn scan(disk: &dyn Disk, dir: &Path, owner: (u128, u64), last_run: LastRun) -> Result<Contents, ScanError> {
    let mut contents = Contents { end: Place::new(1, HEAD_BYTES), ..Contents::default() };
    let mut files = Vec::new();
    for path in disk.list(dir)? {
        match number_of(&path) {
            Some(number) => files.push((number, path)),
            None if path.extension().is_some_and(|ending| ending == UNFINISHED) => contents.spare.push(path),
            None => {}
        }
    }
    files.sort();
    let mut reader = Reader { contents, last_run, ended: true, started: false };
    let count = files.len();
    for (at, (number, path)) in files.into_iter().enumerate() {
        reader.file(disk, owner, number, path, at + 1 == count)?;
    }
    reader.finish()
}

struct Reader {
    contents: Contents,
    last_run: LastRun,
    /// The segment read last says that the log goes on in the next one.
    ended: bool,
    started: bool,
}

impl Reader {
    fn damage(&mut self, path: &Path, offset: u64, because: impl Into<String>) -> ScanError {
        let before = Box::new(std::mem::take(&mut self.contents));
        ScanError::Damage(Damage { path: path.to_owned(), offset, because: because.into(), before })
    }

    fn file(&mut self, disk: &dyn Disk, owner: (u128, u64), number: u32, path: PathBuf, last: bool) -> Result<(), ScanError> {
        let file = disk.open(&path, OpenFile::Write)?;
        let length = file.len()?;
        let mut head = [0; HEAD_BYTES as usize];
        let head = match file.read_exact_at(&mut head, 0) {
            Ok(()) => Head::decode(&head),
            Err(err) if err.kind() == io::ErrorKind::UnexpectedEof => Err(BadHead::Damaged),
            Err(err) => return Err(err.into()),
        };
        let head = match head {
            // It has the head of its next use already: nothing in it is needed, or it would not have been taken.
            Ok(head) if head.number != number && !self.started => {
                self.contents.spare.push(path);
                return Ok(());
            }
            Ok(head) if head.number != number => {
                return Err(self.damage(&path, 12, format!("it says that it is file {:08x}", head.number)));
            }
            Ok(head) => head,
            // The head may have been half written when the process ended; whether its entries are missed shows in the next file.
            Err(BadHead::Damaged) if !self.started && !last => {
                self.contents.spare.push(path);
                return Ok(());
            }
            Err(BadHead::Damaged) => return Err(self.damage(&path, 0, "its head is not what was written")),
            Err(BadHead::Version(version)) => {
                let because = format!("it is of format version {version}, this program knows {}; use the newer program", record::VERSION);
                return Err(self.damage(&path, 8, because));
            }
        };
        if (head.cluster, head.node) != owner {
            return Err(self.damage(&path, 24, format!("it belongs to node {} of another cluster or node", head.node)));
        }
        if head.bytes > SEGMENT_BYTES_MAX || length != head.bytes {
            return Err(self.damage(&path, length, format!("it has {length} of {} bytes", head.bytes)));
        }
        if self.contents.segments.last().is_some_and(|before| before.number + 1 != number) {
            // Files go in their order, but their names may come back with a loss of power. What is missed shows in the next file's head.
            let (before, spare) = (std::mem::take(&mut self.contents), &mut self.contents.spare);
            *spare = before.spare;
            spare.extend(before.segments.into_iter().map(|segment| segment.path));
            (self.started, self.ended) = (false, true);
        }
        let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        file.read_exact_at(&mut bytes, 0)?;
        let first = record::read(&bytes[HEAD_BYTES as usize..], Place::new(number, HEAD_BYTES)).is_some();
        if self.started && !self.ended {
            // The log ends in an earlier file: this one may only wait for its turn.
            if first {
                let (before, offset) = match self.contents.segments.iter().rev().find(|segment| segment.used) {
                    Some(segment) => (segment.path.clone(), u64::from(self.contents.end.offset())),
                    None => (path, 0),
                };
                return Err(self.damage(&before, offset, "a record is missing, and the log goes on in a later file"));
            }
            self.contents.segments.push(SegmentFile { number, path, file, used: false, bytes: length, last_index: None, records: 0 });
            return Ok(());
        }
        self.started = true;
        self.ended = false;
        self.contents.segments.push(SegmentFile { number, path, file, used: true, bytes: length, last_index: None, records: 0 });
        self.contents.end = Place::new(number, HEAD_BYTES);
        self.records(number, &bytes)
    }

    fn records(&mut self, number: u32, bytes: &[u8]) -> Result<(), ScanError> {
        let mut offset = HEAD_BYTES as usize;
        loop {
            let place = Place::new(number, u32::try_from(offset).unwrap_or(u32::MAX));
            self.contents.end = place;
            let Some(record) = bytes.get(offset..).and_then(|rest| record::read(rest, place)) else {
                return self.hole(number, bytes, place);
            };
            offset += record.bytes;
            self.contents.stable = self.contents.stable.max(record.stable);
            if let Err(because) = self.contents.take(place, &record) {
                let path = self.contents.segments.last().map(|segment| segment.path.clone()).unwrap_or_default();
                return Err(self.damage(&path, u64::from(place.offset()), because));
            }
            if let Some(segment) = self.contents.segments.last_mut() {
                segment.records += 1;
            }
            if record.kind == Kind::End {
                self.ended = true;
                return Ok(());
            }
        }
    }

    /// No record stands where the next one belongs: the end of the log, or damage.
    fn hole(&mut self, number: u32, bytes: &[u8], place: Place) -> Result<(), ScanError> {
        let later = record::any_after(bytes, number, place.offset() + 1);
        let because = match later {
            Some(stable) if stable > place => "a record is missing that had been synced before later ones were written",
            Some(_) if self.last_run.pages_kept => "a record is missing in front of others, and the power was never lost",
            _ if self.last_run.end.is_some_and(|end| end > place) => "the log ends here, but it was longer when the node was stopped",
            _ => return Ok(()),
        };
        let path = self.contents.segments.last().map(|segment| segment.path.clone()).unwrap_or_default();
        Err(self.damage(&path, u64::from(place.offset()), because))
    }

    fn finish(mut self) -> Result<Contents, ScanError> {
        if self.started && self.ended {
            let number = self.contents.segments.last().map_or(1, |segment| segment.number);
            let path = self.contents.segments.last().map(|segment| segment.path.with_file_name(file_name(number + 1)));
            return Err(self.damage(&path.unwrap_or_default(), 0, "it is missing"));
        }
        if let Some(end) = self.last_run.end.filter(|end| *end > self.contents.end) {
            let path = PathBuf::from(file_name(end.segment()));
            return Err(self.damage(&path, u64::from(end.offset()), "the log ended here when the node was stopped, and it is shorter now"));
        }
        if let Some((upto, path)) = self.contents.missing_upto.take() {
            let from = self.contents.purged.map_or(0, |purged| purged.index + 1);
            return Err(self.damage(&path, 0, format!("log entries {from} to {upto} are missing: the file before it is gone or damaged")));
        }
        Ok(self.contents)
    }
}

impl Contents {
    /// Adds what a record says.
    fn take(&mut self, place: Place, record: &record::Record<'_>) -> Result<(), String> {
        let mark = || codec::decode::<LogId>(codec::Kind::LogId, record.payload).map_err(|err| format!("a mark is {err}"));
        match record.kind {
            Kind::Entry => {
                let (log_id, time_ms, _) = record::split_entry(record.payload).ok_or("an entry is cut off")?;
                if let Some(last) = self.entries.back()
                    && (log_id.index != last.log_id.index + 1 || log_id <= last.log_id)
                {
                    return Err(format!("entry {log_id} follows entry {}", last.log_id));
                }
                let before = self.missing_upto.as_ref().map(|(upto, _)| *upto).or(self.purged.map(|purged| purged.index));
                if let Some(before) = before
                    && self.entries.is_empty()
                    && log_id.index != before + 1
                {
                    return Err(format!("entry {log_id} follows entry {before}"));
                }
                let bytes = u32::try_from(record.payload.len()).map_err(|err| err.to_string())?;
                self.entries.push_back(EntryPlace { log_id, at: place, bytes });
                self.time_ms = self.time_ms.max(time_ms);
                if let Some(segment) = self.segments.last_mut() {
                    segment.last_index = Some(log_id.index);
                }
            }
            Kind::Truncate => {
                let next = <[u8; 8]>::try_from(record.payload).map(u64::from_le_bytes).map_err(|_| "a truncation is cut off")?;
                while self.entries.back().is_some_and(|last| last.log_id.index >= next) {
                    self.entries.pop_back();
                }
                if let Some((upto, _)) = &mut self.missing_upto {
                    *upto = (*upto).min(next.saturating_sub(1));
                }
            }
            Kind::Vote => {
                self.vote = Some(codec::decode(codec::Kind::Vote, record.payload).map_err(|err| format!("the vote is {err}"))?);
            }
            Kind::Purge => {
                let purged = mark()?;
                self.purged = self.purged.max(Some(purged));
                while self.entries.front().is_some_and(|first| first.log_id.index <= purged.index) {
                    self.entries.pop_front();
                }
                self.missing_upto.take_if(|(upto, _)| *upto <= purged.index);
            }
            Kind::Committed => self.committed = self.committed.max(Some(mark()?)),
            Kind::Follows => {
                let follows = mark()?;
                match self.entries.back() {
                    Some(last) if last.log_id == follows => {}
                    Some(last) => return Err(format!("it follows entry {follows}, and the file before it ends with {}", last.log_id)),
                    None if self.purged >= Some(follows) => {}
                    None => {
                        let path = self.segments.last().map(|segment| segment.path.clone()).unwrap_or_default();
                        self.missing_upto = Some((follows.index, path));
                    }
                }
            }
            Kind::End => {}
        }
        Ok(())
    }
}
