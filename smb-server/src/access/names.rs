//! The names below a share's root. What a name leads to is reached, opened, made, renamed, linked or removed only with a value that says who
//! has decided that it may be: these values are made in this room, and nowhere else.
//!
//! Decides nothing. All calls block.

use std::sync::Arc;

use persistence_model::{Open as OpenRecord, PendingDelete};
use smb_backend::{
    Backend, BackendError, BackendFile, CreateArgs, DescriptorStore, Entry, FileKey, FileKind, Metadata, MustBe, OpenHow, RelPath,
    Security, Stability, StoredDescriptor, StreamInfo, UnixOwner, VolumeInfo, Want,
};
use smb_proto::security::SecurityDescriptor;
use smb_types::{AccessMask, CreateDisposition};

/// The file system under a share, without a way to touch a name that was not asked for.
#[derive(Debug)]
pub(crate) struct Names {
    backend: Arc<dyn Backend>,
}

/// A path that a client may speak of: nothing on the way to it is closed to that client. Says nothing of what is there.
#[derive(Debug, Clone)]
pub(crate) struct Reached {
    pub(super) path: RelPath,
    pub(super) parent: Option<Parent>,
}

/// What was decided about the directory that holds a path.
#[derive(Debug, Clone)]
pub(super) struct Parent {
    /// What its descriptor gives, privileges included, whatever the share allows.
    pub(super) rights: AccessMask,
    /// Names in it are removed by their owners only.
    pub(super) is_sticky: bool,
    /// What it hands down.
    pub(super) descriptor: SecurityDescriptor,
}

impl Reached {
    /// The path.
    pub(crate) fn path(&self) -> &RelPath {
        &self.path
    }
}

/// A file that is open and was not asked about yet: it tells who it is and no more.
#[derive(Debug)]
pub(crate) struct Unproven {
    pub(super) file: Arc<dyn BackendFile>,
    pub(super) path: RelPath,
}

impl Unproven {
    /// Who it is.
    pub(crate) fn key(&self) -> FileKey {
        self.file.key()
    }

    /// Tells whether it was being made when its node died: it has no descriptor yet, and bits that let nobody in.
    pub(crate) fn is_unfinished(&self) -> Result<bool, BackendError> {
        let security = self.file.security()?;
        Ok(security.stored == StoredDescriptor::None && security.mode == 0)
    }
}

/// A file that its client may open with these rights.
#[derive(Debug, Clone)]
pub(crate) struct Allowed {
    /// The open file.
    pub(crate) file: Arc<dyn BackendFile>,
    /// The path as spelled on disk.
    pub(crate) path: RelPath,
    /// The rights of the open.
    pub(crate) granted: AccessMask,
    /// The most that the client could have had.
    pub(crate) maximal: AccessMask,
}

/// The right to make a file, directory or stream, with what it gets.
#[derive(Debug, Clone)]
pub(crate) struct MayCreate {
    pub(super) path: RelPath,
    pub(super) stream: Option<String>,
    pub(super) kind: FileKind,
    pub(super) descriptor: Option<Vec<u8>>,
    pub(super) owner: Option<UnixOwner>,
    pub(super) mode: Option<u32>,
    pub(super) granted: AccessMask,
    pub(super) maximal: AccessMask,
}

impl MayCreate {
    /// File or directory.
    pub(crate) fn kind(&self) -> FileKind {
        self.kind
    }

    /// The rights of the open that makes it.
    pub(crate) fn granted(&self) -> AccessMask {
        self.granted
    }
}

/// The right to give a file another name, and to replace what has it.
#[derive(Debug)]
pub(crate) struct MayRename {
    pub(super) from: RelPath,
    pub(super) to: RelPath,
    pub(super) replace: bool,
}

/// The right to give a file one more name, and to replace what has it.
#[derive(Debug)]
pub(crate) struct MayLink {
    pub(super) from: RelPath,
    pub(super) to: RelPath,
    pub(super) replace: bool,
}

/// The right to give a stream another name, and to replace what has it.
#[derive(Debug)]
pub(crate) struct MayRenameStream {
    pub(super) path: RelPath,
    pub(super) from: String,
    pub(super) to: String,
    pub(super) replace: bool,
}

impl Names {
    /// Over a backend, which is reached through this alone from now on.
    pub(crate) fn new(backend: Arc<dyn Backend>) -> Self {
        Self { backend }
    }

    /// Tells about the volume.
    pub(crate) fn volume(&self) -> Result<VolumeInfo, BackendError> {
        self.backend.volume()
    }

    /// Where security descriptors are kept.
    pub(crate) fn descriptor_store(&self) -> DescriptorStore {
        self.backend.descriptor_store()
    }

    /// Looks a name up.
    pub(crate) fn lookup(&self, at: &Reached) -> Result<Entry, BackendError> {
        self.backend.lookup(&at.path)
    }

    /// Lists the named streams of a file or directory.
    pub(crate) fn streams(&self, at: &Reached) -> Result<Vec<StreamInfo>, BackendError> {
        self.backend.streams(&at.path)
    }

