//! A directory of any Linux file system as the file system under a share: local, or mounted on every node.
//!
//! It keeps one descriptor, the root; everything else is found below it. It remembers nothing but which names large directories
//! lack (`names`), because other nodes change the same directory. What one node's threads do to the extended attributes of one file is serialised; what several nodes do to the same
//! attribute at the same time is not: the caller's records arbitrate that.

mod errno;
mod file;
mod names;
mod node;
mod resolve;
mod stream;

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, RenameFlags, Statx, XattrFlags};
use rustix::io::Errno;
use smb_types::{FileAttributes, FileTime};

use self::errno::{error, pair_error, walk_error};
use self::file::PosixFile;
use self::names::KnownNames;
use self::node::{Node, STATX, creation_of, key_of, kind_of};
use self::resolve::{Place, for_each_raw, open_beneath, spell};
use self::stream::{OpenStreams, StreamFile};
use crate::disposition::{Decision, when_found, when_missing};
use crate::dosattrib::DosAttrib;
use crate::key::fnv1a;
use crate::meta::STORED_ATTRIBUTES;
use crate::xname;
use crate::{
    Backend, BackendError, BackendFile, CreateAction, DescriptorStore, Entry, FileKey, FileKind, MustBe, OpenHow, Opened, Overwrite,
    RelPath, Result, Security, Stability, StreamInfo, VolumeInfo, Want, ntacl,
};

/// How often an open starts over because the name came or went in between.
const OPEN_TRIES: usize = 16;
/// Permission bits of what is being made: until it has its descriptor nobody may open it, neither by its bits nor by what is derived from
/// them.
const UNFINISHED: Mode = Mode::empty();
/// Locks that serialise changes of one file's attributes within this process.
const STRIPES: usize = 64;

/// What the backend and its open files share.
#[derive(Debug)]
struct Shared {
    root: OwnedFd,
    /// Each serialises the attribute changes of the files that hash to it.
    stripes: [Mutex<()>; STRIPES],
    /// Which names large directories have.
    names: KnownNames,
    /// Where the open streams are stored now.
    streams: OpenStreams,
    descriptors: Descriptors,
    /// What the file system counts among a file's blocks for its attributes, in bytes.
    attribute_bytes: u64,
    /// The process's file mode creation mask.
    umask: u32,
}

/// The process's file mode creation mask, which can only be read there without changing it.
fn umask() -> u32 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    line.and_then(|octal| u32::from_str_radix(octal.trim(), 8).ok()).unwrap_or(0o022)
}

/// The extended attribute that holds security descriptors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Descriptors {
    Protected,
    Unprotected,
    Unsupported,
}

impl Descriptors {
    const fn xattr(self) -> Option<&'static str> {
        match self {
            Self::Protected => Some(ntacl::XATTR_NAME),
            Self::Unprotected => Some(ntacl::XATTR_NAME_UNPRIVILEGED),
            Self::Unsupported => None,
        }
    }

    /// Finds out by setting an attribute of its own at the root and removing it. What is in the namespace that is not used is never
    /// believed: where the server may protect descriptors, a local user could have put one into the other.
    fn probe(root: &OwnedFd) -> Self {
        let may_set = |name: &str| match fs::fsetxattr(root, name, b"1", XattrFlags::empty()) {
            Ok(()) => {
                let _ = fs::fremovexattr(root, name);
                true
            }
            // A read-only file system: what was stored there is read as far as possible.
            Err(Errno::ROFS) => !matches!(fs::fgetxattr(root, name, &mut [0; 1]), Err(Errno::OPNOTSUPP)),
            Err(_) => false,
        };
        let name = |namespace: &str| format!("{namespace}.holdfast.{}", rustix::process::getpid().as_raw_nonzero());
        if may_set(&name("security")) {
            Self::Protected
        } else if may_set(&name("user")) {
            Self::Unprotected
        } else {
            Self::Unsupported
        }
    }
}

/// Larger than what ext4 and XFS keep in the inode of a file that has other attributes too.
const ATTRIBUTE_PROBE: [u8; 1024] = [1; 1024];

