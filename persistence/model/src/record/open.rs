//! An open (MS-SMB2 3.3.1.10): who has which file open, how, and what it was promised.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use smb_types::{AccessMask, ClientGuid, CreateGuid, CreateOptions, FileAttributes, Guid, OplockLevel, ShareAccess, Sid};

use crate::class::Class;
use crate::command::OpenRequest;
use crate::id::{FileKey, Incarnation, LeaseId, LogTime, NodeId, OpenId, SessionId, ShareId};
use crate::record::{ByteRangeLock, Few, LockSequences};

/// Access that touches no data and no handle: such an open neither breaks a lease nor keeps one from being granted.
pub const LEASE_STAT_ACCESS: AccessMask =
    AccessMask(AccessMask::READ_ATTRIBUTES.0 | AccessMask::WRITE_ATTRIBUTES.0 | AccessMask::READ_CONTROL.0 | AccessMask::SYNCHRONIZE.0);
/// The same for plain oplocks, which READ_CONTROL does break.
pub const OPLOCK_STAT_ACCESS: AccessMask =
    AccessMask(AccessMask::READ_ATTRIBUTES.0 | AccessMask::WRITE_ATTRIBUTES.0 | AccessMask::SYNCHRONIZE.0);

/// Where an open lives at present.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Owner {
    /// The node that serves it.
    pub node: NodeId,
    /// That node's life.
    pub incarnation: Incarnation,
    /// The session on it.
    pub session: SessionId,
}

/// A reservation, or the real thing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum OpenState {
    /// ReserveOpen was committed; the backend may or may not have been touched.
    Reserved,
    /// The client has, or may have, the handle.
    Open,
}

/// What an open was promised about disconnections.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub enum Durability {
    /// Ends with its connection.
    #[default]
    None,
    /// DHnQ.
    V1,
    /// DH2Q.
    V2,
    /// DH2Q with the persistent flag on a CA share.
    Persistent,
    /// FSCTL_LMR_REQUEST_RESILIENCY.
    Resilient,
}

/// CreateAction of the CREATE response.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub enum CreateAction {
    /// 0.
    Superseded,
    /// 1.
    #[default]
    Opened,
    /// 2.
    Created,
    /// 3.
    Overwritten,
}

impl CreateAction {
    /// The wire value.
    #[must_use]
    pub const fn to_wire(self) -> u32 {
        match self {
            Self::Superseded => 0,
            Self::Opened => 1,
            Self::Created => 2,
            Self::Overwritten => 3,
        }
    }
}

/// AppInstanceId and, on 3.1.1, its version: a virtual machine that moves between hosts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AppInstance {
    /// The application's name for itself.
    pub id: Guid,
    /// (high, low); higher ones win.
    pub version: Option<(u64, u64)>,
}

/// The session that an open had: who is to come back for it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Away {
    /// Since when. Its time counts from here.
    pub since: LogTime,
    /// The node that served it.
    pub node: NodeId,
    /// The user's name.
    pub user_name: Arc<str>,
    /// The client's address and port.
    pub client_address: Arc<str>,
}

/// A plain oplock of an open; leases are in the file's record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Oplock {
    /// Level held. While `breaking` this is the level before the break.
    pub level: OplockLevel,
    /// A break was announced and is not acknowledged.
    pub breaking: bool,
    /// The level announced.
    pub break_to: OplockLevel,
    /// The level that has become necessary since.
    pub break_wanted: OplockLevel,
    /// When the break is given up.
    pub break_deadline: Option<LogTime>,
}

/// An open or the reservation of one. A million of them are in memory: what is rarely set is boxed, what others have too is shared.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Open {
    /// FileId.Persistent.
    pub id: OpenId,
    /// Commit class of changes to this record.
    pub class: Class,
    /// Reserved or open.
    pub state: OpenState,
    /// The file; None only in a reservation for a file that did not exist.
    pub file: Option<FileKey>,
    /// Path in the share, as last known; shared with its lease.
    pub path: Arc<str>,
    /// Where a rename that was announced and not finished wants to bring it.
    pub pending_path: Option<Arc<str>>,
    /// The share.
    pub share: ShareId,
    /// Where it lives; None while its client is disconnected.
    pub owner: Option<Owner>,
    /// The client's name for the CREATE.
    pub create_guid: Option<CreateGuid>,
    /// The client machine.
    pub client_guid: ClientGuid,
    /// DurableOwner; shared with its session.
    pub user: Arc<Sid>,
    /// As in the request.
    pub desired_access: AccessMask,
    /// As granted.
    pub granted_access: AccessMask,
    /// What others may do meanwhile.
    pub share_access: ShareAccess,
    /// As in the request.
    pub create_options: CreateOptions,
    /// As in the request.
    pub file_attributes: FileAttributes,
    /// What the CREATE did; replays report the same.
    pub create_action: CreateAction,
    /// A directory.
    pub is_directory: bool,
    /// Plain oplock.
    pub oplock: Oplock,
    /// The lease it shares, if any.
    pub lease: Option<LeaseId>,
    /// What was promised about disconnections.
    pub durability: Durability,
    /// DurableOpenTimeout.
    pub timeout_ms: u64,
    /// Since when there is a handle, or the reservation of one.
    pub opened_at: LogTime,
    /// Set while its client is away.
    pub away: Option<Box<Away>>,
    /// Byte-range locks, in the order taken.
    pub locks: Few<ByteRangeLock>,
    /// LockSequenceArray: index to number, valid entries only.
    pub lock_sequences: LockSequences,
    /// AppInstanceId and version.
    pub app_instance: Option<Box<AppInstance>>,
    /// Its close marks the file for deletion.
    pub delete_on_close: bool,
    /// IsReplayEligible.
    pub replay_eligible: bool,
    /// The request, kept while reserved.
    pub request: Option<Box<OpenRequest>>,
}

impl Open {
    /// Tells whether it neither breaks leases nor keeps them from being granted.
    #[must_use]
    pub fn is_stat(&self) -> bool {
        self.granted_access.without(LEASE_STAT_ACCESS).is_empty()
    }

    /// Tells whether it keeps others from caching exclusively. READ_CONTROL does so, though it breaks no lease.
    // windows
    #[must_use]
    pub fn is_rival(&self) -> bool {
        !self.granted_access.without(OPLOCK_STAT_ACCESS).is_empty()
    }

    /// IsPersistent.
    #[must_use]
    pub fn is_persistent(&self) -> bool {
        self.durability == Durability::Persistent
    }

    /// Tells whether its client is away.
    #[must_use]
    pub fn is_detached(&self) -> bool {
        self.owner.is_none()
    }

    /// When its client's time is up; None while attached.
    #[must_use]
    pub fn expires_at(&self) -> Option<LogTime> {
        self.away.as_ref().map(|away| away.since.plus(self.timeout_ms))
    }

    /// Tells whether it is attached to this life of a node.
    #[must_use]
    pub fn is_owned_by(&self, incarnation: Incarnation) -> bool {
        self.owner.is_some_and(|o| o.incarnation == incarnation)
    }
}
