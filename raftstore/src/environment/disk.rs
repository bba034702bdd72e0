//! Files as the store needs them, so that a simulated disk can lose what was not synced.
//!
//! A write is in the page cache when it returns (it survives the process) and on stable storage when a `sync` that began after it
//! returns (it survives the loss of power). A new name survives when its directory has been synced. Knows nothing of what is written.

use std::any::Any;
use std::fmt::Debug;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenFile {
    /// It must exist; it is only read.
    Read,
    /// It must exist; it is read and written.
    Write,
    /// It must not exist.
    CreateNew,
    /// It is made, or emptied.
    CreateEmpty,
}

/// A place for files.
pub trait Disk: Debug + Send + Sync + 'static {
    /// Makes a directory and those above it.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;
    /// The files of a directory, sorted by name. A missing directory is empty.
    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>>;
    /// Opens a file.
    fn open(&self, path: &Path, how: OpenFile) -> io::Result<Arc<dyn DiskFile>>;
    /// Gives a file another name, replacing what had it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Waits until the names in a directory are on stable storage.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Claims a directory for this process until the claim is dropped. `WouldBlock`: somebody else has it.
    fn claim(&self, dir: &Path) -> io::Result<Box<dyn Any + Send + Sync>>;
    /// Simulated time that work on this disk took since the last call. Real disks take real time.
    fn take_owed(&self) -> Duration {
        Duration::ZERO
    }
}

/// An open file.
#[allow(clippy::len_without_is_empty, reason = "a length in bytes, not a collection")]
pub trait DiskFile: Debug + Send + Sync + 'static {
    /// Writes all of `bytes` at `offset`.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Fills `bytes` from `offset`. `UnexpectedEof`: the file is shorter.
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()>;
    /// Its length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Cuts it off, or lengthens it with zeros.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Waits until its data are on stable storage, and its length as far as it is needed to read them.
    fn sync(&self) -> io::Result<()>;
}

/// The operating system's files.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemDisk;

/// The file in a claimed directory that carries the lock.
const CLAIM: &str = "claim";

impl Disk for SystemDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        std::fs::create_dir_all(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let entries = match std::fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(err) => return Err(err),
        };
        let mut files = Vec::new();
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                files.push(entry.path());
            }
        }
        files.sort();
        Ok(files)
    }

    fn open(&self, path: &Path, how: OpenFile) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true).mode(0o600);
        match how {
            OpenFile::Read => {}
            OpenFile::Write => drop(options.write(true)),
            OpenFile::CreateNew => drop(options.write(true).create_new(true)),
            OpenFile::CreateEmpty => drop(options.write(true).create(true).truncate(true)),
        }
        Ok(Arc::new(options.open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn claim(&self, dir: &Path) -> io::Result<Box<dyn Any + Send + Sync>> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(dir.join(CLAIM))?;
        match file.try_lock() {
            Ok(()) => Ok(Box::new(file)),
            Err(std::fs::TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(std::fs::TryLockError::Error(err)) => Err(err),
        }
    }
}

impl DiskFile for File {
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, offset)
    }

    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, bytes, offset)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        Self::set_len(self, len)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}
