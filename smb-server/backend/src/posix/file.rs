//! An open file or directory: one descriptor, kept from open to drop.

use std::any::Any;
use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::buffer::spare_capacity;
use rustix::fs::{self, AtFlags, FallocateFlags, FileType, Mode, OFlags, SeekFrom, Statx, Timespec, Timestamps};
use rustix::io::{self, Errno, ReadWriteFlags};
use smb_types::{FileAttributes, FileTime};

use super::errno::error;
use super::node::{Node, STATX, key_of, kind_of, read_growing};
use super::resolve::{DIRECTORY_NAMES_MAX, for_each_name, open_beneath};
use super::{Shared, change_dosattrib, sync_node};
use crate::api::copy_through;
use crate::dosattrib::{self, DosAttrib};
use crate::meta::STORED_ATTRIBUTES;
use crate::{
    BackendError, BackendFile, DirEntry, Ea, FileKey, FileKind, Metadata, Overwrite, Range, Result, Security, SetBasic, Stability,
    StreamInfo,
};

/// The kernel's largest offset.
const OFFSET_MAX: u64 = i64::MAX as u64;
/// Most the kernel copies in one call, with room to spare.
const COPY_BYTES_MAX: u64 = 1 << 30;

/// An open file of the posix backend.
#[derive(Debug)]
pub(super) struct PosixFile {
    shared: Arc<Shared>,
    pub(super) node: Node,
    key: FileKey,
    kind: FileKind,
}

/// A descriptor that can do more than the file's own.
enum Descriptor<'a> {
    Own(BorrowedFd<'a>),
    Other(OwnedFd),
}

impl AsFd for Descriptor<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Own(fd) => *fd,
            Self::Other(fd) => fd.as_fd(),
        }
    }
}