/// How many bytes a file's blocks grow by when it gets a descriptor: where attributes lie in a block of their own, the block is counted
/// among the file's, and a client would see space that its data do not take. 0 where that cannot be found out.
fn attribute_bytes(root: &OwnedFd, descriptors: Descriptors) -> u64 {
    let grown = || -> Result<u64, Errno> {
        let xattr = descriptors.xattr().ok_or(Errno::NOTSUP)?;
        let namespace = xattr.split_once('.').map_or(xattr, |(namespace, _)| namespace);
        let unnamed = fs::openat(root, ".", OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
        let blocks = || fs::statx(&unnamed, "", AtFlags::EMPTY_PATH, STATX).map(|stat| stat.stx_blocks);
        let before = blocks()?;
        fs::fsetxattr(&unnamed, format!("{namespace}.holdfast.probe"), &ATTRIBUTE_PROBE, XattrFlags::empty())?;
        Ok(blocks()?.saturating_sub(before).saturating_mul(512))
    };
    grown().unwrap_or(0)
}

impl Shared {
    /// A descriptor of a file below the root. `path`: for messages.
    fn node(&self, fd: OwnedFd, path: &str, readable: bool, writable: bool) -> Node {
        Node { fd, path: path.to_owned(), readable, writable, attribute_bytes: self.attribute_bytes }
    }

    /// Serialises read-modify-write of one file's attributes. Never take two.
    fn lock(&self, inode: u64) -> MutexGuard<'_, ()> {
        let stripe = usize::try_from(fnv1a(inode.to_le_bytes()) % STRIPES as u64).expect("less than STRIPES");
        self.stripes[stripe].lock()
    }
}

/// The posix backend.
#[derive(Clone, Debug)]
pub struct PosixBackend {
    shared: Arc<Shared>,
}

impl PosixBackend {
    /// Opens the root directory of a share. Needs Linux 5.6 (`openat2`).
    pub fn open_root(directory: &Path) -> Result<Self> {
        let shown = directory.display().to_string();
        let root = fs::open(directory, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|e| error("open", &shown, e))?;
        open_beneath(root.as_fd(), "", OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).map_err(|e| error("openat2", &shown, e))?;
        let stripes = std::array::from_fn(|_| Mutex::new(()));
        let descriptors = Descriptors::probe(&root);
        let attribute_bytes = attribute_bytes(&root, descriptors);
        let names = KnownNames::new();
        let streams = OpenStreams::default();
        let shared = Shared { root, stripes, names, streams, descriptors, attribute_bytes, umask: umask() };
        Ok(Self { shared: Arc::new(shared) })
    }

    fn open_path(&self, path: &RelPath, flags: OFlags) -> Result<OwnedFd, Errno> {
        open_beneath(self.shared.root.as_fd(), path.as_str(), flags, Mode::empty())
    }

    /// The path as spelled on disk; `NotFound` when the last component is missing.
    fn spelled(&self, path: &RelPath) -> Result<RelPath> {
        match spell(self.shared.root.as_fd(), &self.shared.names, path)? {
            Place::Found(found) => Ok(found),
            Place::Missing(_) => Err(BackendError::NotFound { path: path.as_str().to_owned() }),
        }
    }

    /// Opens a descriptor for names and attributes, in whatever spelling.
    fn node(&self, path: &RelPath) -> Result<(Node, RelPath)> {
        let (fd, path) = match self.open_path(path, OFlags::PATH) {
            Ok(fd) => (fd, path.clone()),
            Err(Errno::NOENT) => {
                let found = self.spelled(path)?;
                (self.open_path(&found, OFlags::PATH).map_err(|e| walk_error("openat2", path.as_str(), e))?, found)
            }
            Err(e) => return Err(walk_error("openat2", path.as_str(), e)),
        };
        let node = self.shared.node(fd, path.as_str(), false, false);
        Ok((node, path))
    }

