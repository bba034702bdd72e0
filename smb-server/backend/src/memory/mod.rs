//! A file system in memory with the semantics of the posix backend, for tests of handlers and for simulation.
//!
//! One lock guards the names, one each node's contents; the first is taken before the second and never two of the second. It knows
//! no links of the symbolic kind. Everything is lost with the last clone.

mod data;
mod file;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use parking_lot::{Mutex, MutexGuard};
use smb_types::{FileAttributes, FileTime};

use self::data::{Budget, Data, PAGE_BYTES};
use self::file::MemoryFile;
use crate::disposition::{Decision, when_found, when_missing};
use crate::meta::{STORED_ATTRIBUTES, visible_attributes};
use crate::{
    Backend, BackendError, BackendFile, CreateAction, DescriptorStore, Ea, Entry, FileKey, FileKind, Metadata, MustBe, OpenHow, Opened,
    Overwrite, RelPath, Result, Security, Stability, StoredDescriptor, StreamInfo, VolumeInfo, Want, name, xname,
};

/// Size of the volume unless said otherwise.
const BYTES_MAX: u64 = 16 << 30;

/// Where the time comes from.
type Clock = Arc<dyn Fn() -> FileTime + Send + Sync>;

/// The memory backend.
#[derive(Clone)]
pub struct MemoryBackend {
    volume: Arc<Volume>,
}

struct Volume {
    root: Arc<Inode>,
    names: Mutex<()>,
    next_inode: AtomicU64,
    budget: Arc<Budget>,
    clock: Clock,
}

/// A file or directory; open files keep it alive after its last name is gone.
#[derive(Debug)]
struct Inode {
    key: FileKey,
    kind: FileKind,
    contents: Mutex<Contents>,
    budget: Arc<Budget>,
}

impl Drop for Inode {
    fn drop(&mut self) {
        let contents = self.contents.get_mut();
        contents.data.set_len(&self.budget, 0);
        contents.streams.values_mut().for_each(|d| d.set_len(&self.budget, 0));
    }
}

#[derive(Debug, Default)]
struct Contents {
    data: Data,
    children: BTreeMap<String, Arc<Inode>>,
    streams: BTreeMap<String, Data>,
    eas: BTreeMap<String, Vec<u8>>,
    descriptor: Option<Vec<u8>>,
    attributes: FileAttributes,
    creation: FileTime,
    last_access: FileTime,
    last_write: FileTime,
    change: FileTime,
    links: u32,
    owner: (u32, u32),
    mode: u32,
}

impl fmt::Debug for MemoryBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryBackend").finish_non_exhaustive()
    }
}

impl Default for MemoryBackend {
    fn default() -> Self {
        Self::new()
    }
}

/// A name in a directory: the directory, the path of it as spelled, and the child with its spelling if there is one.
struct Slot {
    directory: Arc<Inode>,
    parent: RelPath,
    child: Option<(String, Arc<Inode>)>,
}

impl MemoryBackend {
    /// An empty volume that takes the system's time.
    #[must_use]
    pub fn new() -> Self {
        Self::with(BYTES_MAX, || {
            let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            FileTime::from_unix(i64::try_from(since.as_secs()).unwrap_or(0), since.subsec_nanos())
        })
    }

    /// An empty volume of `bytes_max` bytes with its own clock.
    pub fn with(bytes_max: u64, clock: impl Fn() -> FileTime + Send + Sync + 'static) -> Self {
        let budget = Arc::new(Budget { pages_max: bytes_max / PAGE_BYTES, pages_used: AtomicU64::new(0) });
        let root = new_inode(&budget, 1, FileKind::Directory, FileAttributes::NONE, clock(), 0o755);
        let volume = Volume { root, names: Mutex::new(()), next_inode: AtomicU64::new(2), budget, clock: Arc::new(clock) };
        Self { volume: Arc::new(volume) }
    }

    fn now(&self) -> FileTime {
        (self.volume.clock)()
    }

    /// Finds a name. The caller holds the lock of names.
    fn slot(&self, path: &RelPath) -> Result<Slot> {
        let mut slot = Slot { directory: self.volume.root.clone(), parent: RelPath::root(), child: None };
        let mut components = path.components().peekable();
        while let Some(component) = components.next() {
            let child = slot.directory.find(component);
            if components.peek().is_none() {
                slot.child = child;
                break;
            }
            let missing = || BackendError::ParentNotFound { path: path.as_str().to_owned() };
            let (spelling, next) = child.ok_or_else(missing)?;
            if next.kind != FileKind::Directory {
                return Err(missing());
            }
            slot.parent = slot.parent.join(&spelling).map_err(|e| BackendError::from_path(e, path.as_str()))?;
            slot.directory = next;
        }
        Ok(slot)
    }

