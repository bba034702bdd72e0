//! Share: the local side of a share record, with the file system below it (MS-SMB2 3.3.1.6).

use std::sync::Arc;

use persistence_model::{FileKey, ShareId};
use smb_backend::Backend;

/// What kind of thing a share gives.
#[derive(Debug, Clone)]
pub enum ShareKind {
    /// Files.
    Disk(Arc<dyn Backend>),
    /// IPC$: named pipes.
    Pipe,
}

/// A share as this node serves it. Replaced, not changed, when its record changes.
#[derive(Debug, Clone)]
pub struct Share {
    /// The record's id. 0 for IPC$.
    pub share_id: ShareId,
    /// Names the file system's root: shares of one directory arbitrate against each other, and every node says the same.
    pub volume: u64,
    /// The name as configured.
    pub name: String,
    /// Files or pipes.
    pub kind: ShareKind,
    /// Share.IsCA.
    pub is_ca: bool,
    /// Announced as SCALEOUT: no more than R leases.
    pub is_scaleout: bool,
    /// One node owns it: clients on others are told to go there.
    pub is_asymmetric: bool,
    /// Share.EncryptData.
    pub encrypt_data: bool,
}

impl Share {
    /// The file system.
    #[must_use]
    pub fn backend(&self) -> Option<&Arc<dyn Backend>> {
        match &self.kind {
            ShareKind::Disk(backend) => Some(backend),
            ShareKind::Pipe => None,
        }
    }

    /// The name under which the records know a file of this share.
    #[must_use]
    pub fn file_key(&self, key: smb_backend::FileKey) -> FileKey {
        FileKey { volume: self.volume, inode: key.inode, generation: key.generation, stream: key.stream }
    }

    /// Tells whether this is IPC$.
    #[must_use]
    pub fn is_ipc(&self) -> bool {
        matches!(self.kind, ShareKind::Pipe)
    }
}
