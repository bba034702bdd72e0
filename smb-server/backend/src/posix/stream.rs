//! An open named stream: one extended attribute of its file, as Samba's `streams_xattr` keeps it (data and a closing zero byte).
//!
//! Each change rewrites the attribute under the file's lock; how large a stream may grow is up to the file system (ext4: one block
//! for all attributes of a file, XFS and most cluster file systems: 64 KiB each).

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use rustix::fs::Statx;

use super::file::PosixFile;
use super::node::{Node, key_of, stream_allocation};
use super::{Shared, sync_node};
use crate::api::copy_through;
use crate::disposition::{Decision, when_found, when_missing};
use crate::meta::visible_attributes;
use crate::xname::{self, STREAM_BYTES_MAX};
use crate::{
    BackendError, BackendFile, CreateAction, DirEntry, Ea, FileKey, FileKind, Metadata, OpenHow, Overwrite, Range, Result, Security,
    SetBasic, Stability, StreamInfo, Want,
};

/// The attribute that holds an open stream at the moment.
type Place = Mutex<String>;

/// The attributes that hold the open streams of this node, by file: who has a stream open follows it when it is renamed.
#[derive(Debug, Default)]
pub(super) struct OpenStreams(Mutex<BTreeMap<(FileKey, String), Weak<Place>>>);

impl OpenStreams {
    /// The place that all opens of a stream share.
    fn opened(&self, file: FileKey, xattr: String) -> Arc<Place> {
        let mut open = self.0.lock();
        let key = (file, xattr);
        if let Some(place) = open.get(&key).and_then(Weak::upgrade) {
            return place;
        }
        let place = Arc::new(Mutex::new(key.1.clone()));
        open.insert(key, Arc::downgrade(&place));
        place
    }

    /// A stream has moved to another attribute.
    pub(super) fn renamed(&self, file: FileKey, old: &str, new: &str) {
        let mut open = self.0.lock();
        let Some(place) = open.remove(&(file, old.to_owned())) else { return };
        if let Some(place) = place.upgrade() {
            new.clone_into(&mut place.lock());
        }
        open.insert((file, new.to_owned()), place);
    }

    /// Forgets a stream with its last open.
    fn closed(&self, file: FileKey, place: &Arc<Place>) {
        let mut open = self.0.lock();
        if Arc::strong_count(place) == 1 {
            let key = (file, place.lock().clone());
            if open.get(&key).is_some_and(|known| std::ptr::eq(known.as_ptr(), Arc::as_ptr(place))) {
                open.remove(&key);
            }
        }
    }
}

impl Drop for StreamFile {
    fn drop(&mut self) {
        self.shared.streams.closed(self.key.base(), &self.xattr);
    }
}

/// An open named stream.
#[derive(Debug)]
pub(super) struct StreamFile {
    shared: Arc<Shared>,
    /// The file it belongs to; security, times and EAs are that file's.
    base: PosixFile,
    key: FileKey,
    xattr: Arc<Mutex<String>>,
    path: String,
    want: Want,
}

impl StreamFile {
    pub(super) fn open(shared: Arc<Shared>, node: Node, stat: &Statx, stream: &str, how: &OpenHow) -> Result<(Self, CreateAction)> {
        let path = format!("{}:{stream}", node.path);
        let key = key_of(stat).with_stream(stream);
        let (xattr, action) = {
            let _guard = shared.lock(key.inode);
            match node.find_stream(stream)? {
                Some((xattr, _)) => match when_found(FileKind::File, false, how, &path)? {
                    Decision::Open => (xattr, CreateAction::Opened),
                    Decision::Overwrite(action) => {
                        node.set_xattr(&xattr, &[0])?;
                        (xattr, action)
                    }
                },
                None => {
                    when_missing(how, &path)?;
                    let xattr = xname::of_stream(stream, &path)?;
                    node.set_xattr(&xattr, &[0])?;
                    (xattr, CreateAction::Created)
                }
            }
        };
        if action != CreateAction::Opened {
            sync_node(&node, how.stability)?;
        }
        let want = if action == CreateAction::Created { Want::READ_WRITE } else { how.want };
        let xattr = shared.streams.opened(key_of(stat), xattr);
        let base = PosixFile::new(shared.clone(), node, stat);
        Ok((Self { shared, base, key, xattr, path, want }, action))
    }

    fn xattr(&self) -> String {
        self.xattr.lock().clone()
    }

    fn load(&self) -> Result<Vec<u8>> {
        let mut value = self.base.node.xattr(&self.xattr())?.ok_or_else(|| BackendError::NotFound { path: self.path.clone() })?;
        value.pop();
        Ok(value)
    }

    /// Changes the data under the lock.
    fn change<T>(&self, stability: Stability, change: impl FnOnce(&mut Vec<u8>) -> Result<T>) -> Result<T> {
        let done = {
            let _guard = self.shared.lock(self.key.inode);
            let mut data = self.load()?;
            let done = change(&mut data)?;
            data.push(0);
            self.base.node.set_xattr(&self.xattr(), &data)?;
            done
        };
        sync_node(&self.base.node, stability)?;
        Ok(done)
    }

