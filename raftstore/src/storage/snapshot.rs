//! Snapshot files: the whole state at one log entry, written from a consistent view while applies go on.
//!
//! ```text
//! file:   frame*                      frame:  length u32le | envelope
//! frames: SnapshotHead { meta, time } , SnapshotPiece { (key, value)* } ... , SnapshotEnd { entries }
//! ```
//! A file gets its final name only when it is complete and synced. Values are the raw bytes of the machine.

use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::Database;
use crate::codec::{self, Kind};
use crate::environment::{Disk, DiskFile, OpenFile};
use crate::types::{Blob, SnapshotMeta};

/// Folder of the snapshots in the data directory.
pub(crate) const FOLDER: &str = "snapshots";
/// A piece is closed when it holds this much; it is longer by one entry at most.
const PIECE_BYTES: usize = 256 << 10;
/// Longest frame that is read.
const FRAME_BYTES_MAX: usize = 64 << 20;
/// Bytes that are written and synced before a pause.
const PACE_BYTES: u64 = 1 << 20;
/// Longest pause, which is otherwise as long as the work before it.
const PACE_PAUSE_MAX: Duration = Duration::from_millis(100);
/// Ending of files that are not complete.
const UNFINISHED: &str = "part";

/// The head of a snapshot.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Head {
    pub(crate) meta: SnapshotMeta,
    pub(crate) time_ms: u64,
}

#[derive(Serialize, Deserialize)]
struct End {
    entries: u64,
}

/// A complete snapshot file. Unlinking it does not disturb who reads it.
#[derive(Debug, Clone)]
pub(crate) struct SnapshotFile {
    pub(crate) path: PathBuf,
    /// Its length.
    pub(crate) bytes: u64,
    /// Received from a peer and not yet installed.
    pub(crate) received: bool,
}

/// A file from its beginning to its end.
#[derive(Debug)]
pub(crate) struct Stream {
    file: Arc<dyn DiskFile>,
    at: u64,
    len: u64,
}

impl Stream {
    /// Reads a file.
    pub(crate) fn open(disk: &dyn Disk, path: &Path) -> io::Result<Self> {
        let file = disk.open(path, OpenFile::Read)?;
        let len = file.len()?;
        Ok(Self { file, at: 0, len })
    }

    fn create(disk: &dyn Disk, path: &Path) -> io::Result<Self> {
        Ok(Self { file: disk.open(path, OpenFile::CreateEmpty)?, at: 0, len: 0 })
    }
}