impl PosixFile {
    /// Reads until `length` bytes are there or the file ends; `read` is told from where, and how many there are.
    fn read_all(&self, offset: u64, length: usize, mut read: impl FnMut(u64, usize) -> Result<usize, Errno>) -> Result<usize> {
        let mut done = 0;
        while done < length {
            let at = offset.saturating_add(done as u64);
            if at > OFFSET_MAX {
                break;
            }
            match read(at, done) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(Errno::INTR) => {}
                Err(e) => return Err(self.node.error("pread", e)),
            }
        }
        Ok(done)
    }

    pub(super) fn new(shared: Arc<Shared>, node: Node, stat: &Statx) -> Self {
        Self { shared, node, key: key_of(stat), kind: kind_of(stat) }
    }

    fn denied(&self) -> BackendError {
        BackendError::AccessDenied { path: self.node.path.clone() }
    }

    fn check_file(&self) -> Result<()> {
        if self.kind == FileKind::Directory {
            return Err(BackendError::IsADirectory { path: self.node.path.clone() });
        }
        Ok(())
    }

    fn check_directory(&self) -> Result<()> {
        if self.kind == FileKind::File {
            return Err(BackendError::NotADirectory { path: self.node.path.clone() });
        }
        Ok(())
    }

    fn for_reading(&self) -> Result<BorrowedFd<'_>> {
        self.check_file()?;
        if self.node.readable { Ok(self.node.fd.as_fd()) } else { Err(self.denied()) }
    }

    fn for_writing(&self) -> Result<BorrowedFd<'_>> {
        self.check_file()?;
        if self.node.writable { Ok(self.node.fd.as_fd()) } else { Err(self.denied()) }
    }

    /// For changes of size, which the caller may ask of any open.
    fn for_resizing(&self) -> Result<Descriptor<'_>> {
        self.check_file()?;
        if self.node.writable {
            return Ok(Descriptor::Own(self.node.fd.as_fd()));
        }
        Ok(Descriptor::Other(self.node.reopen(OFlags::WRONLY)?))
    }

    fn too_large(&self) -> BackendError {
        BackendError::TooLarge { path: self.node.path.clone(), what: "file" }
    }

    fn size(&self) -> Result<u64> {
        Ok(self.node.statx()?.stx_size)
    }

    fn truncate(&self, fd: BorrowedFd<'_>, size: u64) -> Result<()> {
        if size > OFFSET_MAX {
            return Err(self.too_large());
        }
        fs::ftruncate(fd, size).map_err(|e| self.node.error("ftruncate", e))
    }

    /// Reserves space without changing the size; file systems that cannot are left to find out at the write.
    fn reserve(&self, fd: BorrowedFd<'_>, bytes: u64) -> Result<()> {
        if bytes == 0 {
            return Ok(());
        }
        if bytes > OFFSET_MAX {
            return Err(self.too_large());
        }
        match fs::fallocate(fd, FallocateFlags::KEEP_SIZE, 0, bytes) {
            Ok(()) | Err(Errno::OPNOTSUPP) => Ok(()),
            Err(e) => Err(self.node.error("fallocate", e)),
        }
    }

    /// Writes zeros, where the file system cannot punch.
    fn write_zeros(&self, fd: BorrowedFd<'_>, range: Range) -> Result<()> {
        let zeros = vec![0; 1 << 16];
        let mut done = 0;
        while done < range.length {
            let part = usize::try_from((range.length - done).min(1 << 16)).expect("at most 64 KiB");
            self.write_all(fd, range.offset + done, &zeros[..part], ReadWriteFlags::empty())?;
            done += part as u64;
        }
        Ok(())
    }

    fn write_all(&self, fd: BorrowedFd<'_>, offset: u64, data: &[u8], flags: ReadWriteFlags) -> Result<()> {
        let mut done = 0;
        while done < data.len() {
            match io::pwritev2(fd, &[IoSlice::new(&data[done..])], offset + done as u64, flags) {
                Ok(0) => return Err(self.node.error("pwrite", Errno::IO)),
                Ok(n) => done += n,
                Err(Errno::INTR) => {}
                Err(e) => return Err(self.node.error("pwrite", e)),
            }
        }
        Ok(())
    }

    fn checked_range(&self, range: Range) -> Result<u64> {
        range.offset.checked_add(range.length).filter(|end| *end <= OFFSET_MAX).ok_or_else(|| self.too_large())
    }

    /// Where a link in this directory leads, if it stays in the share.
    fn follow(&self, name: &str) -> Result<Option<Node>> {
        let shown = |fd: &OwnedFd| fs::readlinkat(fs::CWD, format!("/proc/self/fd/{}", fd.as_raw_fd()), Vec::new());
        let (Ok(root), Ok(here)) = (shown(&self.shared.root), shown(&self.node.fd)) else { return Ok(None) };
        let root = root.to_bytes();
        let above: &[u8] = if root == b"/" { b"" } else { root };
        let Some(below) = here.to_bytes().strip_prefix(above) else { return Ok(None) };
        let Ok(below) = std::str::from_utf8(below) else { return Ok(None) };
        if !below.is_empty() && !below.starts_with('/') {
            return Ok(None);
        }
        let path = format!("{}/{name}", below.trim_start_matches('/'));
        let path = path.trim_start_matches('/');
        match open_beneath(self.shared.root.as_fd(), path, OFlags::PATH, Mode::empty()) {
            Ok(fd) => Ok(Some(self.shared.node(fd, path, false, false))),
            // Links to nowhere, out of the share or in circles do not exist for clients.
            Err(Errno::NOENT | Errno::XDEV | Errno::LOOP | Errno::NOTDIR | Errno::ACCESS) => Ok(None),
            Err(e) => Err(self.node.error("openat2", e)),
        }
    }
}

impl BackendFile for PosixFile {
    fn key(&self) -> FileKey {
        self.key
    }

    fn kind(&self) -> FileKind {
        self.kind
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let fd = self.for_reading()?;
        self.read_all(offset, buffer.len(), |at, done| io::pread(fd, &mut buffer[done..], at))
    }

    fn read_onto(&self, offset: u64, length: usize, out: &mut Vec<u8>) -> Result<usize> {
        let fd = self.for_reading()?;
        let from = out.len();
        out.reserve_exact(length);
        let read = self.read_all(offset, length, |at, _| io::pread(fd, spare_capacity(out), at));
        // The buffer may have had room for more.
        let read = read.map(|read| read.min(length));
        out.truncate(from + read.as_ref().copied().unwrap_or_default());
        read
    }

    fn write_at(&self, offset: u64, data: &[u8], stability: Stability) -> Result<()> {
        let fd = self.for_writing()?;
        self.checked_range(Range { offset, length: data.len() as u64 })?;
        match stability {
            Stability::Cached => self.write_all(fd, offset, data, ReadWriteFlags::empty()),
            Stability::Stable => match self.write_all(fd, offset, data, ReadWriteFlags::DSYNC) {
                // A file system that does not know the flag: write, then sync.
                Err(BackendError::NotSupported { .. }) => {
                    self.write_all(fd, offset, data, ReadWriteFlags::empty())?;
                    fs::fdatasync(fd).map_err(|e| self.node.error("fdatasync", e))
                }
                done => done,
            },
        }
    }

    fn append(&self, data: &[u8], stability: Stability) -> Result<u64> {
        let _guard = self.shared.lock(self.key.inode);
        let end = self.size()?;
        self.write_at(end, data, stability)?;
        Ok(end)
    }

