//! Delivers lease and oplock breaks to the client that holds the rights (MS-SMB2 3.3.4.6, 3.3.4.7).

use std::sync::Arc;

use persistence_model::{FileKey, LeaseId, OpenId, SessionId};
use smb_types::{LeaseState, OplockLevel};

use crate::state::Server;

/// A lease break to deliver.
#[derive(Debug, Clone, Copy)]
pub struct LeaseBreak {
    /// Which lease.
    pub lease: LeaseId,
    /// Which file.
    pub file: FileKey,
    /// Before.
    pub current: LeaseState,
    /// After.
    pub new: LeaseState,
    /// NewEpoch.
    pub epoch: u16,
    /// The client must acknowledge.
    pub ack_required: bool,
}

/// Delivers a lease break on any channel of the client.
pub(crate) async fn lease_break(_server: Arc<Server>, _notice: LeaseBreak) {}

/// Delivers an oplock break on any channel of the open's session.
pub(crate) async fn oplock_break(_server: Arc<Server>, _open: OpenId, _session: SessionId, _level: OplockLevel, _ack_required: bool) {}
