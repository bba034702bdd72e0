//! A descriptor with what can be learnt and changed through it alone: metadata and extended attributes.
//!
//! Most descriptors are opened with O_PATH, for which the kernel refuses the `f…` calls; these go through `/proc/self/fd`.

use std::os::fd::{AsRawFd, OwnedFd};

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, Statx, StatxFlags, Timestamps, XattrFlags};
use rustix::fs::{Gid, Uid};
use rustix::io::Errno;
use smb_types::{FileAttributes, FileTime};

use super::errno::error;
use crate::dosattrib::{self, DosAttrib};
use crate::meta::visible_attributes;
use crate::security::decode_posix_acl;
use crate::xname::{self, VALUE_BYTES_MAX};
use crate::{BackendError, Ea, FileKey, FileKind, Metadata, PosixEntry, Result, Security, StoredDescriptor, StreamInfo, name, ntacl};

/// What statx is asked for.
pub(super) const STATX: StatxFlags = StatxFlags::BASIC_STATS.union(StatxFlags::BTIME);
/// The kernel's names of POSIX access lists.
const POSIX_ACL: &str = "system.posix_acl_access";
const POSIX_DEFAULT_ACL: &str = "system.posix_acl_default";
/// Most of the attributes are small.
const FIRST_BUFFER_BYTES: usize = 256;

/// A descriptor, and what it is good for.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) fd: OwnedFd,
    /// The share-relative path it was opened by, for messages only.
    pub(super) path: String,
    pub(super) readable: bool,
    pub(super) writable: bool,
    /// What the file system counts among a file's blocks for its attributes, in bytes.
    pub(super) attribute_bytes: u64,
}

impl Node {
    fn is_path_only(&self) -> bool {
        !self.readable && !self.writable
    }

    fn proc_path(&self) -> String {
        format!("/proc/self/fd/{}", self.fd.as_raw_fd())
    }

    pub(super) fn error(&self, op: &'static str, errno: Errno) -> BackendError {
        error(op, &self.path, errno)
    }

    /// The same file once more, good for reading or writing.
    pub(super) fn reopen(&self, flags: OFlags) -> Result<OwnedFd> {
        fs::open(self.proc_path(), flags | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty()).map_err(|e| self.error("open", e))
    }

    pub(super) fn statx(&self) -> Result<Statx> {
        fs::statx(&self.fd, "", AtFlags::EMPTY_PATH, STATX).map_err(|e| self.error("statx", e))
    }

    pub(super) fn metadata(&self) -> Result<Metadata> {
        let stat = self.statx()?;
        Ok(self.metadata_of(&stat, self.dosattrib()))
    }

    /// What statx and `user.DOSATTRIB` saw, as a client wants it.
    pub(super) fn metadata_of(&self, stat: &Statx, dos: DosAttrib) -> Metadata {
        let kind = kind_of(stat);
        let time = |t: fs::StatxTimestamp| FileTime::from_unix(t.tv_sec, t.tv_nsec);
        let is_file = kind == FileKind::File;
        // windows: a dot file is nothing special; files that were never touched through SMB have no attribute at all.
        let stored = dos.attributes.unwrap_or(FileAttributes::NONE);
        Metadata {
            key: key_of(stat),
            kind,
            size: if is_file { stat.stx_size } else { 0 },
            allocation: if is_file { allocation_of(stat, self.attribute_bytes) } else { 0 },
            attributes: visible_attributes(stored, kind),
            creation: dos.creation.unwrap_or_else(|| creation_of(stat)),
            last_access: time(stat.stx_atime),
            last_write: time(stat.stx_mtime),
            change: time(stat.stx_ctime),
            links: if is_file { stat.stx_nlink } else { 1 },
            uid: stat.stx_uid,
            gid: stat.stx_gid,
            mode: u32::from(stat.stx_mode) & 0o7777,
        }
    }

    pub(super) fn dosattrib(&self) -> DosAttrib {
        // A file system without extended attributes, or a file that may not have them, has default attributes.
        match self.xattr(dosattrib::XATTR_NAME) {
            Ok(Some(value)) => DosAttrib::decode(&value),
            Ok(None) | Err(_) => DosAttrib::default(),
        }
    }

    pub(super) fn set_dosattrib(&self, value: DosAttrib) -> Result<()> {
        self.set_xattr(dosattrib::XATTR_NAME, &value.encode())
    }

    pub(super) fn set_times(&self, times: &Timestamps) -> Result<()> {
        let done = if self.is_path_only() {
            fs::utimensat(fs::CWD, self.proc_path(), times, AtFlags::empty())
        } else {
            fs::futimens(&self.fd, times)
        };
        done.map_err(|e| self.error("utimensat", e))
    }