    fn flush(&self) -> Result<()> {
        if self.node.readable || self.node.writable {
            return fs::fsync(&self.node.fd).map_err(|e| self.node.error("fsync", e));
        }
        sync_node(&self.node, Stability::Stable)
    }

    fn set_len(&self, size: u64) -> Result<()> {
        let fd = self.for_resizing()?;
        self.truncate(fd.as_fd(), size)
    }

    fn allocate(&self, bytes: u64) -> Result<()> {
        let fd = self.for_resizing()?;
        if bytes < self.size()? {
            return self.truncate(fd.as_fd(), bytes);
        }
        let before = self.node.statx()?.stx_mtime;
        self.reserve(fd.as_fd(), bytes)?;
        // MS-FSA 2.1.5.15.1
        // Room is no data: the file has changed, but was not written. Setting the time it has notes that.
        let last_modification = Timespec { tv_sec: before.tv_sec, tv_nsec: i64::from(before.tv_nsec) };
        self.node.set_times(&Timestamps { last_access: timespec(None), last_modification })?;
        Ok(())
    }

    fn overwrite(&self, with: &Overwrite, stability: Stability) -> Result<()> {
        let fd = self.for_resizing()?;
        self.truncate(fd.as_fd(), 0)?;
        self.node.strip()?;
        match change_dosattrib(&self.shared, &self.node, |attributes, _| *attributes = with.attributes & STORED_ATTRIBUTES) {
            Ok(()) | Err(BackendError::NotSupported { .. }) => {}
            Err(e) => return Err(e),
        }
        self.node.set_eas(&with.eas)?;
        self.reserve(fd.as_fd(), with.allocation)?;
        if stability == Stability::Stable {
            self.flush()?;
        }
        Ok(())
    }

    fn metadata(&self) -> Result<Metadata> {
        self.node.metadata()
    }

    fn set_basic(&self, set: &SetBasic) -> Result<()> {
        if set.attributes.is_some() || set.creation.is_some() {
            change_dosattrib(&self.shared, &self.node, |attributes, creation| {
                if let Some(new) = set.attributes {
                    *attributes = (new & STORED_ATTRIBUTES) | (*attributes & FileAttributes::SPARSE_FILE);
                }
                *creation = set.creation.unwrap_or(*creation);
            })?;
        }
        if set.last_access.is_some() || set.last_write.is_some() {
            let times = Timestamps { last_access: timespec(set.last_access), last_modification: timespec(set.last_write) };
            self.node.set_times(&times)?;
        }
        Ok(())
    }

    fn names(&self) -> Result<Vec<String>> {
        self.check_directory()?;
        if !self.node.readable {
            return Err(self.denied());
        }
        // Its own descriptor: the position of the shared one belongs to nobody.
        let fd = fs::openat(&self.node.fd, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|e| self.node.error("open", e))?;
        let mut names = Vec::new();
        for_each_name(fd.as_fd(), &self.node.path, |name, file_type| {
            let special = matches!(file_type, FileType::Fifo | FileType::Socket | FileType::CharacterDevice | FileType::BlockDevice);
            if !special {
                names.push(name.to_owned());
            }
            names.len() <= DIRECTORY_NAMES_MAX
        })?;
        if names.len() > DIRECTORY_NAMES_MAX {
            return Err(BackendError::TooLarge { path: self.node.path.clone(), what: "directory" });
        }
        Ok(names)
    }