    /// Finds what exists. The caller holds the lock of names.
    fn found(&self, path: &RelPath) -> Result<(Arc<Inode>, RelPath)> {
        if path.is_root() {
            return Ok((self.volume.root.clone(), RelPath::root()));
        }
        let slot = self.slot(path)?;
        let (spelling, inode) = slot.child.ok_or_else(|| BackendError::NotFound { path: path.as_str().to_owned() })?;
        let path = slot.parent.join(&spelling).map_err(|e| BackendError::from_path(e, path.as_str()))?;
        Ok((inode, path))
    }

    fn file(&self, inode: Arc<Inode>, path: &RelPath, stream: Option<String>, want: Want) -> MemoryFile {
        MemoryFile::new(self.volume.clone(), inode, path.as_str().to_owned(), stream, want)
    }

    fn create(&self, slot: &Slot, path: &RelPath, how: &OpenHow) -> Result<Opened> {
        let kind = when_missing(how, path.as_str())?;
        let denied = || BackendError::AccessDenied { path: path.as_str().to_owned() };
        let name = path.file_name().ok_or_else(denied)?;
        let path = slot.parent.join(name).map_err(|e| BackendError::from_path(e, path.as_str()))?;
        let now = self.now();
        let default_mode = if kind == FileKind::File { 0o644 } else { 0o755 };
        let number = self.volume.next_inode.fetch_add(1, Ordering::Relaxed);
        let mode = how.create.mode.unwrap_or(default_mode) & 0o7777;
        let inode = new_inode(&self.volume.budget, number, kind, how.create.attributes & STORED_ATTRIBUTES, now, mode);
        set_eas(&inode, &how.create.eas, path.as_str())?;
        {
            let mut contents = inode.contents.lock();
            contents.descriptor.clone_from(&how.create.security_descriptor);
            contents.owner = how.create.owner.map_or((0, 0), |owner| (owner.uid, owner.gid.unwrap_or(0)));
        }
        slot.directory.insert(name, inode.clone(), now);
        let file = self.file(inode, &path, None, Want::READ_WRITE);
        let metadata = file.metadata()?;
        Ok(Opened { file: Arc::new(file), action: CreateAction::Created, metadata, path })
    }

    fn remove(&self, path: &RelPath, expected: Option<FileKey>, kind: FileKind) -> Result<()> {
        let shown = || path.as_str().to_owned();
        let _names = self.volume.names.lock();
        if path.is_root() {
            return Err(BackendError::AccessDenied { path: shown() });
        }
        let slot = self.slot(path)?;
        let (spelling, inode) = slot.child.ok_or_else(|| BackendError::NotFound { path: shown() })?;
        match (kind, inode.kind) {
            (FileKind::File, FileKind::Directory) => return Err(BackendError::IsADirectory { path: shown() }),
            (FileKind::Directory, FileKind::File) => return Err(BackendError::NotADirectory { path: shown() }),
            _ => {}
        }
        if expected.is_some_and(|k| k.base() != inode.key) {
            return Err(BackendError::KeyMismatch { path: shown() });
        }
        if !inode.contents.lock().children.is_empty() {
            return Err(BackendError::NotEmpty { path: shown() });
        }
        slot.directory.remove(&spelling, self.now());
        Ok(())
    }

    fn rename_locked(&self, from: &RelPath, to: &RelPath, replace: bool) -> Result<()> {
        let denied = |p: &RelPath| BackendError::AccessDenied { path: p.as_str().to_owned() };
        let shown = || to.as_str().to_owned();
        let (from_name, to_name) = (from.file_name().ok_or_else(|| denied(from))?, to.file_name().ok_or_else(|| denied(to))?);
        let old = self.slot(from)?;
        let (spelling, inode) = old.child.ok_or_else(|| BackendError::NotFound { path: from_name.to_owned() })?;
        let new = self.slot(to)?;
        let now = self.now();
        if let Some((taken, other)) = new.child {
            if Arc::ptr_eq(&other, &inode) {
                if from.eq_ignore_case(to) {
                    old.directory.respell(&spelling, to_name, now);
                } else if replace {
                    old.directory.remove(&spelling, now);
                } else {
                    return Err(BackendError::Exists { path: shown() });
                }
                return Ok(());
            }
            match (replace, other.kind, inode.kind) {
                (false, _, _) => return Err(BackendError::Exists { path: shown() }),
                (true, FileKind::Directory, _) => return Err(BackendError::IsADirectory { path: shown() }),
                (true, FileKind::File, FileKind::Directory) if inode.holds(&new.directory) => return Err(denied(to)),
                (true, FileKind::File, FileKind::Directory) => return Err(BackendError::NotADirectory { path: shown() }),
                (true, FileKind::File, FileKind::File) => new.directory.remove(&taken, now),
            }
        } else if inode.kind == FileKind::Directory && inode.holds(&new.directory) {
            return Err(denied(to));
        }
        old.directory.detach(&spelling, now);
        new.directory.attach(to_name, inode, now);
        Ok(())
    }