    /// The parent's descriptor and the last component as spelled on disk.
    fn parent_of(&self, path: &RelPath) -> Result<(OwnedFd, String)> {
        let denied = || BackendError::AccessDenied { path: path.as_str().to_owned() };
        let parent = path.parent().ok_or_else(denied)?;
        let name = path.file_name().ok_or_else(denied)?.to_owned();
        match self.open_path(&parent, OFlags::PATH | OFlags::DIRECTORY) {
            Ok(fd) => Ok((fd, name)),
            Err(Errno::NOENT) => Err(BackendError::ParentNotFound { path: path.as_str().to_owned() }),
            Err(e) => Err(walk_error("openat2", path.as_str(), e)),
        }
    }

    /// Where a new name goes: the parent as spelled on disk, the new name as the client spells it, and who has the name already.
    fn target(&self, to: &RelPath) -> Result<(OwnedFd, String, Option<Taken>)> {
        let denied = || BackendError::AccessDenied { path: to.as_str().to_owned() };
        let wanted = to.file_name().ok_or_else(denied)?;
        let (spelled, taken) = match spell(self.shared.root.as_fd(), &self.shared.names, to)? {
            Place::Found(found) => {
                let (node, found) = self.node(&found)?;
                let stat = node.statx()?;
                let name = found.file_name().ok_or_else(denied)?.to_owned();
                (found, Some((name, key_of(&stat), kind_of(&stat))))
            }
            Place::Missing(parent) => (parent.join(wanted).map_err(|e| BackendError::from_path(e, to.as_str()))?, None),
        };
        let (parent, _) = self.parent_of(&spelled)?;
        Ok((parent, wanted.to_owned(), taken))
    }

    fn open_found(&self, path: &RelPath, how: &OpenHow) -> Result<Opened, OpenFailure> {
        let (fd, readable, writable) = self.open_for(path, how)?;
        let node = self.shared.node(fd, path.as_str(), readable, writable);
        let stat = node.statx()?;
        let decision = when_found(kind_of(&stat), path.is_root(), how, path.as_str())?;
        let special = !matches!(FileType::from_raw_mode(stat.stx_mode.into()), FileType::RegularFile | FileType::Directory);
        if special && how.want != Want::PATH_ONLY {
            return Err(BackendError::NotSupported { op: "opening a special file", path: path.as_str().to_owned() }.into());
        }
        let file = PosixFile::new(self.shared.clone(), node, &stat);
        let action = match decision {
            Decision::Open => {
                let metadata = file.node.metadata_of(&stat, file.node.dosattrib());
                return Ok(Opened { file: Arc::new(file), action: CreateAction::Opened, metadata, path: path.clone() });
            }
            Decision::Overwrite(action) => {
                let with = Overwrite { attributes: how.create.attributes, eas: how.create.eas.clone(), allocation: how.create.allocation };
                file.overwrite(&with, how.stability)?;
                action
            }
        };
        let metadata = file.metadata()?;
        Ok(Opened { file: Arc::new(file), action, metadata, path: path.clone() })
    }

    /// The descriptor for a file that exists; a directory that is wanted for writing is opened for listing.
    fn open_for(&self, path: &RelPath, how: &OpenHow) -> Result<(OwnedFd, bool, bool), OpenFailure> {
        let flags = match (how.want.read, how.want.write) {
            (false, false) => OFlags::PATH,
            (true, false) => OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY,
            (false, true) => OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY,
            (true, true) => OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOCTTY,
        };
        let errno = match self.open_path(path, flags) {
            Ok(fd) => return Ok((fd, how.want.read, how.want.write)),
            Err(e) => e,
        };
        match errno {
            Errno::NOENT => Err(OpenFailure::Gone),
            Errno::ISDIR => match self.open_path(path, OFlags::RDONLY | OFlags::DIRECTORY) {
                Ok(fd) => Ok((fd, true, false)),
                Err(Errno::ACCESS) => match self.open_path(path, OFlags::PATH | OFlags::DIRECTORY) {
                    Ok(fd) => Ok((fd, false, false)),
                    Err(e) => Err(walk_error("openat2", path.as_str(), e).into()),
                },
                Err(e) => Err(walk_error("openat2", path.as_str(), e).into()),
            },
            // A socket or a device without driver.
            Errno::NXIO => Err(BackendError::NotSupported { op: "opening a special file", path: path.as_str().to_owned() }.into()),
            e => Err(walk_error("openat2", path.as_str(), e).into()),
        }
    }

