//! Wraps another backend and fails, delays or reports chosen operations: for tests of what the server does when the disk does not.

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::{
    Backend, BackendError, BackendFile, DescriptorStore, DirEntry, Ea, Entry, FileKey, FileKind, Metadata, OpenHow, Opened, Overwrite,
    Range, RelPath, Result, Security, SetBasic, Stability, StreamInfo, VolumeInfo,
};

/// An operation that can be made to fail.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[allow(missing_docs, reason = "each is named after the method it stands for")]
pub enum Op {
    Volume,
    Lookup,
    Open,
    Stream,
    Rename,
    Link,
    Remove,
    SyncDir,
    Read,
    Write,
    Flush,
    Resize,
    Overwrite,
    Metadata,
    SetBasic,
    List,
    Security,
    Ea,
    Ranges,
    Copy,
}

/// When the fault comes about.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum When {
    /// Instead of the operation.
    #[default]
    Before,
    /// After the operation was done: its result is lost.
    After,
}

/// Makes the error for a path.
type Maker = Arc<dyn Fn(&str) -> BackendError + Send + Sync>;
/// Called at the operation, such as to wait for another thread or to record it.
type Hook = Arc<dyn Fn(Op, &str) + Send + Sync>;

/// One fault: the first rule that fits an operation is applied to it and counted down.
#[derive(Clone)]
pub struct Fault {
    op: Op,
    path: Option<String>,
    skip: u32,
    times: u32,
    when: When,
    error: Option<Maker>,
    hook: Option<Hook>,
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fault").field("op", &self.op).field("path", &self.path).field("times", &self.times).finish_non_exhaustive()
    }
}

impl Fault {
    /// Fails the next `op` with the error that `error` makes of its path.
    pub fn error(op: Op, error: impl Fn(&str) -> BackendError + Send + Sync + 'static) -> Self {
        Self { op, path: None, skip: 0, times: 1, when: When::Before, error: Some(Arc::new(error)), hook: None }
    }

    /// Fails the next `op` for lack of space.
    #[must_use]
    pub fn no_space(op: Op) -> Self {
        Self::error(op, |path| BackendError::NoSpace { path: path.to_owned() })
    }

    /// Fails the next `op` with an I/O error.
    #[must_use]
    pub fn io(op: Op) -> Self {
        Self::error(op, |path| BackendError::Io { op: "injected fault", path: path.to_owned(), source: std::io::Error::other("injected") })
    }

    /// Calls `hook` at the next `op`, which then goes on.
    pub fn hook(op: Op, hook: impl Fn(Op, &str) + Send + Sync + 'static) -> Self {
        Self { op, path: None, skip: 0, times: 1, when: When::Before, error: None, hook: Some(Arc::new(hook)) }
    }

    /// Only for this path (share-relative, `/` between components), without regard to case.
    #[must_use]
    pub fn on(mut self, path: &str) -> Self {
        self.path = Some(path.to_owned());
        self
    }

    /// Lets the first `count` operations that fit pass.
    #[must_use]
    pub fn after_passing(mut self, count: u32) -> Self {
        self.skip = count;
        self
    }

    /// Applies to that many operations instead of one.
    #[must_use]
    pub fn times(mut self, count: u32) -> Self {
        self.times = count;
        self
    }

    /// Lets the operation happen first.
    #[must_use]
    pub fn when(mut self, when: When) -> Self {
        self.when = when;
        self
    }
}

#[derive(Default)]
struct Script {
    faults: Mutex<VecDeque<Fault>>,
}

impl Script {
    /// The fault that applies to this operation now.
    fn take(&self, op: Op, path: &str) -> Option<Fault> {
        let mut faults = self.faults.lock();
        let fits = |f: &Fault| f.op == op && f.times > 0 && f.path.as_deref().is_none_or(|p| crate::name::eq_ignore_case(p, path));
        let at = faults.iter().position(fits)?;
        let fault = faults.get_mut(at)?;
        if fault.skip > 0 {
            fault.skip -= 1;
            return None;
        }
        fault.times -= 1;
        let taken = fault.clone();
        if taken.times == 0 {
            faults.remove(at);
        }
        Some(taken)
    }

