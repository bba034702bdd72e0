//! An open file, directory or stream in memory.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use parking_lot::MutexGuard;
use smb_types::FileAttributes;

use super::data::Data;
use super::{Contents, Inode, Volume, set_eas};
use crate::api::copy_through;
use crate::meta::{STORED_ATTRIBUTES, visible_attributes};
use crate::xname::{self, STREAM_BYTES_MAX};
use crate::{
    BackendError, BackendFile, DirEntry, Ea, FileKey, FileKind, Metadata, Overwrite, Range, Result, Security, SetBasic, Stability,
    StreamInfo, Want, name,
};

const OFFSET_MAX: u64 = i64::MAX as u64;

/// An open file of the memory backend.
pub(super) struct MemoryFile {
    volume: Arc<Volume>,
    inode: Arc<Inode>,
    path: String,
    /// The stream as stored; None for the unnamed one.
    stream: Option<String>,
    want: Want,
}

impl fmt::Debug for MemoryFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryFile").field("path", &self.path).field("stream", &self.stream).finish_non_exhaustive()
    }
}

impl MemoryFile {
    pub(super) fn new(volume: Arc<Volume>, inode: Arc<Inode>, path: String, stream: Option<String>, want: Want) -> Self {
        Self { volume, inode, path, stream, want }
    }

    fn check_file(&self) -> Result<()> {
        if self.kind() == FileKind::Directory {
            return Err(BackendError::IsADirectory { path: self.path.clone() });
        }
        Ok(())
    }

    fn check(&self, allowed: bool) -> Result<()> {
        self.check_file()?;
        if allowed { Ok(()) } else { Err(BackendError::AccessDenied { path: self.path.clone() }) }
    }

    fn check_directory(&self) -> Result<()> {
        if self.kind() == FileKind::File {
            return Err(BackendError::NotADirectory { path: self.path.clone() });
        }
        Ok(())
    }

    fn bounded(&self, offset: u64, length: u64) -> Result<u64> {
        let (max, what) = if self.stream.is_some() { (STREAM_BYTES_MAX, "stream") } else { (OFFSET_MAX, "file") };
        offset.checked_add(length).filter(|end| *end <= max).ok_or_else(|| BackendError::TooLarge { path: self.path.clone(), what })
    }

    /// The bytes this open means.
    fn data<'a>(&self, contents: &'a mut MutexGuard<'_, Contents>) -> Result<&'a mut Data> {
        match &self.stream {
            None => Ok(&mut contents.data),
            Some(s) => contents.streams.get_mut(s).ok_or_else(|| BackendError::NotFound { path: format!("{}:{s}", self.path) }),
        }
    }

    /// Changes the bytes, and with them the times.
    fn change<T>(&self, change: impl FnOnce(&mut Data) -> Result<T>) -> Result<T> {
        let now = (self.volume.clock)();
        let mut contents = self.inode.contents.lock();
        let done = change(self.data(&mut contents)?)?;
        if self.stream.is_none() {
            contents.last_write = now;
        }
        contents.change = now;
        Ok(done)
    }

    fn no_space(&self) -> BackendError {
        BackendError::NoSpace { path: self.path.clone() }
    }

    fn touch(&self) {
        let now = (self.volume.clock)();
        self.inode.contents.lock().change = now;
    }
}

impl BackendFile for MemoryFile {
    fn key(&self) -> FileKey {
        match &self.stream {
            None => self.inode.key,
            Some(s) => self.inode.key.with_stream(s),
        }
    }

    fn kind(&self) -> FileKind {
        if self.stream.is_some() { FileKind::File } else { self.inode.kind }
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        self.check(self.want.read)?;
        let mut contents = self.inode.contents.lock();
        Ok(self.data(&mut contents)?.read(offset, buffer))
    }

    fn write_at(&self, offset: u64, data: &[u8], _stability: Stability) -> Result<()> {
        self.check(self.want.write)?;
        self.bounded(offset, data.len() as u64)?;
        self.change(|d| if d.write(&self.volume.budget, offset, data) { Ok(()) } else { Err(self.no_space()) })
    }

    fn append(&self, data: &[u8], _stability: Stability) -> Result<u64> {
        self.check(self.want.write)?;
        self.change(|d| {
            let end = d.size();
            self.bounded(end, data.len() as u64)?;
            if d.write(&self.volume.budget, end, data) { Ok(end) } else { Err(self.no_space()) }
        })
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }

    fn set_len(&self, size: u64) -> Result<()> {
        self.check_file()?;
        self.bounded(size, 0)?;
        self.change(|d| {
            d.set_len(&self.volume.budget, size);
            Ok(())
        })
    }

    fn allocate(&self, bytes: u64) -> Result<()> {
        self.check_file()?;
        let mut contents = self.inode.contents.lock();
        if bytes < self.data(&mut contents)?.size() {
            drop(contents);
            return self.set_len(bytes);
        }
        Ok(())
    }