    /// Creates; `Exists` when somebody was faster.
    fn create(&self, path: &RelPath, kind: FileKind, how: &OpenHow) -> Result<Opened> {
        let (parent, name) = self.parent_of(path)?;
        let change = self.shared.names.changing(&parent);
        let node = match kind {
            FileKind::File => {
                let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
                let fd = open_beneath(self.shared.root.as_fd(), path.as_str(), flags, UNFINISHED)
                    .map_err(|e| walk_error("create", path.as_str(), e))?;
                self.shared.node(fd, path.as_str(), true, true)
            }
            FileKind::Directory => {
                fs::mkdirat(&parent, name.as_str(), UNFINISHED).map_err(|e| error("mkdir", path.as_str(), e))?;
                let fd = self
                    .open_path(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW)
                    .map_err(|e| walk_error("openat2", path.as_str(), e))?;
                self.shared.node(fd, path.as_str(), true, false)
            }
        };
        if let Some(change) = change {
            change.made(&parent, Some(&name));
        }
        let stat = node.statx()?;
        let file = PosixFile::new(self.shared.clone(), node, &stat);
        if let Err(e) = self.furnish(&file, &stat, how) {
            // Nobody saw it yet: a file without its attributes must not stay.
            let flags = if kind == FileKind::Directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
            if let Err(again) = fs::unlinkat(&parent, name.as_str(), flags) {
                tracing::warn!(error = %again, "a file that could not be furnished could not be removed either");
            }
            return Err(e);
        }
        if how.stability == Stability::Stable {
            file.flush()?;
            sync_descriptor(&parent, path.as_str())?;
        }
        let metadata = file.metadata()?;
        Ok(Opened { file: Arc::new(file), action: CreateAction::Created, metadata, path: path.clone() })
    }

    /// Gives a new file its attributes, EAs, descriptor and space, and then the bits that let others in.
    fn furnish(&self, file: &PosixFile, stat: &Statx, how: &OpenHow) -> Result<()> {
        let creation = creation_of(stat);
        let dos = DosAttrib { attributes: Some(how.create.attributes & STORED_ATTRIBUTES), creation: Some(creation) };
        match file.node.set_dosattrib(dos) {
            // A file system without user attributes can still serve files with default attributes.
            Ok(()) | Err(BackendError::NotSupported { .. }) => {}
            Err(e) => return Err(e),
        }
        if !how.create.eas.is_empty() {
            file.node.set_eas(&how.create.eas)?;
        }
        if let Some(descriptor) = &how.create.security_descriptor {
            file.set_security_descriptor(descriptor)?;
        }
        let all = if file.kind() == FileKind::Directory { 0o777 } else { 0o666 };
        let mode = how.create.mode.unwrap_or(all & !self.shared.umask);
        file.node.set_owner(how.create.owner.map(|owner| owner.uid), how.create.owner.and_then(|owner| owner.gid), Some(mode))?;
        if how.create.allocation > 0 && file.kind() == FileKind::File {
            file.allocate(how.create.allocation)?;
        }
        Ok(())
    }