impl Read for Stream {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let rest = usize::try_from(self.len.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let count = bytes.len().min(rest);
        self.file.read_exact_at(&mut bytes[..count], self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_all_at(bytes, self.at)?;
        self.at += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Leaves half of the disk and of the processor to those whose commands go on while a snapshot is written. Without it, the sync at the end
/// would hand the whole file to the disk at once, and every commit would wait behind it.
#[derive(Debug)]
struct Pace {
    /// Time is real.
    real: bool,
    synced: u64,
    since: Instant,
}

impl Pace {
    fn new(real: bool) -> Self {
        Self { real, synced: 0, since: Instant::now() }
    }

    fn keep(&mut self, file: &Stream) -> io::Result<()> {
        if !self.real || file.at < self.synced + PACE_BYTES {
            return Ok(());
        }
        file.file.sync()?;
        self.synced = file.at;
        std::thread::sleep(self.since.elapsed().min(PACE_PAUSE_MAX));
        self.since = Instant::now();
        Ok(())
    }
}

/// Writes a snapshot file.
pub(crate) struct SnapshotWriter {
    disk: Arc<dyn Disk>,
    out: BufWriter<Stream>,
    pace: Pace,
    path: PathBuf,
    piece: Vec<(Blob, Blob)>,
    piece_bytes: usize,
    entries: u64,
}

impl SnapshotWriter {
    pub(crate) fn create(database: &Database, head: &Head) -> io::Result<Self> {
        let path = database.dir().join(FOLDER).join(format!("{}.{UNFINISHED}", file_name(&head.meta)));
        let disk = database.environment().disk.clone();
        let out = BufWriter::new(Stream::create(disk.as_ref(), &path)?);
        let pace = Pace::new(!database.environment().simulated);
        let mut writer = Self { disk, out, pace, path, piece: Vec::new(), piece_bytes: 0, entries: 0 };
        writer.frame(Kind::SnapshotHead, head)?;
        Ok(writer)
    }

    pub(crate) fn put(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        self.piece.push((Blob(key.into()), Blob(value.into())));
        self.piece_bytes += key.len() + value.len();
        self.entries += 1;
        if self.piece_bytes >= PIECE_BYTES { self.close_piece() } else { Ok(()) }
    }

    fn close_piece(&mut self) -> io::Result<()> {
        let piece = std::mem::take(&mut self.piece);
        self.piece_bytes = 0;
        self.frame(Kind::SnapshotPiece, &piece)?;
        self.pace.keep(self.out.get_ref())
    }

    fn frame<T: Serialize>(&mut self, kind: Kind, value: &T) -> io::Result<()> {
        let bytes = codec::encode(kind, value).map_err(io::Error::other)?;
        let length = u32::try_from(bytes.len()).map_err(|_| io::Error::other("an entry of the state is longer than 4 GiB"))?;
        self.out.write_all(&length.to_le_bytes())?;
        self.out.write_all(&bytes)
    }

    /// Completes the file and gives it its name.
    pub(crate) fn finish(mut self) -> io::Result<SnapshotFile> {
        if !self.piece.is_empty() {
            self.close_piece()?;
        }
        self.frame(Kind::SnapshotEnd, &End { entries: self.entries })?;
        self.out.flush()?;
        self.out.get_ref().file.sync()?;
        let (path, bytes) = (self.path.with_extension(""), self.out.get_ref().at);
        rename_synced(self.disk.as_ref(), &self.path, &path)?;
        Ok(SnapshotFile { path, bytes, received: false })
    }
}

fn rename_synced(disk: &dyn Disk, from: &Path, to: &Path) -> io::Result<()> {
    disk.rename(from, to)?;
    match to.parent() {
        Some(folder) => disk.sync_dir(folder),
        None => Ok(()),
    }
}

fn file_name(meta: &SnapshotMeta) -> String {
    let (index, term) = meta.last_log_id.map_or((0, 0), |log_id| (log_id.index, log_id.leader_id.term));
    format!("snapshot-{index:020}-{term}")
}

/// Reads a snapshot file and checks all of it on the way.
pub(crate) struct SnapshotReader {
    input: BufReader<Stream>,
    path: PathBuf,
    entries: u64,
}

impl SnapshotReader {
    pub(crate) fn open(disk: &dyn Disk, path: &Path) -> io::Result<(Self, Head)> {
        let mut reader = Self { input: BufReader::new(Stream::open(disk, path)?), path: path.to_owned(), entries: 0 };
        let bytes = reader.frame()?;
        let head = codec::decode(Kind::SnapshotHead, &bytes).map_err(|err| reader.damaged(&err))?;
        Ok((reader, head))
    }

    /// The next piece, or `None` after a complete end.
    pub(crate) fn piece(&mut self) -> io::Result<Option<Vec<(Blob, Blob)>>> {
        let bytes = self.frame()?;
        if bytes.first() == Some(&(Kind::SnapshotPiece as u8)) {
            let piece: Vec<(Blob, Blob)> = codec::decode(Kind::SnapshotPiece, &bytes).map_err(|err| self.damaged(&err))?;
            self.entries += piece.len() as u64;
            return Ok(Some(piece));
        }
        self.end(&bytes)?;
        Ok(None)
    }

    /// As [`SnapshotReader::piece`] without decoding it: whether there was one.
    fn skip_piece(&mut self) -> io::Result<bool> {
        let bytes = self.frame()?;
        if bytes.first() == Some(&(Kind::SnapshotPiece as u8)) {
            self.entries += codec::elements(Kind::SnapshotPiece, &bytes).map_err(|err| self.damaged(&err))?;
            return Ok(true);
        }
        self.end(&bytes)?;
        Ok(false)
    }

    fn end(&self, bytes: &[u8]) -> io::Result<()> {
        let end: End = codec::decode(Kind::SnapshotEnd, bytes).map_err(|err| self.damaged(&err))?;
        if end.entries != self.entries {
            return Err(self.damaged(&format!("it holds {} of {} entries", self.entries, end.entries)));
        }
        Ok(())
    }

    fn frame(&mut self) -> io::Result<Vec<u8>> {
        let mut length = [0; 4];
        self.input.read_exact(&mut length).map_err(|err| self.damaged(&err))?;
        let length = u32::from_le_bytes(length) as usize;
        if length > FRAME_BYTES_MAX {
            return Err(self.damaged(&format!("a frame of {length} bytes")));
        }
        let mut bytes = vec![0; length];
        self.input.read_exact(&mut bytes).map_err(|err| self.damaged(&err))?;
        Ok(bytes)
    }

    fn damaged(&self, because: &impl ToString) -> io::Error {
        let text = format!("the snapshot {} is damaged: {}", self.path.display(), because.to_string());
        io::Error::new(io::ErrorKind::InvalidData, text)
    }
}

/// Reads a whole file only to check it, and returns its head.
pub(crate) fn verify(disk: &dyn Disk, path: &Path) -> io::Result<Head> {
    let (mut reader, head) = SnapshotReader::open(disk, path)?;
    while reader.skip_piece()? {}
    Ok(head)
}

/// A file that is being received from a peer.
#[derive(Debug)]
pub(crate) struct Incoming {
    disk: Arc<dyn Disk>,
    file: Stream,
    path: PathBuf,
}

impl Incoming {
    pub(crate) fn create(database: &Database, from: u64, id: u64) -> io::Result<Self> {
        let path = database.dir().join(FOLDER).join(format!("from-{from}-{id}.{UNFINISHED}"));
        let disk = database.environment().disk.clone();
        let file = Stream::create(disk.as_ref(), &path)?;
        Ok(Self { disk, file, path })
    }

    /// Adds a chunk, which must begin where the last one ended.
    pub(crate) fn add(&mut self, offset: u64, chunk: &[u8]) -> io::Result<()> {
        if offset != self.file.at {
            return Err(io::Error::other(format!("a chunk begins at {offset} where {} belongs", self.file.at)));
        }
        self.file.write_all(chunk)
    }

    pub(crate) fn finish(self, bytes: u64) -> io::Result<SnapshotFile> {
        if bytes != self.file.at {
            return Err(io::Error::other(format!("{} of {bytes} bytes arrived", self.file.at)));
        }
        self.file.file.sync()?;
        Ok(SnapshotFile { path: self.path, bytes, received: true })
    }

    /// Forgets what arrived.
    pub(crate) fn discard(self) {
        remove(self.disk.as_ref(), &self.path);
    }
}

/// Moves a received file to its place; copies one that belongs to somebody else.
pub(crate) fn adopt(database: &Database, file: &SnapshotFile, meta: &SnapshotMeta) -> io::Result<SnapshotFile> {
    let disk = database.disk();
    let path = database.dir().join(FOLDER).join(file_name(meta));
    if file.path == path {
        return Ok(file.clone());
    }
    if file.received {
        rename_synced(disk, &file.path, &path)?;
    } else {
        let part = path.with_extension(UNFINISHED);
        let mut copy = BufWriter::new(Stream::create(disk, &part)?);
        io::copy(&mut BufReader::new(Stream::open(disk, &file.path)?), &mut copy)?;
        copy.flush()?;
        copy.get_ref().file.sync()?;
        rename_synced(disk, &part, &path)?;
    }
    Ok(SnapshotFile { path, bytes: file.bytes, received: false })
}

/// Finds the newest usable snapshot, and removes what is not complete.
pub(crate) fn newest(database: &Database) -> io::Result<Option<(SnapshotFile, Head)>> {
    let disk = database.disk();
    let mut paths = Vec::new();
    for path in disk.list(&database.dir().join(FOLDER))? {
        if path.extension().is_some_and(|ending| ending == UNFINISHED) {
            remove(disk, &path);
        } else {
            paths.push(path);
        }
    }
    paths.sort();
    while let Some(path) = paths.pop() {
        match verify(disk, &path).and_then(|head| Ok((head, disk.open(&path, OpenFile::Read)?.len()?))) {
            Ok((head, bytes)) => return Ok(Some((SnapshotFile { path, bytes, received: false }, head))),
            // Nothing is lost: the state itself is in the database, and the next snapshot is made from it.
            Err(err) => tracing::warn!(%err, "a snapshot file is not usable and is left alone"),
        }
    }
    Ok(None)
}

/// Removes all snapshots except one.
pub(crate) fn remove_others(database: &Database, keep: &Path) {
    let Ok(paths) = database.disk().list(&database.dir().join(FOLDER)) else { return };
    for path in paths {
        if path != keep && path.extension().is_none() {
            remove(database.disk(), &path);
        }
    }
}

fn remove(disk: &dyn Disk, path: &Path) {
    if let Err(err) = disk.remove(path) {
        tracing::warn!(%err, path = %path.display(), "a snapshot file that is no longer needed cannot be removed");
    }
}
