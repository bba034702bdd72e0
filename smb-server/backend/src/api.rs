//! The trait that SMB handlers call. It decides nothing about who may do what: share modes, leases and access rights are the caller's.

use std::any::Any;
use std::fmt::Debug;
use std::sync::Arc;

use smb_types::access::{CreateDisposition, FileAttributes};

use crate::{BackendError, DescriptorStore, FileKey, FileKind, Metadata, RelPath, Result, Security, SetBasic, UnixOwner, VolumeInfo};

/// How safe a change must be before the call returns.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Stability {
    /// In the page cache: survives the process, not the power.
    #[default]
    Cached,
    /// On disk: survives the power. For writes RWF_DSYNC; for names also the directory.
    Stable,
}

/// What the descriptor must be good for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Want {
    /// Read data, or list a directory.
    pub read: bool,
    /// Write data.
    pub write: bool,
}

impl Want {
    /// Attributes, security and names only; needs no read permission.
    pub const PATH_ONLY: Self = Self { read: false, write: false };
    /// Read data.
    pub const READ: Self = Self { read: true, write: false };
    /// Write data.
    pub const WRITE: Self = Self { read: false, write: true };
    /// Both.
    pub const READ_WRITE: Self = Self { read: true, write: true };
}

/// Which kind the caller insists on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum MustBe {
    /// Takes either; what is created is what `CreateArgs::kind` says.
    #[default]
    Either,
    /// NON_DIRECTORY_FILE: else `IsADirectory`.
    File,
    /// DIRECTORY_FILE: else `NotADirectory`.
    Directory,
}

/// One extended attribute.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ea {
    /// Its name; compared without case.
    pub name: String,
    /// Its value; setting an empty one removes the attribute.
    pub value: Vec<u8>,
}

/// What a new file gets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CreateArgs {
    /// File or directory.
    pub kind: FileKind,
    /// DOS attributes; the caller adds ARCHIVE where Windows does.
    pub attributes: FileAttributes,
    /// A self-relative security descriptor to store.
    pub security_descriptor: Option<Vec<u8>>,
    /// Extended attributes.
    pub eas: Vec<Ea>,
    /// Bytes to reserve; 0 for none.
    pub allocation: u64,
    /// POSIX mode; None is 0666 or 0777 less the umask.
    pub mode: Option<u32>,
    /// Whom it belongs to on disk; None: the server's own user.
    pub owner: Option<UnixOwner>,
}

impl Default for CreateArgs {
    fn default() -> Self {
        Self {
            kind: FileKind::File,
            attributes: FileAttributes::ARCHIVE,
            security_descriptor: None,
            eas: Vec::new(),
            allocation: 0,
            mode: None,
            owner: None,
        }
    }
}

/// What overwriting leaves behind: no data, no named streams, no old extended attributes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Overwrite {
    /// The attributes that replace the old ones.
    pub attributes: FileAttributes,
    /// The extended attributes that replace the old ones.
    pub eas: Vec<Ea>,
    /// Bytes to reserve; 0 for none.
    pub allocation: u64,
}

/// How to open.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OpenHow {
    /// What to do when it exists and when it does not. An overwriting disposition overwrites during the call; a caller that must
    /// arbitrate first opens with `Open` and calls `BackendFile::overwrite` later.
    pub disposition: CreateDisposition,
    /// Which kind it must be.
    pub must_be: MustBe,
    /// What the descriptor must be good for.
    pub want: Want,
    /// What a new file gets.
    pub create: CreateArgs,
    /// `Stable`: a new or overwritten file and its name are on disk before the call returns.
    pub stability: Stability,
}

impl OpenHow {
    /// Opens what exists.
    #[must_use]
    pub fn existing(want: Want) -> Self {
        Self {
            disposition: CreateDisposition::Open,
            must_be: MustBe::Either,
            want,
            create: CreateArgs::default(),
            stability: Stability::Cached,
        }
    }

    /// Creates what must not exist, for reading and writing.
    #[must_use]
    pub fn create_new(kind: FileKind) -> Self {
        let must_be = match kind {
            FileKind::File => MustBe::File,
            FileKind::Directory => MustBe::Directory,
        };
        let want = if kind == FileKind::File { Want::READ_WRITE } else { Want::READ };
        let attributes = if kind == FileKind::File { FileAttributes::ARCHIVE } else { FileAttributes::NONE };
        let create = CreateArgs { kind, attributes, ..CreateArgs::default() };
        Self { disposition: CreateDisposition::Create, must_be, want, create, stability: Stability::Cached }
    }
}

/// CreateAction of the CREATE response (MS-SMB2 2.2.14); the discriminants are the wire values.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CreateAction {
    /// FILE_SUPERSEDED.
    Superseded = 0,
    /// FILE_OPENED.
    Opened = 1,
    /// FILE_CREATED.
    Created = 2,
    /// FILE_OVERWRITTEN.
    Overwritten = 3,
}