    /// Removes a name after checking who has it.
    fn remove(&self, path: &RelPath, expected: Option<FileKey>, kind: FileKind, stability: Stability) -> Result<()> {
        let path = &self.spelled(path)?;
        let shown = || path.as_str().to_owned();
        let (parent, name) = self.parent_of(path)?;
        let (node, _) = self.node(path)?;
        let stat = node.statx()?;
        match (kind, kind_of(&stat)) {
            (FileKind::File, FileKind::Directory) => return Err(BackendError::IsADirectory { path: shown() }),
            (FileKind::Directory, FileKind::File) => return Err(BackendError::NotADirectory { path: shown() }),
            _ => {}
        }
        if expected.is_some_and(|k| k.base() != key_of(&stat)) {
            return Err(BackendError::KeyMismatch { path: shown() });
        }
        let itself = fs::statx(&parent, name.as_str(), AtFlags::SYMLINK_NOFOLLOW, STATX).map_err(|e| error("statx", path.as_str(), e))?;
        let is_directory = FileType::from_raw_mode(itself.stx_mode.into()) == FileType::Directory;
        let flags = if is_directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        // The file's room is given back when `node` goes, not here.
        let change = self.shared.names.changing(&parent);
        fs::unlinkat(&parent, name.as_str(), flags).map_err(|e| error("unlink", path.as_str(), e))?;
        if let Some(change) = change {
            change.made(&parent, None);
        }
        if stability == Stability::Stable {
            sync_descriptor(&parent, path.as_str())?;
        }
        Ok(())
    }
}

/// Who has a name: the name as spelled on disk, the file, its kind.
type Taken = (String, FileKey, FileKind);

/// Why an open did not work: for good, or because the name is not there (any more).
enum OpenFailure {
    Gone,
    Refused(BackendError),
}

impl From<BackendError> for OpenFailure {
    fn from(e: BackendError) -> Self {
        Self::Refused(e)
    }
}

/// Puts the names of a directory on disk; its descriptor may be O_PATH.
fn sync_descriptor(directory: &OwnedFd, path: &str) -> Result<()> {
    let fd = fs::openat(directory, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|e| error("open", path, e))?;
    fs::fsync(fd).map_err(|e| error("fsync", path, e))
}

impl Backend for PosixBackend {
    fn volume(&self) -> Result<VolumeInfo> {
        let vfs = fs::fstatvfs(&self.shared.root).map_err(|e| error("statvfs", "", e))?;
        let stat = fs::statx(&self.shared.root, "", AtFlags::EMPTY_PATH, STATX).map_err(|e| error("statx", "", e))?;
        let key = key_of(&stat);
        let mut identity = key.inode.to_le_bytes().to_vec();
        identity.extend_from_slice(&key.generation.to_le_bytes());
        let id = fnv1a(identity);
        Ok(VolumeInfo {
            total_bytes: vfs.f_blocks.saturating_mul(vfs.f_frsize),
            free_bytes: vfs.f_bfree.saturating_mul(vfs.f_frsize),
            available_bytes: vfs.f_bavail.saturating_mul(vfs.f_frsize),
            serial: u32::try_from((id >> 32) ^ (id & 0xffff_ffff)).expect("32 bits"),
            id,
            creation: creation_of(&stat),
            cluster_bytes: u32::try_from(vfs.f_frsize).unwrap_or(4096).max(512),
            sector_bytes: 512,
            name_units_max: u32::try_from(vfs.f_namemax).unwrap_or(255).min(255),
            read_only: vfs.f_flag.contains(fs::StatVfsMountFlags::RDONLY),
        })
    }

    fn descriptor_store(&self) -> DescriptorStore {
        match self.shared.descriptors {
            Descriptors::Protected => DescriptorStore::Protected,
            Descriptors::Unprotected => DescriptorStore::Unprotected,
            Descriptors::Unsupported => DescriptorStore::Unsupported,
        }
    }

    fn security(&self, path: &RelPath) -> Result<Security> {
        self.node(path)?.0.security(self.shared.descriptors.xattr())
    }

    fn security_on_the_way(&self, path: &RelPath) -> Result<Vec<Security>> {
        let above = |path: &RelPath| std::iter::successors(path.parent(), RelPath::parent).collect::<Vec<_>>();
        let mut directories = above(path);
        directories.reverse();
        // A link leads there by another way: the directories on that one count, too.
        if let Some(real) = self.real_path(path).filter(|real| real != path) {
            directories.extend(above(&real).into_iter().filter(|directory| !path.starts_with(directory)));
        }
        let missing = || BackendError::ParentNotFound { path: path.as_str().to_owned() };
        let of_directory = |directory: &RelPath| match self.node(directory) {
            Ok((node, _)) => match node.security(self.shared.descriptors.xattr())? {
                security if security.kind == FileKind::Directory => Ok(security),
                _ => Err(missing()),
            },
            Err(BackendError::NotFound { .. }) => Err(missing()),
            Err(error) => Err(error),
        };
        directories.iter().map(of_directory).collect()
    }