    /// Metadata of a named stream.
    pub(crate) fn stream_metadata(&self, at: &Reached, stream: &str) -> Result<Metadata, BackendError> {
        let how = OpenHow { must_be: MustBe::File, ..OpenHow::existing(Want::PATH_ONLY) };
        Ok(self.backend.open_stream(&at.path, stream, &how)?.metadata)
    }

    /// Tells whether a directory has no entries.
    pub(crate) fn is_dir_empty(&self, at: &Reached) -> Result<bool, BackendError> {
        self.backend.is_dir_empty(&at.path)
    }

    /// Opens what exists, to be asked about.
    pub(crate) fn open(&self, at: &Reached, stream: Option<&str>, want: Want) -> Result<Unproven, BackendError> {
        self.open_at(&at.path, stream, want)
    }

    /// Opens the file of an open that the records have: its rights were decided when it was opened, and the records keep them.
    pub(crate) fn reopen(&self, record: &OpenRecord, path: &RelPath, stream: Option<&str>, want: Want) -> Result<Allowed, BackendError> {
        let Unproven { file, path } = self.open_at(path, stream, want)?;
        Ok(Allowed { file, path, granted: record.granted_access, maximal: record.granted_access })
    }

    fn open_at(&self, path: &RelPath, stream: Option<&str>, want: Want) -> Result<Unproven, BackendError> {
        let how = OpenHow::existing(want);
        let opened = match stream {
            Some(stream) => self.backend.open_stream(path, stream, &how)?,
            None => self.backend.open(path, &how)?,
        };
        Ok(Unproven { file: opened.file, path: opened.path })
    }

    /// Makes a file, directory or stream. `args` says what it gets besides whom it belongs to and who may do what with it.
    pub(crate) fn create(&self, may: &MayCreate, args: &CreateArgs, stability: Stability) -> Result<Allowed, BackendError> {
        let is_directory = may.kind == FileKind::Directory;
        let how = OpenHow {
            disposition: CreateDisposition::Create,
            must_be: if is_directory { MustBe::Directory } else { MustBe::File },
            want: if is_directory { Want::READ } else { Want::READ_WRITE },
            create: CreateArgs {
                kind: may.kind,
                security_descriptor: may.descriptor.clone(),
                owner: may.owner,
                mode: may.mode,
                ..args.clone()
            },
            stability,
        };
        let allowed = |file, path| Allowed { file, path, granted: may.granted, maximal: may.maximal };
        let Some(stream) = &may.stream else {
            let opened = self.backend.open(&may.path, &how)?;
            return Ok(allowed(opened.file, opened.path));
        };
        let base = OpenHow { disposition: CreateDisposition::OpenIf, must_be: MustBe::Either, want: Want::PATH_ONLY, ..how.clone() };
        let base = self.backend.open(&may.path, &base)?;
        let opened = self.backend.open_stream(&base.path, stream, &how)?;
        Ok(allowed(opened.file, base.path))
    }

    /// Gives a file that a CREATE had begun to make what that CREATE would have given it.
    pub(crate) fn finish_creation(&self, may: &MayCreate, file: &Unproven) -> Result<(), BackendError> {
        if let Some(descriptor) = &may.descriptor {
            file.file.set_security_descriptor(descriptor)?;
        }
        let (uid, gid) = (may.owner.map(|owner| owner.uid), may.owner.and_then(|owner| owner.gid));
        if uid.is_some() || gid.is_some() || may.mode.is_some() {
            file.file.set_owner(uid, gid, may.mode)?;
        }
        Ok(())
    }

    /// Renames.
    pub(crate) fn rename(&self, may: &MayRename, stability: Stability) -> Result<(), BackendError> {
        self.backend.rename(&may.from, &may.to, may.replace, stability)
    }

    /// Links.
    pub(crate) fn link(&self, may: &MayLink, stability: Stability) -> Result<(), BackendError> {
        self.backend.link(&may.from, &may.to, may.replace, stability)
    }

    /// Renames a stream.
    pub(crate) fn rename_stream(&self, may: &MayRenameStream) -> Result<(), BackendError> {
        self.backend.rename_stream(&may.path, &may.from, &may.to, may.replace)
    }

    /// Removes what the records say is to be removed: that was asked for when the file was marked.
    pub(crate) fn remove(
        &self,
        delete: &PendingDelete,
        path: &RelPath,
        stream: Option<&str>,
        expected: FileKey,
        stability: Stability,
    ) -> Result<(), BackendError> {
        match stream {
            Some(stream) => self.backend.remove_stream(path, stream, stability),
            None if delete.is_directory => self.backend.remove_dir(path, Some(expected), stability),
            None => self.backend.unlink(path, Some(expected), stability),
        }
    }

    /// For decisions: what is kept about the rights to a name.
    pub(super) fn security(&self, path: &RelPath) -> Result<Security, BackendError> {
        self.backend.security(path)
    }

    /// For decisions: the same of the directories on the way.
    pub(super) fn security_on_the_way(&self, path: &RelPath) -> Result<Vec<Security>, BackendError> {
        self.backend.security_on_the_way(path)
    }
}