    fn bounded(&self, end: Option<u64>) -> Result<usize> {
        match end {
            Some(end) if end <= STREAM_BYTES_MAX => Ok(usize::try_from(end).expect("at most 64 KiB")),
            _ => Err(BackendError::TooLarge { path: self.path.clone(), what: "stream" }),
        }
    }

    fn check_writable(&self) -> Result<()> {
        if self.want.write { Ok(()) } else { Err(BackendError::AccessDenied { path: self.path.clone() }) }
    }

    fn put(&self, stream: &mut Vec<u8>, offset: u64, data: &[u8]) -> Result<()> {
        let end = self.bounded(offset.checked_add(data.len() as u64))?;
        if data.is_empty() {
            return Ok(());
        }
        if stream.len() < end {
            stream.resize(end, 0);
        }
        stream[end - data.len()..end].copy_from_slice(data);
        Ok(())
    }
}

impl BackendFile for StreamFile {
    fn key(&self) -> FileKey {
        self.key
    }

    fn kind(&self) -> FileKind {
        FileKind::File
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        if !self.want.read {
            return Err(BackendError::AccessDenied { path: self.path.clone() });
        }
        let data = self.load()?;
        let rest = usize::try_from(offset).ok().and_then(|o| data.get(o..)).unwrap_or_default();
        let n = rest.len().min(buffer.len());
        buffer[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }

    fn write_at(&self, offset: u64, data: &[u8], stability: Stability) -> Result<()> {
        self.check_writable()?;
        self.change(stability, |stream| self.put(stream, offset, data))
    }

    fn append(&self, data: &[u8], stability: Stability) -> Result<u64> {
        self.check_writable()?;
        self.change(stability, |stream| {
            let end = stream.len() as u64;
            self.put(stream, end, data)?;
            Ok(end)
        })
    }

    fn flush(&self) -> Result<()> {
        self.base.flush()
    }

    fn set_len(&self, size: u64) -> Result<()> {
        let size = self.bounded(Some(size))?;
        self.change(Stability::Cached, |stream| {
            stream.resize(size, 0);
            Ok(())
        })
    }

    fn allocate(&self, bytes: u64) -> Result<()> {
        // Nothing can be reserved; only a cut has an effect.
        if bytes < self.load()?.len() as u64 { self.set_len(bytes) } else { Ok(()) }
    }

    fn overwrite(&self, _with: &Overwrite, stability: Stability) -> Result<()> {
        self.change(stability, |stream| {
            stream.clear();
            Ok(())
        })
    }

    fn metadata(&self) -> Result<Metadata> {
        let size = self.load()?.len() as u64;
        let base = self.base.metadata()?;
        let attributes = visible_attributes(base.attributes, FileKind::File);
        Ok(Metadata { key: self.key, kind: FileKind::File, size, allocation: stream_allocation(size), attributes, ..base })
    }

    fn set_basic(&self, set: &SetBasic) -> Result<()> {
        self.base.set_basic(set)
    }

    fn names(&self) -> Result<Vec<String>> {
        Err(BackendError::NotADirectory { path: self.path.clone() })
    }

    fn entry(&self, _name: &str) -> Result<Option<DirEntry>> {
        Err(BackendError::NotADirectory { path: self.path.clone() })
    }

    fn security(&self) -> Result<Security> {
        self.base.security()
    }

    fn set_security_descriptor(&self, descriptor: &[u8]) -> Result<()> {
        self.base.set_security_descriptor(descriptor)
    }

    fn set_owner(&self, uid: Option<u32>, gid: Option<u32>, mode: Option<u32>) -> Result<()> {
        self.base.set_owner(uid, gid, mode)
    }

    fn eas(&self) -> Result<Vec<Ea>> {
        self.base.eas()
    }

    fn set_eas(&self, eas: &[Ea]) -> Result<()> {
        self.base.set_eas(eas)
    }

    fn streams(&self) -> Result<Vec<StreamInfo>> {
        self.base.streams()
    }

    fn zero_range(&self, range: Range) -> Result<()> {
        self.check_writable()?;
        self.change(Stability::Cached, |stream| {
            let end = range.offset.saturating_add(range.length).min(stream.len() as u64);
            if range.offset < end {
                let (from, to) = (self.bounded(Some(range.offset))?, self.bounded(Some(end))?);
                stream[from..to].fill(0);
            }
            Ok(())
        })
    }

    fn allocated_ranges(&self, range: Range, limit: usize) -> Result<Vec<Range>> {
        let end = range.offset.saturating_add(range.length).min(self.load()?.len() as u64);
        if range.offset >= end || limit == 0 {
            return Ok(Vec::new());
        }
        Ok(vec![Range { offset: range.offset, length: end - range.offset }])
    }

    fn set_sparse(&self, _sparse: bool) -> Result<()> {
        Err(BackendError::NotSupported { op: "a sparse stream", path: self.path.clone() })
    }

    fn copy_from(&self, offset: u64, source: &dyn BackendFile, source_offset: u64, length: u64) -> Result<u64> {
        copy_through(self, offset, source, source_offset, length)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