    fn overwrite(&self, with: &Overwrite, _stability: Stability) -> Result<()> {
        self.check_file()?;
        self.set_len(0)?;
        if self.stream.is_some() {
            return Ok(());
        }
        {
            let mut contents = self.inode.contents.lock();
            let streams = std::mem::take(&mut contents.streams);
            streams.into_values().for_each(|mut d| d.set_len(&self.volume.budget, 0));
            contents.eas.clear();
            contents.attributes = with.attributes & STORED_ATTRIBUTES;
        }
        set_eas(&self.inode, &with.eas, &self.path)
    }

    fn metadata(&self) -> Result<Metadata> {
        let base = self.inode.metadata();
        if self.stream.is_none() {
            return Ok(base);
        }
        let size = self.data(&mut self.inode.contents.lock())?.size();
        let attributes = visible_attributes(base.attributes, FileKind::File);
        Ok(Metadata { key: self.key(), kind: FileKind::File, size, allocation: size.next_multiple_of(8), attributes, ..base })
    }

    fn set_basic(&self, set: &SetBasic) -> Result<()> {
        let now = (self.volume.clock)();
        let mut contents = self.inode.contents.lock();
        if let Some(new) = set.attributes {
            contents.attributes = (new & STORED_ATTRIBUTES) | (contents.attributes & FileAttributes::SPARSE_FILE);
        }
        contents.creation = set.creation.unwrap_or(contents.creation);
        contents.last_access = set.last_access.unwrap_or(contents.last_access);
        contents.last_write = set.last_write.unwrap_or(contents.last_write);
        contents.change = now;
        Ok(())
    }

    fn names(&self) -> Result<Vec<String>> {
        self.check_directory()?;
        if !self.want.read {
            return Err(BackendError::AccessDenied { path: self.path.clone() });
        }
        Ok(self.inode.contents.lock().children.keys().cloned().collect())
    }

    fn entry(&self, name: &str) -> Result<Option<DirEntry>> {
        self.check_directory()?;
        if !name::is_speakable(name) {
            return Ok(None);
        }
        let child = self.inode.contents.lock().children.get(name).cloned();
        Ok(child.map(|c| DirEntry { name: name.to_owned(), metadata: c.metadata() }))
    }

    fn security(&self) -> Result<Security> {
        Ok(self.inode.security())
    }

    fn set_owner(&self, uid: Option<u32>, gid: Option<u32>, mode: Option<u32>) -> Result<()> {
        let mut contents = self.inode.contents.lock();
        contents.owner = (uid.unwrap_or(contents.owner.0), gid.unwrap_or(contents.owner.1));
        contents.mode = mode.map_or(contents.mode, |mode| mode & 0o7777);
        drop(contents);
        self.touch();
        Ok(())
    }

    fn set_security_descriptor(&self, descriptor: &[u8]) -> Result<()> {
        if descriptor.len() + 8 > xname::VALUE_BYTES_MAX {
            return Err(BackendError::TooLarge { path: self.path.clone(), what: "extended attribute" });
        }
        self.inode.contents.lock().descriptor = Some(descriptor.to_vec());
        self.touch();
        Ok(())
    }

    fn eas(&self) -> Result<Vec<Ea>> {
        Ok(self.inode.contents.lock().eas.iter().map(|(name, value)| Ea { name: name.clone(), value: value.clone() }).collect())
    }

    fn set_eas(&self, eas: &[Ea]) -> Result<()> {
        set_eas(&self.inode, eas, &self.path)?;
        self.touch();
        Ok(())
    }

    fn streams(&self) -> Result<Vec<StreamInfo>> {
        Ok(self.inode.streams())
    }

    fn zero_range(&self, range: Range) -> Result<()> {
        self.check(self.want.write)?;
        range.offset.checked_add(range.length).ok_or_else(|| BackendError::TooLarge { path: self.path.clone(), what: "file" })?;
        self.change(|d| {
            d.zero(&self.volume.budget, range);
            Ok(())
        })
    }

    fn allocated_ranges(&self, range: Range, limit: usize) -> Result<Vec<Range>> {
        self.check_file()?;
        let mut contents = self.inode.contents.lock();
        Ok(self.data(&mut contents)?.allocated(range, limit))
    }

    fn set_sparse(&self, sparse: bool) -> Result<()> {
        self.check_file()?;
        if self.stream.is_some() {
            return Err(BackendError::NotSupported { op: "a sparse stream", path: self.path.clone() });
        }
        let mut contents = self.inode.contents.lock();
        contents.attributes = contents.attributes.without(FileAttributes::SPARSE_FILE);
        if sparse {
            contents.attributes |= FileAttributes::SPARSE_FILE;
        }
        Ok(())
    }

    fn copy_from(&self, offset: u64, source: &dyn BackendFile, source_offset: u64, length: u64) -> Result<u64> {
        self.bounded(offset, length)?;
        copy_through(self, offset, source, source_offset, length)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
