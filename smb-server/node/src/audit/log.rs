//! The thread that writes and reads the audit log: a hanging disk blocks no worker of the runtime.

use std::{
    fs::File,
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, lchown},
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use rustix::fs::{FlockOperation, flock};
use tokio::sync::{mpsc, oneshot};

use super::{
    AuditResult, DIRECTORY, Entry,
    entry::time_text,
    files::{RotatedFiles, open_private},
};
use crate::rate_limit::PerMinute;

/// Queued lines; further ones are lost while the disk hangs.
const QUEUE_MAX: usize = 1024;
/// Longest time a request waits for its line.
const WRITE_MAX: Duration = Duration::from_secs(2);
/// Longest time a reader waits.
const READ_MAX: Duration = Duration::from_secs(10);
/// Size and number of the files with changes.
const CHANGES: (u64, usize) = (4 << 20, 8);
/// Size and number of the files with refusals.
const REFUSED: (u64, usize) = (1 << 20, 4);
/// Lines about refusals per minute.
const REFUSED_PER_MINUTE: u32 = 60;
/// Log messages about the disk per minute.
const COMPLAINTS_PER_MINUTE: u32 = 3;
/// Entries per read.
pub(crate) const READ_ENTRIES_MAX: usize = 1000;
/// Longest wait for the lock: local commands hold it while they write one line.
const LOCK_MAX: Duration = Duration::from_secs(2);
/// Pause between two tries.
const LOCK_PAUSE: Duration = Duration::from_millis(20);

enum Message {
    Write(Box<Entry>, oneshot::Sender<()>),
    Read { before: Option<u64>, limit: usize, found: oneshot::Sender<Vec<Entry>> },
}

/// The audit log of a running node.
#[derive(Clone)]
pub struct AuditLog(mpsc::Sender<Message>);

impl AuditLog {
    /// Starts the thread, which ends with the last clone of this value. Files that cannot be opened
    /// are tried again with every line: a full disk does not keep the node from starting.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn open(data_dir: &Path, node: u64) -> io::Result<Self> {
        let (sender, mut queue) = mpsc::channel(QUEUE_MAX);
        let mut log = Log::new(data_dir, node);
        std::thread::Builder::new().name("audit".to_owned()).spawn(move || {
            log.files();
            while let Some(message) = queue.blocking_recv() {
                match message {
                    Message::Write(entry, written) => {
                        log.write(*entry);
                        // The request may have timed out.
                        let _ = written.send(());
                    }
                    Message::Read { before, limit, found } => {
                        let _ = found.send(log.files().map_or_else(Vec::new, |files| files.read(before, limit)));
                    }
                }
            }
        })?;
        Ok(Self(sender))
    }

    /// Writes an entry; number, time and node are filled in. Returns when the line is on disk, or
    /// after [`WRITE_MAX`].
    pub async fn write(&self, entry: Entry) {
        let (written, done) = oneshot::channel();
        if self.0.try_send(Message::Write(Box::new(entry), written)).is_err() {
            metrics::counter!("holdfast_audit_lost_total").increment(1);
            return;
        }
        if tokio::time::timeout(WRITE_MAX, done).await.is_err() {
            tracing::warn!("the audit log takes long to write: look at the disk of the data directory");
        }
    }

    /// The newest entries with a number below `before`, newest first.
    ///
    /// # Errors
    /// The thread does not answer.
    pub async fn read(&self, before: Option<u64>, limit: usize) -> Result<Vec<Entry>, &'static str> {
        let (found, entries) = oneshot::channel();
        let asked = self.0.send(Message::Read { before, limit: limit.min(READ_ENTRIES_MAX), found });
        let read = async { asked.await.ok().map(|()| entries)?.await.ok() };
        tokio::time::timeout(READ_MAX, read)
            .await
            .ok()
            .flatten()
            .ok_or("the audit log cannot be read: look at the disk of the data directory")
    }
}

/// Writes one entry while the node does not run.
///
/// # Errors
/// Another process holds the log, or the disk.
pub fn append_once(data_dir: &Path, node: u64, entry: Entry) -> io::Result<()> {
    Writer::open(data_dir, node)?.write(entry)
}

/// State of the thread.
struct Log {
    data_dir: PathBuf,
    node: u64,
    writer: Option<Writer>,
    refusals: PerMinute,
    complaints: PerMinute,
}

impl Log {
    fn new(data_dir: &Path, node: u64) -> Self {
        let (refusals, complaints) = (PerMinute::new(REFUSED_PER_MINUTE), PerMinute::new(COMPLAINTS_PER_MINUTE));
        Self { data_dir: data_dir.to_owned(), node, writer: None, refusals, complaints }
    }

    fn files(&mut self) -> Option<&mut Writer> {
        if self.writer.is_none() {
            match Writer::open(&self.data_dir, self.node) {
                Ok(writer) => self.writer = Some(writer),
                Err(error) => self.complain(&error),
            }
        }
        self.writer.as_mut()
    }

    fn write(&mut self, mut entry: Entry) {
        if entry.result == AuditResult::Forbidden {
            match self.refusals.take(Instant::now()) {
                Some(left_out) => entry.left_out = left_out,
                None => return,
            }
        }
        let written = match self.files() {
            Some(files) => files.write(entry),
            None => {
                tracing::info!(target: "audit", "{}", serde_json::to_string(&entry).unwrap_or_default());
                metrics::counter!("holdfast_audit_lost_total").increment(1);
                return;
            }
        };
        if let Err(error) = written {
            metrics::counter!("holdfast_audit_lost_total").increment(1);
            self.complain(&error);
        }
    }

