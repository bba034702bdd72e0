//! TreeConnect: a session's use of a share (MS-SMB2 3.3.1.9).

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use smb_types::AccessMask;

use super::share::Share;

/// One tree connect.
#[derive(Debug)]
pub struct TreeConnect {
    /// TreeConnect.TreeId, unique in the session.
    pub tree_id: u32,
    /// TreeConnect.Share, as it was at the connect.
    pub share: Arc<Share>,
    /// TreeConnect.MaximalAccess.
    pub maximal_access: AccessMask,
    /// Requests on this tree must be encrypted.
    pub encrypt_data: bool,
    /// Since when.
    pub connected_at: Instant,
    gone: AtomicBool,
}

impl TreeConnect {
    /// A new tree connect.
    #[must_use]
    pub fn new(tree_id: u32, share: Arc<Share>, maximal_access: AccessMask, encrypt_data: bool, connected_at: Instant) -> Self {
        Self { tree_id, share, maximal_access, encrypt_data, connected_at, gone: AtomicBool::new(false) }
    }

    /// Marks the tree as disconnected; requests under way that open something must give it up again.
    pub fn disconnect(&self) {
        self.gone.store(true, Ordering::Release);
    }

    /// Tells whether the tree was disconnected.
    #[must_use]
    pub fn is_disconnected(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }
}