    fn lookup(&self, path: &RelPath) -> Result<Entry> {
        let (node, path) = self.node(path)?;
        Ok(Entry { metadata: node.metadata()?, path })
    }

    fn open(&self, path: &RelPath, how: &OpenHow) -> Result<Opened> {
        // The usual case first: it exists in this very spelling.
        let mut place = Place::Found(path.clone());
        for _ in 0..OPEN_TRIES {
            let attempt = match &place {
                Place::Found(found) => match self.open_found(found, how) {
                    Ok(opened) => return Ok(opened),
                    Err(OpenFailure::Refused(e)) => return Err(e),
                    Err(OpenFailure::Gone) => None,
                },
                Place::Missing(parent) => Some(parent),
            };
            if let Some(parent) = attempt {
                let kind = when_missing(how, path.as_str())?;
                let name = path.file_name().ok_or_else(|| BackendError::NotFound { path: path.as_str().to_owned() })?;
                let new = parent.join(name).map_err(|e| BackendError::from_path(e, path.as_str()))?;
                match self.create(&new, kind, how) {
                    Err(BackendError::Exists { .. }) => {}
                    done => return done,
                }
            }
            place = spell(self.shared.root.as_fd(), &self.shared.names, path)?;
        }
        // The name comes and goes, or is a link to nowhere.
        Err(BackendError::AccessDenied { path: path.as_str().to_owned() })
    }

    fn open_stream(&self, path: &RelPath, stream: &str, how: &OpenHow) -> Result<Opened> {
        let (node, path) = self.node(path)?;
        if how.must_be == MustBe::Directory {
            return Err(BackendError::NotADirectory { path: format!("{path}:{stream}") });
        }
        let stat = node.statx()?;
        let (file, action) = StreamFile::open(self.shared.clone(), node, &stat, stream, how)?;
        let metadata = file.metadata()?;
        Ok(Opened { file: Arc::new(file), action, metadata, path })
    }

    fn streams(&self, path: &RelPath) -> Result<Vec<StreamInfo>> {
        self.node(path)?.0.streams()
    }

    fn remove_stream(&self, path: &RelPath, stream: &str, stability: Stability) -> Result<()> {
        let (node, _) = self.node(path)?;
        let missing = || BackendError::NotFound { path: format!("{path}:{stream}") };
        {
            let _guard = self.shared.lock(node.statx()?.stx_ino);
            let (xattr, _) = node.find_stream(stream)?.ok_or_else(missing)?;
            if !node.remove_xattr(&xattr)? {
                return Err(missing());
            }
        }
        sync_node(&node, stability)
    }

    fn rename_stream(&self, path: &RelPath, from: &str, to: &str, replace: bool) -> Result<()> {
        let (node, _) = self.node(path)?;
        let _guard = self.shared.lock(node.statx()?.stx_ino);
        let missing = || BackendError::NotFound { path: format!("{path}:{from}") };
        let (old, _) = node.find_stream(from)?.ok_or_else(missing)?;
        let new = xname::of_stream(to, path.as_str())?;
        if new == old {
            return Ok(());
        }
        let taken = node.find_stream(to)?.map(|(x, _)| x).filter(|x| *x != old);
        if taken.is_some() && !replace {
            return Err(BackendError::Exists { path: format!("{path}:{to}") });
        }
        let value = node.xattr(&old)?.ok_or_else(missing)?;
        node.set_xattr(&new, &value)?;
        if let Some(other) = taken.filter(|x| *x != new) {
            node.remove_xattr(&other)?;
        }
        node.remove_xattr(&old)?;
        self.shared.streams.renamed(key_of(&node.statx()?), &old, &new);
        Ok(())
    }