    fn complain(&mut self, error: &io::Error) {
        if self.complaints.take(Instant::now()).is_some() {
            let dir = self.data_dir.join(DIRECTORY);
            tracing::error!(dir = %dir.display(), %error, "the audit log cannot be written: make room on its disk, or give this node the right");
        }
    }
}

/// The open files, under an exclusive lock.
struct Writer {
    node: u64,
    next: u64,
    changes: RotatedFiles,
    refused: RotatedFiles,
    _lock: File,
}

impl Writer {
    fn open(data_dir: &Path, node: u64) -> io::Result<Self> {
        let dir = data_dir.join(DIRECTORY);
        match std::fs::DirBuilder::new().mode(0o700).create(&dir) {
            Ok(()) if rustix::process::geteuid().is_root() => {
                // The node may run as the owner of its data directory, not as root.
                let owner = std::fs::metadata(data_dir)?;
                lchown(&dir, Some(owner.uid()), Some(owner.gid()))?;
            }
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        if !std::fs::symlink_metadata(&dir)?.is_dir() {
            return Err(io::Error::new(io::ErrorKind::NotADirectory, format!("{} is no directory", dir.display())));
        }
        let lock = lock(&dir)?;
        let files = |name, (bytes, files)| RotatedFiles::new(&dir, name, bytes, files);
        let (changes, refused) = (files("changes", CHANGES), files("refused", REFUSED));
        let next = newest(&changes).max(newest(&refused)) + 1;
        Ok(Self { node, next, changes, refused, _lock: lock })
    }

    /// Numbers and writes an entry.
    fn write(&mut self, mut entry: Entry) -> io::Result<()> {
        (entry.number, entry.node, entry.time) = (self.next, self.node, time_text(SystemTime::now()));
        self.next += 1;
        entry.fit();
        // Strings, numbers and JSON values always serialize.
        let line = serde_json::to_string(&entry).unwrap_or_default();
        tracing::info!(target: "audit", "{line}");
        let files = if entry.result == AuditResult::Forbidden { &mut self.refused } else { &mut self.changes };
        files.append(&line)
    }

    fn read(&self, before: Option<u64>, limit: usize) -> Vec<Entry> {
        let mut found = Vec::new();
        for files in [&self.changes, &self.refused] {
            let mut left = limit;
            files.newest_first(|line| {
                if let Ok(entry) = serde_json::from_str::<Entry>(line)
                    && before.is_none_or(|before| entry.number < before)
                    && left > 0
                {
                    found.push(entry);
                    left -= 1;
                }
                left > 0
            });
        }
        found.sort_unstable_by_key(|entry| std::cmp::Reverse(entry.number));
        found.truncate(limit);
        found
    }
}

/// Number of the newest entry; 0 if there is none.
fn newest(files: &RotatedFiles) -> u64 {
    let mut number = 0;
    files.newest_first(|line| {
        number = serde_json::from_str::<Entry>(line).map_or(0, |entry| entry.number);
        number == 0
    });
    number
}

fn lock(dir: &Path) -> io::Result<File> {
    let path = dir.join("lock");
    let file = open_private(dir, &path)?;
    let deadline = Instant::now() + LOCK_MAX;
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < deadline => std::thread::sleep(LOCK_PAUSE),
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::entry::tests::entry;
    use super::*;

    fn refused(who: &str) -> Entry {
        Entry { result: AuditResult::Forbidden, status: 401, ..entry(who) }
    }

    #[tokio::test]
    async fn what_is_written_is_read_newest_first_and_numbers_go_on() {
        let dir = tempfile::tempdir().unwrap();
        let audit = AuditLog::open(dir.path(), 3).unwrap();
        audit.write(entry("ann")).await;
        audit.write(refused("-")).await;
        audit.write(entry("bob")).await;
        let all = audit.read(None, 10).await.unwrap();
        let short: Vec<_> = all.iter().map(|entry| (entry.number, entry.who.as_str(), entry.node)).collect();
        assert_eq!(short, [(3, "bob", 3), (2, "-", 3), (1, "ann", 3)]);
        assert_eq!(audit.read(Some(3), 1).await.unwrap()[0].number, 2);
        drop(audit);
        // The thread that holds the lock ends by itself.
        let audit = AuditLog::open(dir.path(), 3).unwrap();
        audit.write(entry("cat")).await;
        assert_eq!(audit.read(None, 1).await.unwrap()[0].number, 4);
    }

    #[tokio::test]
    async fn many_refusals_push_out_no_change() {
        let dir = tempfile::tempdir().unwrap();
        let audit = AuditLog::open(dir.path(), 1).unwrap();
        audit.write(entry("ann")).await;
        for _ in 0..10 * REFUSED_PER_MINUTE {
            audit.write(refused("-")).await;
        }
        let all = audit.read(None, READ_ENTRIES_MAX).await.unwrap();
        assert_eq!(all.len(), 1 + REFUSED_PER_MINUTE as usize);
        assert_eq!(all.last().unwrap().who, "ann");
    }

    #[test]
    fn one_process_at_a_time_writes() {
        let dir = tempfile::tempdir().unwrap();
        let first = Writer::open(dir.path(), 1).unwrap();
        assert_eq!(lock(&dir.path().join(DIRECTORY)).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(first);
        lock(&dir.path().join(DIRECTORY)).unwrap();
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_written_costs_lines_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join(DIRECTORY)).unwrap();
        // A symbolic link is not followed.
        std::os::unix::fs::symlink("/dev/null", dir.path().join(DIRECTORY).join("changes.log")).unwrap();
        let audit = AuditLog::open(dir.path(), 1).unwrap();
        audit.write(entry("ann")).await;
        audit.write(refused("-")).await;
        let kept = audit.read(None, 10).await.unwrap();
        assert_eq!(kept.iter().map(|entry| entry.number).collect::<Vec<_>>(), [2]);
    }
}