    fn locked(&self) -> MutexGuard<'_, ()> {
        self.volume.names.lock()
    }
}

fn new_inode(budget: &Arc<Budget>, number: u64, kind: FileKind, attributes: FileAttributes, now: FileTime, mode: u32) -> Arc<Inode> {
    let contents = Contents {
        attributes,
        creation: now,
        last_access: now,
        last_write: now,
        change: now,
        links: u32::from(number == 1),
        mode,
        ..Contents::default()
    };
    Arc::new(Inode { key: FileKey::new(number, now.0), kind, contents: Mutex::new(contents), budget: budget.clone() })
}

impl Inode {
    /// A child by its exact name or, failing that, the first in byte order that differs in case only.
    fn find(&self, wanted: &str) -> Option<(String, Arc<Self>)> {
        let contents = self.contents.lock();
        contents
            .children
            .get_key_value(wanted)
            .or_else(|| contents.children.iter().find(|(n, _)| name::eq_ignore_case(n, wanted)))
            .or_else(|| {
                contents.children.iter().find(|(n, _)| name::may_be_short(wanted) && name::short_name(n).eq_ignore_ascii_case(wanted))
            })
            .map(|(n, i)| (n.clone(), i.clone()))
    }

    /// Puts a child under a name without counting it.
    fn attach(&self, name: &str, child: Arc<Self>, now: FileTime) {
        let mut contents = self.contents.lock();
        let before = contents.children.insert(name.to_owned(), child);
        assert!(before.is_none(), "a name was given twice");
        (contents.last_write, contents.change) = (now, now);
    }

    /// Takes a child's name away without counting it.
    fn detach(&self, name: &str, now: FileTime) -> Option<Arc<Self>> {
        let mut contents = self.contents.lock();
        (contents.last_write, contents.change) = (now, now);
        contents.children.remove(name)
    }

    fn insert(&self, name: &str, child: Arc<Self>, now: FileTime) {
        child.contents.lock().links += 1;
        self.attach(name, child, now);
    }

    fn remove(&self, name: &str, now: FileTime) {
        if let Some(child) = self.detach(name, now) {
            let mut contents = child.contents.lock();
            contents.links = contents.links.saturating_sub(1);
            contents.change = now;
        }
    }

    fn respell(&self, from: &str, to: &str, now: FileTime) {
        if let Some(child) = self.detach(from, now) {
            self.attach(to, child, now);
        }
    }

    /// Tells whether `other` is this directory or below it.
    fn holds(self: &Arc<Self>, other: &Arc<Self>) -> bool {
        let mut todo = vec![self.clone()];
        while let Some(directory) = todo.pop() {
            if Arc::ptr_eq(&directory, other) {
                return true;
            }
            todo.extend(directory.contents.lock().children.values().filter(|c| c.kind == FileKind::Directory).cloned());
        }
        false
    }

    /// The stream as stored, whatever the case.
    fn find_stream(&self, stream: &str) -> Option<String> {
        let contents = self.contents.lock();
        if contents.streams.contains_key(stream) {
            return Some(stream.to_owned());
        }
        contents.streams.keys().find(|n| name::eq_ignore_case(n, stream)).cloned()
    }

    fn streams(&self) -> Vec<StreamInfo> {
        let info = |(n, d): (&String, &Data)| StreamInfo { name: n.clone(), size: d.size(), allocation: d.size().next_multiple_of(8) };
        self.contents.lock().streams.iter().map(info).collect()
    }

    fn metadata(&self) -> Metadata {
        let c = self.contents.lock();
        let is_file = self.kind == FileKind::File;
        Metadata {
            key: self.key,
            kind: self.kind,
            size: c.data.size(),
            allocation: c.data.allocation(),
            attributes: visible_attributes(c.attributes, self.kind),
            creation: c.creation,
            last_access: c.last_access,
            last_write: c.last_write,
            change: c.change,
            links: if is_file { c.links } else { 1 },
            uid: c.owner.0,
            gid: c.owner.1,
            mode: c.mode,
        }
    }