    /// What is on disk about the rights to it. `xattr`: where descriptors are kept, if anywhere.
    pub(super) fn security(&self, xattr: Option<&str>) -> Result<Security> {
        let stat = self.statx()?;
        let stored = match xattr.map(|xattr| self.xattr(xattr)).transpose()?.flatten() {
            None => StoredDescriptor::None,
            Some(value) => ntacl::decode(&value).map_or(StoredDescriptor::Damaged, StoredDescriptor::Bytes),
        };
        let kind = kind_of(&stat);
        let (mut acl, mut default_acl) = (Vec::new(), Vec::new());
        if stored == StoredDescriptor::None {
            acl = self.posix_acl(POSIX_ACL)?;
            if kind == FileKind::Directory {
                default_acl = self.posix_acl(POSIX_DEFAULT_ACL)?;
            }
        }
        Ok(Security { kind, stored, uid: stat.stx_uid, gid: stat.stx_gid, mode: u32::from(stat.stx_mode) & 0o7777, acl, default_acl })
    }

    /// A POSIX access list; empty when there is none, or the file system has no such lists.
    fn posix_acl(&self, xattr: &str) -> Result<Vec<PosixEntry>> {
        let value = match self.xattr(xattr) {
            Ok(value) => value,
            Err(BackendError::NotSupported { .. }) => None,
            Err(error) => return Err(error),
        };
        let Some(value) = value else { return Ok(Vec::new()) };
        // A list that is not understood must not count as none: the bits of the mode alone could give more than it does.
        decode_posix_acl(&value).ok_or_else(|| self.error("reading the POSIX access list", Errno::IO))
    }

    pub(super) fn set_security_descriptor(&self, xattr: Option<&str>, descriptor: &[u8]) -> Result<()> {
        let unsupported = || BackendError::NotSupported { op: "a security descriptor", path: self.path.clone() };
        let invalid = || BackendError::NotSupported { op: "a security descriptor without header", path: self.path.clone() };
        self.set_xattr(xattr.ok_or_else(unsupported)?, &ntacl::encode(descriptor).ok_or_else(invalid)?)
    }

    /// Gives it to another owner or group, or sets its permission bits.
    pub(super) fn set_owner(&self, uid: Option<u32>, gid: Option<u32>, mode: Option<u32>) -> Result<()> {
        if uid.is_some() || gid.is_some() {
            let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
            let done = fs::chownat(&self.fd, "", uid, gid, AtFlags::EMPTY_PATH);
            done.map_err(|e| self.error("chown", e))?;
        }
        if let Some(mode) = mode {
            // After the owner: a change of owner takes bits away.
            fs::chmod(self.proc_path(), Mode::from_raw_mode(mode & 0o7777)).map_err(|e| self.error("chmod", e))?;
        }
        Ok(())
    }

    /// One extended attribute; None when absent.
    pub(super) fn xattr(&self, xattr: &str) -> Result<Option<Vec<u8>>> {
        let got = if self.is_path_only() {
            let path = self.proc_path();
            read_growing(|b| fs::getxattr(&path, xattr, b))
        } else {
            read_growing(|b| fs::fgetxattr(&self.fd, xattr, b))
        };
        match got {
            Ok(value) => Ok(Some(value)),
            Err(Errno::NODATA) => Ok(None),
            Err(e) => Err(self.error("getxattr", e)),
        }
    }

    pub(super) fn set_xattr(&self, xattr: &str, value: &[u8]) -> Result<()> {
        if value.len() > VALUE_BYTES_MAX {
            return Err(BackendError::TooLarge { path: self.path.clone(), what: "extended attribute" });
        }
        let done = if self.is_path_only() {
            fs::setxattr(self.proc_path(), xattr, value, XattrFlags::empty())
        } else {
            fs::fsetxattr(&self.fd, xattr, value, XattrFlags::empty())
        };
        done.map_err(|e| self.error("setxattr", e))
    }

    /// Removes an extended attribute; tells whether there was one.
    pub(super) fn remove_xattr(&self, xattr: &str) -> Result<bool> {
        let done = if self.is_path_only() { fs::removexattr(self.proc_path(), xattr) } else { fs::fremovexattr(&self.fd, xattr) };
        match done {
            Ok(()) => Ok(true),
            Err(Errno::NODATA) => Ok(false),
            Err(e) => Err(self.error("removexattr", e)),
        }
    }

    /// The names of all extended attributes that are text, sorted.
    pub(super) fn xattrs(&self) -> Result<Vec<String>> {
        let got = if self.is_path_only() {
            let path = self.proc_path();
            read_growing(|b| fs::listxattr(&path, b))
        } else {
            read_growing(|b| fs::flistxattr(&self.fd, b))
        };
        let list = match got {
            Ok(list) => list,
            Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
            Err(e) => return Err(self.error("listxattr", e)),
        };
        let mut names: Vec<String> =
            list.split(|b| *b == 0).filter(|n| !n.is_empty()).filter_map(|n| String::from_utf8(n.to_vec()).ok()).collect();
        names.sort_unstable();
        Ok(names)
    }

