//! What a file system tells about a file and about itself.

use smb_types::access::FileAttributes;
use smb_types::time::FileTime;

use crate::FileKey;

/// What a name stands for; everything that is not a directory is served as a file.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum FileKind {
    /// A file.
    File,
    /// A directory.
    Directory,
}

/// Everything about a file that one look can tell.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Metadata {
    /// Who it is.
    pub key: FileKey,
    /// File or directory; a stream is a file, also when its owner is a directory.
    pub kind: FileKind,
    /// EndOfFile; 0 for directories.
    pub size: u64,
    /// Bytes taken on disk; 0 for directories.
    pub allocation: u64,
    /// Never empty: `DIRECTORY` is set for directories only, and a file without any bit has `NORMAL`.
    pub attributes: FileAttributes,
    /// CreationTime.
    pub creation: FileTime,
    /// LastAccessTime.
    pub last_access: FileTime,
    /// LastWriteTime.
    pub last_write: FileTime,
    /// ChangeTime.
    pub change: FileTime,
    /// Names of this file, 1 for directories.
    pub links: u32,
    /// POSIX owner.
    pub uid: u32,
    /// POSIX group.
    pub gid: u32,
    /// POSIX permission bits (07777).
    pub mode: u32,
}

impl Metadata {
    /// Tells whether it is a directory.
    #[must_use]
    pub fn is_directory(&self) -> bool {
        self.kind == FileKind::Directory
    }
}

/// Times and attributes to change; None keeps. The caller knows what 0, −1 and −2 mean on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SetBasic {
    /// CreationTime.
    pub creation: Option<FileTime>,
    /// LastAccessTime.
    pub last_access: Option<FileTime>,
    /// LastWriteTime.
    pub last_write: Option<FileTime>,
    /// The new attributes; `DIRECTORY`, `NORMAL`, `SPARSE_FILE` and `REPARSE_POINT` in it are ignored.
    pub attributes: Option<FileAttributes>,
}

/// The attribute bits that are stored; the others are derived or have their own operation.
pub(crate) const STORED_ATTRIBUTES: FileAttributes = FileAttributes(
    FileAttributes::READONLY.0
        | FileAttributes::HIDDEN.0
        | FileAttributes::SYSTEM.0
        | FileAttributes::ARCHIVE.0
        | FileAttributes::TEMPORARY.0
        | FileAttributes::OFFLINE.0
        | FileAttributes::NOT_CONTENT_INDEXED.0,
);

/// Makes the attributes a client sees of the stored ones.
pub(crate) fn visible_attributes(stored: FileAttributes, kind: FileKind) -> FileAttributes {
    let known = stored & (STORED_ATTRIBUTES | FileAttributes::SPARSE_FILE);
    match kind {
        FileKind::Directory => known.without(FileAttributes::SPARSE_FILE) | FileAttributes::DIRECTORY,
        FileKind::File if known.is_empty() => FileAttributes::NORMAL,
        FileKind::File => known,
    }
}

/// What the volume says of itself; equal on all nodes except for the space counts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VolumeInfo {
    /// Size in bytes.
    pub total_bytes: u64,
    /// Free bytes, including those kept for root.
    pub free_bytes: u64,
    /// Free bytes a client may use.
    pub available_bytes: u64,
    /// Volume serial number, derived from the root directory.
    pub serial: u32,
    /// The same, wider, for FileIdInformation and for `FileKey`'s volume.
    pub id: u64,
    /// Creation time of the root directory.
    pub creation: FileTime,
    /// Allocation unit in bytes.
    pub cluster_bytes: u32,
    /// Logical sector in bytes.
    pub sector_bytes: u32,
    /// Longest name in UTF-16 units.
    pub name_units_max: u32,
    /// Tells whether the file system is mounted read-only.
    pub read_only: bool,
}