    fn run<T>(&self, op: Op, path: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let Some(fault) = self.take(op, path) else { return work() };
        let hook = || {
            if let Some(hook) = &fault.hook {
                hook(op, path);
            }
        };
        match (fault.when, &fault.error) {
            (When::Before, error) => {
                hook();
                match error {
                    Some(error) => Err(error(path)),
                    None => work(),
                }
            }
            (When::After, error) => {
                let done = work()?;
                hook();
                match error {
                    Some(error) => Err(error(path)),
                    None => Ok(done),
                }
            }
        }
    }
}

/// The fault-injecting backend.
#[derive(Clone)]
pub struct FaultyBackend {
    inner: Arc<dyn Backend>,
    script: Arc<Script>,
}

impl fmt::Debug for FaultyBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyBackend").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl FaultyBackend {
    /// Wraps `inner`; without faults it behaves as that.
    #[must_use]
    pub fn new(inner: Arc<dyn Backend>) -> Self {
        Self { inner, script: Arc::default() }
    }

    /// Adds a fault behind those that wait.
    pub fn inject(&self, fault: Fault) {
        self.script.faults.lock().push_back(fault);
    }

    /// Forgets all faults.
    pub fn heal(&self) {
        self.script.faults.lock().clear();
    }

    /// How many faults have not happened yet.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.script.faults.lock().len()
    }

    fn wrap(&self, opened: Opened, path: String) -> Opened {
        let file = FaultyFile { inner: opened.file, script: self.script.clone(), path };
        Opened { file: Arc::new(file), ..opened }
    }
}

impl Backend for FaultyBackend {
    fn volume(&self) -> Result<VolumeInfo> {
        self.script.run(Op::Volume, "", || self.inner.volume())
    }

    fn descriptor_store(&self) -> DescriptorStore {
        self.inner.descriptor_store()
    }

    fn security(&self, path: &RelPath) -> Result<Security> {
        self.script.run(Op::Security, path.as_str(), || self.inner.security(path))
    }

    fn security_on_the_way(&self, path: &RelPath) -> Result<Vec<Security>> {
        self.script.run(Op::Security, path.as_str(), || self.inner.security_on_the_way(path))
    }

    fn lookup(&self, path: &RelPath) -> Result<Entry> {
        self.script.run(Op::Lookup, path.as_str(), || self.inner.lookup(path))
    }

    fn open(&self, path: &RelPath, how: &OpenHow) -> Result<Opened> {
        let opened = self.script.run(Op::Open, path.as_str(), || self.inner.open(path, how))?;
        Ok(self.wrap(opened, path.as_str().to_owned()))
    }

    fn open_stream(&self, path: &RelPath, stream: &str, how: &OpenHow) -> Result<Opened> {
        let shown = format!("{}:{stream}", path.as_str());
        let opened = self.script.run(Op::Open, &shown, || self.inner.open_stream(path, stream, how))?;
        Ok(self.wrap(opened, shown))
    }

    fn streams(&self, path: &RelPath) -> Result<Vec<StreamInfo>> {
        self.script.run(Op::Stream, path.as_str(), || self.inner.streams(path))
    }

    fn remove_stream(&self, path: &RelPath, stream: &str, stability: Stability) -> Result<()> {
        self.script.run(Op::Stream, path.as_str(), || self.inner.remove_stream(path, stream, stability))
    }

    fn rename_stream(&self, path: &RelPath, from: &str, to: &str, replace: bool) -> Result<()> {
        self.script.run(Op::Stream, path.as_str(), || self.inner.rename_stream(path, from, to, replace))
    }

    fn rename(&self, from: &RelPath, to: &RelPath, replace: bool, stability: Stability) -> Result<()> {
        self.script.run(Op::Rename, from.as_str(), || self.inner.rename(from, to, replace, stability))
    }

    fn link(&self, from: &RelPath, to: &RelPath, replace: bool, stability: Stability) -> Result<()> {
        self.script.run(Op::Link, from.as_str(), || self.inner.link(from, to, replace, stability))
    }

    fn unlink(&self, path: &RelPath, expected: Option<FileKey>, stability: Stability) -> Result<()> {
        self.script.run(Op::Remove, path.as_str(), || self.inner.unlink(path, expected, stability))
    }

    fn remove_dir(&self, path: &RelPath, expected: Option<FileKey>, stability: Stability) -> Result<()> {
        self.script.run(Op::Remove, path.as_str(), || self.inner.remove_dir(path, expected, stability))
    }

