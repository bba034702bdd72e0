//! Share: the local side of a share record, with the file system below it (MS-SMB2 3.3.1.6).

use std::sync::Arc;

use persistence_model::{FileKey, ShareId};
use smb_backend::DescriptorStore;

use crate::access::{Names, ShareRules};

/// What kind of thing a share gives.
#[derive(Debug, Clone)]
pub(crate) enum ShareKind {
    /// Files, and what the share itself allows.
    Disk(Arc<Names>, Arc<ShareRules>),
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
    pub(crate) kind: ShareKind,
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
    /// The file system below it, as far as its names go.
    #[must_use]
    pub(crate) fn names(&self) -> Option<&Arc<Names>> {
        match &self.kind {
            ShareKind::Disk(names, _) => Some(names),
            ShareKind::Pipe => None,
        }
    }

    /// Where it keeps security descriptors; None for IPC$.
    #[must_use]
    pub fn descriptor_store(&self) -> Option<DescriptorStore> {
        self.names().map(|names| names.descriptor_store())
    }

    /// What the share itself allows.
    #[must_use]
    pub(crate) fn rules(&self) -> Option<&Arc<ShareRules>> {
        match &self.kind {
            ShareKind::Disk(_, rules) => Some(rules),
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