    /// What is kept about the rights to it. There are no POSIX access lists in memory.
    fn security(&self) -> Security {
        let c = self.contents.lock();
        let stored = c.descriptor.clone().map_or(StoredDescriptor::None, StoredDescriptor::Bytes);
        let (uid, gid) = c.owner;
        Security { kind: self.kind, stored, uid, gid, mode: c.mode, acl: Vec::new(), default_acl: Vec::new() }
    }
}

fn set_eas(inode: &Inode, eas: &[Ea], path: &str) -> Result<()> {
    for ea in eas {
        xname::of_ea(&ea.name, path)?;
        if ea.value.len() > xname::VALUE_BYTES_MAX {
            return Err(BackendError::TooLarge { path: path.to_owned(), what: "extended attribute" });
        }
    }
    let mut contents = inode.contents.lock();
    for ea in eas {
        let there = contents.eas.keys().find(|n| name::eq_ignore_case(n, &ea.name)).cloned();
        let key = there.unwrap_or_else(|| ea.name.clone());
        if ea.value.is_empty() {
            contents.eas.remove(&key);
        } else {
            contents.eas.insert(key, ea.value.clone());
        }
    }
    Ok(())
}

impl Backend for MemoryBackend {
    fn volume(&self) -> Result<VolumeInfo> {
        let budget = &self.volume.budget;
        let free = budget.pages_max.saturating_sub(budget.pages_used.load(Ordering::Relaxed)) * PAGE_BYTES;
        Ok(VolumeInfo {
            total_bytes: budget.pages_max * PAGE_BYTES,
            free_bytes: free,
            available_bytes: free,
            serial: 0x4d45_4d00,
            id: 0x4d45_4d00,
            creation: self.volume.root.contents.lock().creation,
            cluster_bytes: 4096,
            sector_bytes: 512,
            name_units_max: 255,
            read_only: false,
        })
    }

    fn descriptor_store(&self) -> DescriptorStore {
        DescriptorStore::Protected
    }

    fn security(&self, path: &RelPath) -> Result<Security> {
        let _names = self.locked();
        Ok(self.found(path)?.0.security())
    }

    fn security_on_the_way(&self, path: &RelPath) -> Result<Vec<Security>> {
        let _names = self.locked();
        let mut on_the_way = Vec::new();
        let mut next = path.parent();
        while let Some(directory) = next {
            let missing = || BackendError::ParentNotFound { path: path.as_str().to_owned() };
            let (inode, _) = self.found(&directory).map_err(|_| missing())?;
            if inode.kind != FileKind::Directory {
                return Err(missing());
            }
            on_the_way.push(inode.security());
            next = directory.parent();
        }
        on_the_way.reverse();
        Ok(on_the_way)
    }

    fn lookup(&self, path: &RelPath) -> Result<Entry> {
        let _names = self.locked();
        let (inode, path) = self.found(path)?;
        Ok(Entry { metadata: inode.metadata(), path })
    }

    fn open(&self, path: &RelPath, how: &OpenHow) -> Result<Opened> {
        let names = self.locked();
        let (inode, path) = match self.found(path) {
            Ok(found) => found,
            Err(BackendError::NotFound { .. }) => return self.create(&self.slot(path)?, path, how),
            Err(e) => return Err(e),
        };
        drop(names);
        let decision = when_found(inode.kind, path.is_root(), how, path.as_str())?;
        let want = match inode.kind {
            FileKind::File => how.want,
            // As in the posix backend a directory that is wanted for writing can be listed.
            FileKind::Directory => Want { read: how.want.read || how.want.write, write: false },
        };
        let file = self.file(inode, &path, None, want);
        let action = match decision {
            Decision::Open => CreateAction::Opened,
            Decision::Overwrite(action) => {
                let with = Overwrite { attributes: how.create.attributes, eas: how.create.eas.clone(), allocation: how.create.allocation };
                file.overwrite(&with, how.stability)?;
                action
            }
        };
        let metadata = file.metadata()?;
        Ok(Opened { file: Arc::new(file), action, metadata, path })
    }