/// What `open` gives.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The open file.
    pub file: Arc<dyn BackendFile>,
    /// What happened.
    pub action: CreateAction,
    /// Its metadata after that.
    pub metadata: Metadata,
    /// The path with the spelling on disk.
    pub path: RelPath,
}

/// What `lookup` gives.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Metadata, with the key.
    pub metadata: Metadata,
    /// The path with the spelling on disk.
    pub path: RelPath,
}

/// One line of a directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DirEntry {
    /// The name as on disk.
    pub name: String,
    /// Its metadata.
    pub metadata: Metadata,
}

/// One named stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StreamInfo {
    /// Its name, without colons and `$DATA`.
    pub name: String,
    /// Its size.
    pub size: u64,
    /// Bytes it takes.
    pub allocation: u64,
}

/// A stretch of bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Range {
    /// First byte.
    pub offset: u64,
    /// Count.
    pub length: u64,
}

/// A file system under a share. Names are compared without case; an exact match wins and costs one system call.
///
/// Between the check of an expected key and the change of a name another node may act; the caller's records prevent that. Changes that
/// take no `Stability` are made durable by `BackendFile::flush`.
///
/// Errors about a path: `NotFound` for the last component, `ParentNotFound` when one before it is missing or no directory.
pub trait Backend: Send + Sync + Debug {
    /// Tells about the volume.
    fn volume(&self) -> Result<VolumeInfo>;

    /// Where it keeps security descriptors.
    fn descriptor_store(&self) -> DescriptorStore;

    /// What is on disk about the rights to a file or directory.
    fn security(&self, path: &RelPath) -> Result<Security>;

    /// The same of the directories on the way to a path, the root first, the path itself left out. Empty for the root.
    fn security_on_the_way(&self, path: &RelPath) -> Result<Vec<Security>>;

    /// Finds a file and the spelling of its path on disk.
    fn lookup(&self, path: &RelPath) -> Result<Entry>;

    /// Opens, creates or overwrites a file or directory.
    fn open(&self, path: &RelPath, how: &OpenHow) -> Result<Opened>;

    /// Opens, creates or overwrites the stream `stream` (no colons, no `$DATA`) of the existing file `path`. `how.create` is ignored:
    /// a stream has the attributes of its file. The metadata's key is the stream's.
    fn open_stream(&self, path: &RelPath, stream: &str, how: &OpenHow) -> Result<Opened>;

    /// Lists the named streams of a file or directory.
    fn streams(&self, path: &RelPath) -> Result<Vec<StreamInfo>>;

    /// Removes a named stream.
    fn remove_stream(&self, path: &RelPath, stream: &str, stability: Stability) -> Result<()>;

    /// Renames a named stream; without `replace` the new name must be free (a mere change of case always works).
    fn rename_stream(&self, path: &RelPath, from: &str, to: &str, replace: bool) -> Result<()>;

    /// Renames a file or directory. Without `replace` the new name must be free, unless it is the same file in another spelling.
    /// A directory is never replaced (`IsADirectory`).
    fn rename(&self, from: &RelPath, to: &RelPath, replace: bool, stability: Stability) -> Result<()>;

    /// Gives a file one more name. With `replace` a file that has that name goes.
    fn link(&self, from: &RelPath, to: &RelPath, replace: bool, stability: Stability) -> Result<()>;

    /// Removes the name of a file. With `expected` only if it is that file (`KeyMismatch`).
    fn unlink(&self, path: &RelPath, expected: Option<FileKey>, stability: Stability) -> Result<()>;

    /// Removes an empty directory. With `expected` only if it is that one (`KeyMismatch`).
    fn remove_dir(&self, path: &RelPath, expected: Option<FileKey>, stability: Stability) -> Result<()>;

    /// Tells whether a directory has no entries.
    fn is_dir_empty(&self, path: &RelPath) -> Result<bool>;

    /// Puts the names in a directory on disk.
    fn sync_dir(&self, path: &RelPath) -> Result<()>;
}

/// An open file, directory or stream. It stays usable after its name is gone or changed.
pub trait BackendFile: Send + Sync + Debug + Any {
    /// Who it is.
    fn key(&self) -> FileKey;

    /// File or directory.
    fn kind(&self) -> FileKind;

    /// Reads at `offset`; fewer bytes than asked only at the end of the file, 0 at or after it.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize>;

    /// As [`BackendFile::read_at`], appending at most `length` bytes to `out`, which need not be cleared for it.
    fn read_onto(&self, offset: u64, length: usize, out: &mut Vec<u8>) -> Result<usize> {
        let from = out.len();
        out.resize(from + length, 0);
        let read = self.read_at(offset, &mut out[from..]);
        out.truncate(from + read.as_ref().copied().unwrap_or_default());
        read
    }

    /// Writes all of `data` at `offset`, growing the file.
    fn write_at(&self, offset: u64, data: &[u8], stability: Stability) -> Result<()>;

    /// Writes all of `data` at the end of the file and tells where that was.
    fn append(&self, data: &[u8], stability: Stability) -> Result<u64>;