    pub(super) fn eas(&self) -> Result<Vec<Ea>> {
        let mut eas = Vec::new();
        for xattr in self.xattrs()? {
            let Some(ea) = xname::ea_of(&xattr) else { continue };
            // It may be gone since the list was made.
            if let Some(value) = self.xattr(&xattr)? {
                eas.push(Ea { name: ea.to_owned(), value });
            }
        }
        Ok(eas)
    }

    pub(super) fn set_eas(&self, eas: &[Ea]) -> Result<()> {
        for ea in eas {
            xname::of_ea(&ea.name, &self.path)?;
        }
        for ea in eas {
            let there = self.xattrs()?.into_iter().find(|x| xname::ea_of(x).is_some_and(|n| name::eq_ignore_case(n, &ea.name)));
            match (there, ea.value.is_empty()) {
                (Some(x), true) => drop(self.remove_xattr(&x)?),
                (None, true) => {}
                (Some(x), false) => self.set_xattr(&x, &ea.value)?,
                (None, false) => self.set_xattr(&xname::of_ea(&ea.name, &self.path)?, &ea.value)?,
            }
        }
        Ok(())
    }

    pub(super) fn streams(&self) -> Result<Vec<StreamInfo>> {
        let mut streams = Vec::new();
        for xattr in self.xattrs()? {
            let Some(stream) = xname::stream_of(&xattr) else { continue };
            if let Some(value) = self.xattr(&xattr)? {
                let size = (value.len() as u64).saturating_sub(1);
                streams.push(StreamInfo { name: stream.to_owned(), size, allocation: stream_allocation(size) });
            }
        }
        Ok(streams)
    }

    /// The extended attribute that holds a stream, and its name as stored.
    pub(super) fn find_stream(&self, stream: &str) -> Result<Option<(String, String)>> {
        let exact = xname::of_stream(stream, &self.path)?;
        let xattrs = self.xattrs()?;
        if xattrs.contains(&exact) {
            return Ok(Some((exact, stream.to_owned())));
        }
        Ok(xattrs.into_iter().find_map(|x| {
            let found = xname::stream_of(&x).filter(|n| name::eq_ignore_case(n, stream))?.to_owned();
            Some((x, found))
        }))
    }

    /// Removes all named streams and EAs.
    pub(super) fn strip(&self) -> Result<()> {
        for xattr in self.xattrs()? {
            if xname::stream_of(&xattr).is_some() || xname::ea_of(&xattr).is_some() {
                self.remove_xattr(&xattr)?;
            }
        }
        Ok(())
    }
}

/// What a stream takes: extended attributes are kept in words.
pub(super) fn stream_allocation(size: u64) -> u64 {
    size.next_multiple_of(8)
}

/// Calls with a small buffer first and a larger one while the kernel says that it does not fit.
pub(super) fn read_growing(mut read: impl FnMut(&mut [u8]) -> Result<usize, Errno>) -> Result<Vec<u8>, Errno> {
    let mut size = FIRST_BUFFER_BYTES;
    loop {
        let mut buffer = vec![0; size];
        match read(&mut buffer) {
            Ok(n) => {
                buffer.truncate(n);
                return Ok(buffer);
            }
            Err(Errno::RANGE) if size < VALUE_BYTES_MAX => size = VALUE_BYTES_MAX,
            Err(e) => return Err(e),
        }
    }
}

/// The key of what statx saw.
pub(super) fn key_of(stat: &Statx) -> FileKey {
    let generation = if stat.stx_mask & StatxFlags::BTIME.bits() == 0 {
        0
    } else {
        let seconds = u64::try_from(stat.stx_btime.tv_sec).unwrap_or(0);
        seconds.wrapping_mul(1_000_000_000).wrapping_add(u64::from(stat.stx_btime.tv_nsec))
    };
    FileKey::new(stat.stx_ino, generation)
}

/// File or directory.
pub(super) fn kind_of(stat: &Statx) -> FileKind {
    match FileType::from_raw_mode(stat.stx_mode.into()) {
        FileType::Directory => FileKind::Directory,
        _ => FileKind::File,
    }
}

/// When a file was made, as far as the file system knows.
pub(super) fn creation_of(stat: &Statx) -> FileTime {
    let time = if stat.stx_mask & StatxFlags::BTIME.bits() == 0 { stat.stx_mtime } else { stat.stx_btime };
    FileTime::from_unix(time.tv_sec, time.tv_nsec)
}

/// The space that a file's data take: its blocks without the one of its attributes, which is among them where the blocks are more than the
/// size needs, and where holes hide it.
fn allocation_of(stat: &Statx, attribute_bytes: u64) -> u64 {
    let blocks = stat.stx_blocks.saturating_mul(512);
    let needed = stat.stx_size.next_multiple_of(u64::from(stat.stx_blksize.max(1)));
    let without = blocks.saturating_sub(attribute_bytes);
    if without >= needed || blocks < stat.stx_size { without } else { blocks }
}