    fn rename(&self, from: &RelPath, to: &RelPath, replace: bool, stability: Stability) -> Result<()> {
        let from = &self.spelled(from)?;
        let (old_parent, old_name) = self.parent_of(from)?;
        let key = key_of(&self.node(from)?.0.statx()?);
        let (new_parent, new_name, taken) = self.target(to)?;
        let mut unspelled = None;
        let change = self.shared.names.changing(&new_parent);
        match taken {
            // Only the spelling changes, or it is another name of the same file: Windows lets the old name go.
            Some((_, k, _)) if k == key => {
                if self.is_same_name(&old_parent, &old_name, &new_parent, &new_name)? {
                    return Ok(());
                }
                let same_place = from.eq_ignore_case(to);
                if !same_place {
                    if !replace {
                        return Err(BackendError::Exists { path: to.as_str().to_owned() });
                    }
                    fs::unlinkat(&old_parent, old_name.as_str(), AtFlags::empty()).map_err(|e| error("unlink", from.as_str(), e))?;
                    drop(change);
                    return self.sync_pair(&old_parent, &new_parent, to, stability);
                }
                pair(fs::renameat_with(&old_parent, old_name.as_str(), &new_parent, new_name.as_str(), RenameFlags::NOREPLACE), to)?;
            }
            Some(_) if !replace => return Err(BackendError::Exists { path: to.as_str().to_owned() }),
            Some((_, _, FileKind::Directory)) => return Err(BackendError::IsADirectory { path: to.as_str().to_owned() }),
            Some((spelled, _, FileKind::File)) => {
                // One atomic step replaces the file under the spelling it has; the new spelling comes after.
                pair(fs::renameat(&old_parent, old_name.as_str(), &new_parent, spelled.as_str()), to)?;
                unspelled = Some(spelled).filter(|s| *s != new_name);
            }
            None => pair(fs::renameat_with(&old_parent, old_name.as_str(), &new_parent, new_name.as_str(), RenameFlags::NOREPLACE), to)?,
        }
        if let Some(spelled) = unspelled {
            pair(fs::renameat_with(&new_parent, spelled.as_str(), &new_parent, new_name.as_str(), RenameFlags::NOREPLACE), to)?;
        }
        if let Some(change) = change {
            change.made(&new_parent, Some(&new_name));
        }
        self.sync_pair(&old_parent, &new_parent, to, stability)
    }

    fn link(&self, from: &RelPath, to: &RelPath, replace: bool, stability: Stability) -> Result<()> {
        let (node, from) = self.node(from)?;
        let stat = node.statx()?;
        if kind_of(&stat) == FileKind::Directory {
            return Err(BackendError::IsADirectory { path: from.as_str().to_owned() });
        }
        let (old_parent, old_name) = self.parent_of(&from)?;
        let (new_parent, new_name, taken) = self.target(to)?;
        let change = self.shared.names.changing(&new_parent);
        match taken {
            Some(_) if !replace => return Err(BackendError::Exists { path: to.as_str().to_owned() }),
            Some((_, key, _)) if key == key_of(&stat) => return Ok(()),
            Some((_, _, FileKind::Directory)) => return Err(BackendError::IsADirectory { path: to.as_str().to_owned() }),
            Some((spelled, _, FileKind::File)) => {
                fs::unlinkat(&new_parent, spelled.as_str(), AtFlags::empty()).map_err(|e| error("unlink", to.as_str(), e))?;
            }
            None => {}
        }
        pair(fs::linkat(&old_parent, old_name.as_str(), &new_parent, new_name.as_str(), AtFlags::empty()), to)?;
        if let Some(change) = change {
            change.made(&new_parent, Some(&new_name));
        }
        if stability == Stability::Stable {
            sync_descriptor(&new_parent, to.as_str())?;
        }
        Ok(())
    }