    fn entry(&self, name: &str) -> Result<Option<DirEntry>> {
        self.check_directory()?;
        if !crate::name::is_speakable(name) {
            return Ok(None);
        }
        let stat = match fs::statx(&self.node.fd, name, AtFlags::SYMLINK_NOFOLLOW, STATX) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(None),
            Err(e) => return Err(self.node.error("statx", e)),
        };
        if FileType::from_raw_mode(stat.stx_mode.into()) == FileType::Symlink {
            let Some(node) = self.follow(name)? else { return Ok(None) };
            return Ok(Some(DirEntry { name: name.to_owned(), metadata: node.metadata()? }));
        }
        let path = format!("/proc/self/fd/{}/{name}", self.node.fd.as_raw_fd());
        let dos = read_growing(|b| fs::lgetxattr(&path, dosattrib::XATTR_NAME, b)).map(|v| DosAttrib::decode(&v)).unwrap_or_default();
        Ok(Some(DirEntry { name: name.to_owned(), metadata: self.node.metadata_of(&stat, dos) }))
    }

    fn security(&self) -> Result<Security> {
        self.node.security(self.shared.descriptors.xattr())
    }

    fn set_security_descriptor(&self, descriptor: &[u8]) -> Result<()> {
        self.node.set_security_descriptor(self.shared.descriptors.xattr(), descriptor)
    }

    fn set_owner(&self, uid: Option<u32>, gid: Option<u32>, mode: Option<u32>) -> Result<()> {
        self.node.set_owner(uid, gid, mode)
    }

    fn eas(&self) -> Result<Vec<Ea>> {
        self.node.eas()
    }

    fn set_eas(&self, eas: &[Ea]) -> Result<()> {
        let _guard = self.shared.lock(self.key.inode);
        self.node.set_eas(eas)
    }

    fn streams(&self) -> Result<Vec<StreamInfo>> {
        self.node.streams()
    }

    fn zero_range(&self, range: Range) -> Result<()> {
        let fd = self.for_writing()?;
        let end = self.checked_range(range)?.min(self.size()?);
        if end <= range.offset {
            return Ok(());
        }
        let range = Range { offset: range.offset, length: end - range.offset };
        match fs::fallocate(fd, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, range.offset, range.length) {
            Ok(()) => Ok(()),
            Err(Errno::OPNOTSUPP) => self.write_zeros(fd, range),
            Err(e) => Err(self.node.error("fallocate", e)),
        }
    }

    fn allocated_ranges(&self, range: Range, limit: usize) -> Result<Vec<Range>> {
        self.check_file()?;
        let own = self.node.readable || self.node.writable;
        let fd = if own { Descriptor::Own(self.node.fd.as_fd()) } else { Descriptor::Other(self.node.reopen(OFlags::RDONLY)?) };
        let end = range.offset.saturating_add(range.length).min(self.size()?).min(OFFSET_MAX);
        let mut ranges = Vec::new();
        let mut at = range.offset;
        while at < end && ranges.len() < limit {
            let data = match fs::seek(&fd, SeekFrom::Data(at)) {
                Ok(data) => data,
                Err(Errno::NXIO) => break,
                // A file system that knows no holes has none.
                Err(Errno::INVAL | Errno::OPNOTSUPP) => at,
                Err(e) => return Err(self.node.error("lseek", e)),
            };
            if data >= end {
                break;
            }
            let hole = match fs::seek(&fd, SeekFrom::Hole(data)) {
                Ok(hole) => hole.min(end),
                Err(Errno::NXIO | Errno::INVAL | Errno::OPNOTSUPP) => end,
                Err(e) => return Err(self.node.error("lseek", e)),
            };
            if hole <= data {
                break;
            }
            ranges.push(Range { offset: data, length: hole - data });
            at = hole;
        }
        Ok(ranges)
    }

    fn set_sparse(&self, sparse: bool) -> Result<()> {
        self.check_file()?;
        change_dosattrib(&self.shared, &self.node, |attributes, _| {
            *attributes = attributes.without(FileAttributes::SPARSE_FILE);
            if sparse {
                *attributes |= FileAttributes::SPARSE_FILE;
            }
        })
    }

    fn copy_from(&self, offset: u64, source: &dyn BackendFile, source_offset: u64, length: u64) -> Result<u64> {
        let Some(other) = source.as_any().downcast_ref::<Self>() else {
            return copy_through(self, offset, source, source_offset, length);
        };
        let (to, from) = (self.for_writing()?, other.for_reading()?);
        self.checked_range(Range { offset, length })?;
        other.checked_range(Range { offset: source_offset, length })?;
        let mut done = 0;
        while done < length {
            let (mut at, mut source_at) = (offset + done, source_offset + done);
            let part = usize::try_from((length - done).min(COPY_BYTES_MAX)).expect("at most 1 GiB");
            match fs::copy_file_range(from, Some(&mut source_at), to, Some(&mut at), part) {
                Ok(0) => break,
                Ok(n) => done += n as u64,
                Err(Errno::INTR) => {}
                // Other file systems, overlapping ranges, file systems that cannot.
                Err(Errno::XDEV | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => {
                    return Ok(done + copy_through(self, offset + done, source, source_offset + done, length - done)?);
                }
                Err(e) => return Err(error("copy_file_range", &self.node.path, e)),
            }
        }
        Ok(done)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// A time for `utimensat`; None keeps.
fn timespec(time: Option<FileTime>) -> Timespec {
    match time {
        None => Timespec { tv_sec: 0, tv_nsec: fs::UTIME_OMIT },
        Some(t) => {
            let (tv_sec, nanos) = t.to_unix();
            Timespec { tv_sec, tv_nsec: nanos.into() }
        }
    }
}