    fn open_stream(&self, path: &RelPath, stream: &str, how: &OpenHow) -> Result<Opened> {
        let (inode, path) = {
            let _names = self.locked();
            self.found(path)?
        };
        let shown = format!("{path}:{stream}");
        if how.must_be == MustBe::Directory {
            return Err(BackendError::NotADirectory { path: shown });
        }
        xname::of_stream(stream, &shown)?;
        let _names = self.locked();
        let (stored, action) = match inode.find_stream(stream) {
            Some(stored) => match when_found(FileKind::File, false, how, &shown)? {
                Decision::Open => (stored, CreateAction::Opened),
                Decision::Overwrite(action) => {
                    if let Some(data) = inode.contents.lock().streams.get_mut(&stored) {
                        data.set_len(&self.volume.budget, 0);
                    }
                    (stored, action)
                }
            },
            None => {
                when_missing(how, &shown)?;
                inode.contents.lock().streams.insert(stream.to_owned(), Data::default());
                (stream.to_owned(), CreateAction::Created)
            }
        };
        let want = if action == CreateAction::Created { Want::READ_WRITE } else { how.want };
        let file = self.file(inode, &path, Some(stored), want);
        let metadata = file.metadata()?;
        Ok(Opened { file: Arc::new(file), action, metadata, path })
    }

    fn streams(&self, path: &RelPath) -> Result<Vec<StreamInfo>> {
        let _names = self.locked();
        Ok(self.found(path)?.0.streams())
    }

    fn remove_stream(&self, path: &RelPath, stream: &str, _stability: Stability) -> Result<()> {
        let _names = self.locked();
        let (inode, _) = self.found(path)?;
        let stored = inode.find_stream(stream).ok_or_else(|| BackendError::NotFound { path: format!("{path}:{stream}") })?;
        if let Some(mut data) = inode.contents.lock().streams.remove(&stored) {
            data.set_len(&self.volume.budget, 0);
        }
        Ok(())
    }

    fn rename_stream(&self, path: &RelPath, from: &str, to: &str, replace: bool) -> Result<()> {
        let _names = self.locked();
        let (inode, _) = self.found(path)?;
        let old = inode.find_stream(from).ok_or_else(|| BackendError::NotFound { path: format!("{path}:{from}") })?;
        xname::of_stream(to, path.as_str())?;
        let taken = inode.find_stream(to).filter(|n| *n != old);
        if taken.is_some() && !replace {
            return Err(BackendError::Exists { path: format!("{path}:{to}") });
        }
        let mut contents = inode.contents.lock();
        if let Some(mut data) = taken.and_then(|n| contents.streams.remove(&n)) {
            data.set_len(&self.volume.budget, 0);
        }
        if let Some(data) = contents.streams.remove(&old) {
            contents.streams.insert(to.to_owned(), data);
        }
        Ok(())
    }

    fn rename(&self, from: &RelPath, to: &RelPath, replace: bool, _stability: Stability) -> Result<()> {
        let _names = self.locked();
        self.rename_locked(from, to, replace)
    }

    fn link(&self, from: &RelPath, to: &RelPath, replace: bool, _stability: Stability) -> Result<()> {
        let _names = self.locked();
        let shown = || to.as_str().to_owned();
        let (inode, _) = self.found(from)?;
        if inode.kind == FileKind::Directory {
            return Err(BackendError::IsADirectory { path: from.as_str().to_owned() });
        }
        let name = to.file_name().ok_or_else(|| BackendError::AccessDenied { path: shown() })?;
        let slot = self.slot(to)?;
        let now = self.now();
        if let Some((taken, other)) = slot.child {
            match (replace, other.kind) {
                (false, _) => return Err(BackendError::Exists { path: shown() }),
                (true, _) if Arc::ptr_eq(&other, &inode) => return Ok(()),
                (true, FileKind::Directory) => return Err(BackendError::IsADirectory { path: shown() }),
                (true, FileKind::File) => slot.directory.remove(&taken, now),
            }
        }
        slot.directory.insert(name, inode, now);
        Ok(())
    }

    fn unlink(&self, path: &RelPath, expected: Option<FileKey>, _stability: Stability) -> Result<()> {
        self.remove(path, expected, FileKind::File)
    }

    fn remove_dir(&self, path: &RelPath, expected: Option<FileKey>, _stability: Stability) -> Result<()> {
        self.remove(path, expected, FileKind::Directory)
    }

    fn is_dir_empty(&self, path: &RelPath) -> Result<bool> {
        let _names = self.locked();
        let (inode, _) = self.found(path)?;
        if inode.kind == FileKind::File {
            return Err(BackendError::NotADirectory { path: path.as_str().to_owned() });
        }
        let empty = inode.contents.lock().children.is_empty();
        Ok(empty)
    }

    fn sync_dir(&self, path: &RelPath) -> Result<()> {
        let _names = self.locked();
        self.found(path).map(drop)
    }
}