    fn unlink(&self, path: &RelPath, expected: Option<FileKey>, stability: Stability) -> Result<()> {
        self.remove(path, expected, FileKind::File, stability)
    }

    fn remove_dir(&self, path: &RelPath, expected: Option<FileKey>, stability: Stability) -> Result<()> {
        self.remove(path, expected, FileKind::Directory, stability)
    }

    fn is_dir_empty(&self, path: &RelPath) -> Result<bool> {
        let (node, _) = self.node(path)?;
        if kind_of(&node.statx()?) != FileKind::Directory {
            return Err(BackendError::NotADirectory { path: path.as_str().to_owned() });
        }
        let fd = node.reopen(OFlags::RDONLY | OFlags::DIRECTORY)?;
        let mut empty = true;
        for_each_raw(fd.as_fd(), path.as_str(), |_, _| {
            empty = false;
            false
        })?;
        Ok(empty)
    }

    fn sync_dir(&self, path: &RelPath) -> Result<()> {
        let (node, _) = self.node(path)?;
        sync_descriptor(&node.fd, path.as_str())
    }
}

impl PosixBackend {
    /// Where a path leads when every link on it is followed; None when it is not there, or has a name that clients cannot speak.
    fn real_path(&self, path: &RelPath) -> Option<RelPath> {
        let (node, _) = self.node(path).ok()?;
        let shown = |fd: &OwnedFd| fs::readlinkat(fs::CWD, format!("/proc/self/fd/{}", fd.as_raw_fd()), Vec::new()).ok();
        let (root, real) = (shown(&self.shared.root)?, shown(&node.fd)?);
        let (root, real) = (root.to_str().ok()?.trim_end_matches('/'), real.to_str().ok()?);
        let below = real.strip_prefix(root)?.strip_prefix('/')?;
        RelPath::from_components(below.split('/')).ok()
    }

    fn is_same_name(&self, old_parent: &OwnedFd, old: &str, new_parent: &OwnedFd, new: &str) -> Result<bool> {
        let stat = |fd: &OwnedFd| fs::statx(fd, "", AtFlags::EMPTY_PATH, STATX).map_err(|e| error("statx", "", e));
        Ok(old == new && key_of(&stat(old_parent)?) == key_of(&stat(new_parent)?))
    }

    fn sync_pair(&self, old_parent: &OwnedFd, new_parent: &OwnedFd, to: &RelPath, stability: Stability) -> Result<()> {
        if stability == Stability::Stable {
            sync_descriptor(new_parent, to.as_str())?;
            sync_descriptor(old_parent, to.as_str())?;
        }
        Ok(())
    }
}

fn pair(done: Result<(), Errno>, to: &RelPath) -> Result<()> {
    match done {
        // The kernel's word for a directory moved below itself.
        Err(Errno::INVAL) => Err(BackendError::AccessDenied { path: to.as_str().to_owned() }),
        Err(Errno::NOENT) => Err(BackendError::NotFound { path: to.as_str().to_owned() }),
        done => done.map_err(|e| pair_error("rename", to.as_str(), e)),
    }
}

/// Puts a file's metadata on disk where the caller wants it there.
fn sync_node(node: &Node, stability: Stability) -> Result<()> {
    if stability == Stability::Cached {
        return Ok(());
    }
    fs::fsync(node.reopen(OFlags::RDONLY)?).map_err(|e| node.error("fsync", e))
}

/// The attributes and the creation time that `user.DOSATTRIB` keeps, changed under the file's lock.
fn change_dosattrib(shared: &Shared, node: &Node, change: impl FnOnce(&mut FileAttributes, &mut FileTime)) -> Result<()> {
    let stat = node.statx()?;
    let _guard = shared.lock(stat.stx_ino);
    let stored = node.dosattrib();
    let mut attributes = stored.attributes.unwrap_or_default();
    let mut creation = stored.creation.unwrap_or_else(|| creation_of(&stat));
    change(&mut attributes, &mut creation);
    node.set_dosattrib(DosAttrib { attributes: Some(attributes), creation: Some(creation) })
}