    fn is_dir_empty(&self, path: &RelPath) -> Result<bool> {
        self.script.run(Op::List, path.as_str(), || self.inner.is_dir_empty(path))
    }

    fn sync_dir(&self, path: &RelPath) -> Result<()> {
        self.script.run(Op::SyncDir, path.as_str(), || self.inner.sync_dir(path))
    }
}

/// An open file of the fault-injecting backend.
#[derive(Clone)]
struct FaultyFile {
    inner: Arc<dyn BackendFile>,
    script: Arc<Script>,
    path: String,
}

impl fmt::Debug for FaultyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyFile").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl FaultyFile {
    fn run<T>(&self, op: Op, work: impl FnOnce() -> Result<T>) -> Result<T> {
        self.script.run(op, &self.path, work)
    }
}

impl BackendFile for FaultyFile {
    fn key(&self) -> FileKey {
        self.inner.key()
    }

    fn kind(&self) -> FileKind {
        self.inner.kind()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        self.run(Op::Read, || self.inner.read_at(offset, buffer))
    }

    fn read_onto(&self, offset: u64, length: usize, out: &mut Vec<u8>) -> Result<usize> {
        self.run(Op::Read, || self.inner.read_onto(offset, length, out))
    }

    fn write_at(&self, offset: u64, data: &[u8], stability: Stability) -> Result<()> {
        self.run(Op::Write, || self.inner.write_at(offset, data, stability))
    }

    fn append(&self, data: &[u8], stability: Stability) -> Result<u64> {
        self.run(Op::Write, || self.inner.append(data, stability))
    }

    fn flush(&self) -> Result<()> {
        self.run(Op::Flush, || self.inner.flush())
    }

    fn set_len(&self, size: u64) -> Result<()> {
        self.run(Op::Resize, || self.inner.set_len(size))
    }

    fn allocate(&self, bytes: u64) -> Result<()> {
        self.run(Op::Resize, || self.inner.allocate(bytes))
    }

    fn overwrite(&self, with: &Overwrite, stability: Stability) -> Result<()> {
        self.run(Op::Overwrite, || self.inner.overwrite(with, stability))
    }

    fn metadata(&self) -> Result<Metadata> {
        self.run(Op::Metadata, || self.inner.metadata())
    }

    fn set_basic(&self, set: &SetBasic) -> Result<()> {
        self.run(Op::SetBasic, || self.inner.set_basic(set))
    }

    fn names(&self) -> Result<Vec<String>> {
        self.run(Op::List, || self.inner.names())
    }

    fn entry(&self, name: &str) -> Result<Option<DirEntry>> {
        self.run(Op::List, || self.inner.entry(name))
    }

    fn security(&self) -> Result<Security> {
        self.run(Op::Security, || self.inner.security())
    }

    fn set_security_descriptor(&self, descriptor: &[u8]) -> Result<()> {
        self.run(Op::Security, || self.inner.set_security_descriptor(descriptor))
    }

    fn set_owner(&self, uid: Option<u32>, gid: Option<u32>, mode: Option<u32>) -> Result<()> {
        self.run(Op::Security, || self.inner.set_owner(uid, gid, mode))
    }

    fn eas(&self) -> Result<Vec<Ea>> {
        self.run(Op::Ea, || self.inner.eas())
    }

    fn set_eas(&self, eas: &[Ea]) -> Result<()> {
        self.run(Op::Ea, || self.inner.set_eas(eas))
    }

    fn streams(&self) -> Result<Vec<StreamInfo>> {
        self.run(Op::Stream, || self.inner.streams())
    }

    fn zero_range(&self, range: Range) -> Result<()> {
        self.run(Op::Ranges, || self.inner.zero_range(range))
    }

    fn allocated_ranges(&self, range: Range, limit: usize) -> Result<Vec<Range>> {
        self.run(Op::Ranges, || self.inner.allocated_ranges(range, limit))
    }

    fn set_sparse(&self, sparse: bool) -> Result<()> {
        self.run(Op::Ranges, || self.inner.set_sparse(sparse))
    }

    fn copy_from(&self, offset: u64, source: &dyn BackendFile, source_offset: u64, length: u64) -> Result<u64> {
        // The inner backend must see its own kind of file to share blocks.
        let source = source.as_any().downcast_ref::<Self>().map_or(source, |s| s.inner.as_ref());
        self.run(Op::Copy, || self.inner.copy_from(offset, source, source_offset, length))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
