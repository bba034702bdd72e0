//! The long arguments: CREATE as the model sees it, and the reconnect contexts.

use serde::{Deserialize, Serialize};
use smb_types::{AccessMask, ClientGuid, CreateGuid, CreateOptions, FileAttributes, LeaseKey, LeaseState, OplockLevel, ShareAccess, Sid};

use crate::id::{FileKey, Incarnation, NodeId, OpenId, SessionId, ShareId};
use crate::record::AppInstance;

/// RqLs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RequestedLease {
    /// LeaseKey.
    pub key: LeaseKey,
    /// LeaseState.
    pub state: LeaseState,
    /// ParentLeaseKey, when its flag is set.
    pub parent_key: Option<LeaseKey>,
    /// Epoch (0 in version 1).
    pub epoch: u16,
    /// 1 or 2.
    pub version: u8,
}

/// What the client asks to cache.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum RequestedOplock {
    /// Nothing.
    #[default]
    None,
    /// A plain oplock.
    Level(OplockLevel),
    /// A lease.
    Lease(RequestedLease),
}

/// What the client asks about disconnections. The node has already checked capabilities and dialect.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum RequestedDurability {
    /// Nothing.
    #[default]
    None,
    /// DHnQ.
    V1,
    /// DH2Q.
    V2 {
        /// 0: the server's default.
        timeout_ms: u32,
    },
    /// DH2Q with the persistent flag (the connection has the capability). On a share that is not CA it counts as V2.
    Persistent {
        /// 0: the share's default.
        timeout_ms: u32,
    },
}

/// A CREATE whose name, path and access have been checked by the node.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OpenRequest {
    /// The node that serves it.
    pub node: NodeId,
    /// Its life.
    pub incarnation: Incarnation,
    /// The session.
    pub session: SessionId,
    /// The share.
    pub share: ShareId,
    /// The client machine.
    pub client_guid: ClientGuid,
    /// CreateGuid of DH2Q.
    pub create_guid: Option<CreateGuid>,
    /// The user.
    pub user: Sid,
    /// The file; None: there is none yet (ReserveOpen only).
    pub file: Option<FileKey>,
    /// Path in the share.
    pub path: String,
    /// A directory.
    pub is_directory: bool,
    /// As in the request.
    pub desired_access: AccessMask,
    /// As the security descriptor allows.
    pub granted_access: AccessMask,
    /// As in the request.
    pub share_access: ShareAccess,
    /// As in the request; DELETE_ON_CLOSE is taken from here.
    pub create_options: CreateOptions,
    /// As in the request.
    pub file_attributes: FileAttributes,
    /// Existing data is thrown away (SUPERSEDE, OVERWRITE, OVERWRITE_IF on an existing file).
    pub overwrites: bool,
    /// Oplock or lease.
    pub oplock: RequestedOplock,
    /// Durable, persistent or neither.
    pub durability: RequestedDurability,
    /// AppInstanceId and version.
    pub app_instance: Option<AppInstance>,
    /// SMB2_FLAGS_REPLAY_OPERATION.
    pub replay: bool,
    /// Dialect 3.x.
    pub dialect_3x: bool,
}

/// Which reconnect context.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ReclaimKind {
    /// DHnC.
    V1,
    /// DH2C.
    V2 {
        /// CreateGuid.
        create_guid: CreateGuid,
        /// Flag 0x2.
        persistent: bool,
        /// The share is CA and the connection has the capability: the open may also be found by CreateGuid.
        by_create_guid: bool,
    },
}

/// RqLs beside a reconnect context.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ReclaimLease {
    /// LeaseKey.
    pub key: LeaseKey,
    /// 1 or 2.
    pub version: u8,
    /// The client's own count of state changes.
    pub epoch: u16,
}

/// A CREATE with DHnC or DH2C; the combination rules were checked by the node.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ReclaimRequest {
    /// The node that serves it.
    pub node: NodeId,
    /// Its life.
    pub incarnation: Incarnation,
    /// The new session.
    pub session: SessionId,
    /// The share.
    pub share: ShareId,
    /// The client machine.
    pub client_guid: ClientGuid,
    /// The user.
    pub user: Sid,
    /// FileId.Persistent.
    pub open: OpenId,
    /// DHnC or DH2C.
    pub kind: ReclaimKind,
    /// RqLs, if present.
    pub lease: Option<ReclaimLease>,
    /// The name in the request; compared with the lease's.
    pub path: String,
}