    /// Puts data and metadata on disk.
    fn flush(&self) -> Result<()>;

    /// Sets the end of the file.
    fn set_len(&self, size: u64) -> Result<()>;

    /// Reserves `bytes` for the whole file; fewer than its size cuts it.
    fn allocate(&self, bytes: u64) -> Result<()>;

    /// Throws data, streams and extended attributes away and sets new attributes; the file stays the same file.
    fn overwrite(&self, with: &Overwrite, stability: Stability) -> Result<()>;

    /// Looks at it.
    fn metadata(&self) -> Result<Metadata>;

    /// Changes times and attributes.
    fn set_basic(&self, set: &SetBasic) -> Result<()>;

    /// The names in a directory as of now, without dot names, in an order that is the file system's own.
    fn names(&self) -> Result<Vec<String>>;

    /// Looks at one entry of a directory by its exact name; None when it is gone or leads out of the share.
    fn entry(&self, name: &str) -> Result<Option<DirEntry>>;

    /// What is on disk about the rights to it; of a stream, to its file.
    fn security(&self) -> Result<Security>;

    /// Stores a self-relative security descriptor.
    fn set_security_descriptor(&self, descriptor: &[u8]) -> Result<()>;

    /// Gives it to another POSIX owner or group, or sets its permission bits; None keeps.
    fn set_owner(&self, uid: Option<u32>, gid: Option<u32>, mode: Option<u32>) -> Result<()>;

    /// The extended attributes, sorted by name.
    fn eas(&self) -> Result<Vec<Ea>>;

    /// Sets extended attributes one after the other; an empty value removes.
    fn set_eas(&self, eas: &[Ea]) -> Result<()>;

    /// The named streams of this file.
    fn streams(&self) -> Result<Vec<StreamInfo>>;

    /// Makes bytes read as zero, freeing their space where possible; the size stays.
    fn zero_range(&self, range: Range) -> Result<()>;

    /// The stretches within `range` that hold data, at most `limit` of them; the last may be cut by the range.
    fn allocated_ranges(&self, range: Range, limit: usize) -> Result<Vec<Range>>;

    /// Marks the file as sparse, or not.
    fn set_sparse(&self, sparse: bool) -> Result<()>;

    /// Copies from `source` at `source_offset` into this file at `offset`, sharing blocks where possible; tells how many bytes there
    /// were before the end of the source.
    fn copy_from(&self, offset: u64, source: &dyn BackendFile, source_offset: u64, length: u64) -> Result<u64>;

    /// The concrete file, for `copy_from`.
    fn as_any(&self) -> &dyn Any;
}

/// Walks a snapshot of a directory: what was there at the start and still is comes exactly once, whatever happens meanwhile.
#[derive(Clone, Debug)]
pub struct DirCursor {
    names: Arc<[String]>,
    next: usize,
}

impl DirCursor {
    /// Takes the snapshot.
    pub fn new(directory: &dyn BackendFile) -> Result<Self> {
        Ok(Self { names: directory.names()?.into(), next: 0 })
    }

    /// Index of the next name; stays valid for `seek` as long as this snapshot is used.
    #[must_use]
    pub fn position(&self) -> usize {
        self.next
    }

    /// Goes to an index that `position` gave, such as to give an entry again that did not fit.
    pub fn seek(&mut self, position: usize) {
        self.next = position.min(self.names.len());
    }

    /// The next entry whose name `wanted` likes and that still exists; None at the end.
    pub fn next_matching(&mut self, directory: &dyn BackendFile, mut wanted: impl FnMut(&str) -> bool) -> Option<Result<DirEntry>> {
        while let Some(name) = self.names.get(self.next) {
            self.next += 1;
            if !wanted(name) {
                continue;
            }
            match directory.entry(name) {
                Ok(Some(entry)) => return Some(Ok(entry)),
                Ok(None) => {}
                Err(e) => return Some(Err(e)),
            }
        }
        None
    }
}

/// Copies by reading and writing, for files of different backends.
pub(crate) fn copy_through(
    target: &dyn BackendFile,
    offset: u64,
    source: &dyn BackendFile,
    source_offset: u64,
    length: u64,
) -> Result<u64> {
    const CHUNK_BYTES: u64 = 1 << 20;
    let mut buffer = vec![0; usize::try_from(length.min(CHUNK_BYTES)).expect("at most 1 MiB")];
    let mut done = 0;
    while done < length {
        let part = usize::try_from((length - done).min(CHUNK_BYTES)).expect("at most 1 MiB");
        let at = source_offset.checked_add(done).ok_or_else(|| too_far("source"))?;
        let n = source.read_at(at, &mut buffer[..part])?;
        if n == 0 {
            break;
        }
        target.write_at(offset.checked_add(done).ok_or_else(|| too_far("target"))?, &buffer[..n], Stability::Cached)?;
        done += n as u64;
    }
    Ok(done)
}

fn too_far(what: &'static str) -> BackendError {
    BackendError::TooLarge { path: String::new(), what }
}
