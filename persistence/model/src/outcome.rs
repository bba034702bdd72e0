//! What a command came to: the answer for its proposer.

use serde::{Deserialize, Serialize};
use smb_types::{LeaseState, NtStatus, OplockLevel, Sid};

use crate::event::Event;
use crate::id::{FileKey, Incarnation, LeaseId, NodeId, OpenId, SessionId, ShareId};
use crate::record::{CreateAction, Durability, PendingDelete};

/// The lease part of a CREATE response.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LeaseGrant {
    /// Client and key.
    pub id: LeaseId,
    /// Current state.
    pub state: LeaseState,
    /// For the version 2 context.
    pub epoch: u16,
    /// SMB2_LEASE_FLAG_BREAK_IN_PROGRESS.
    pub break_in_progress: bool,
    /// 1 or 2.
    pub version: u8,
}

/// The durable part of a CREATE response.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DurableGrant {
    /// V1, V2, Persistent or Resilient.
    pub kind: Durability,
    /// Timeout for the response.
    pub timeout_ms: u32,
}

/// An open as its client gets it. The full record is `State::open`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Grant {
    /// FileId.Persistent.
    pub open: OpenId,
    /// The file.
    pub file: FileKey,
    /// Where it is now.
    pub path: String,
    /// A rename was announced and never finished: look in the backend which name exists and propose RenameDone.
    pub pending_path: Option<String>,
    /// A directory.
    pub is_directory: bool,
    /// What the CREATE did (a replay says the same again; a reclaim says Opened).
    pub create_action: CreateAction,
    /// Plain oplock granted.
    pub oplock: OplockLevel,
    /// Lease, if one was asked for.
    pub lease: Option<LeaseGrant>,
    /// Durability, if granted.
    pub durable: Option<DurableGrant>,
}

/// Why a command that no client sent was not carried out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
pub enum Rejection {
    /// ClusterInit is missing.
    #[error("the cluster is not initialised")]
    NotInitialised,
    /// ClusterInit came twice.
    #[error("the cluster is initialised already")]
    AlreadyInitialised,
    /// No such node.
    #[error("no such node")]
    NoSuchNode,
    /// The proposer, or the life spoken of, is over. A node that is told so of itself must stop serving.
    #[error("that incarnation is not the node's present one, or it is down")]
    StaleIncarnation,
    /// Only nodes that are down can be removed.
    #[error("the node is not down")]
    NodeIsLive,
    /// No such session.
    #[error("no such session")]
    NoSuchSession,
    /// No such share.
    #[error("no such share")]
    NoSuchShare,
    /// No such user.
    #[error("no such user")]
    NoSuchUser,
    /// No such group.
    #[error("no such group")]
    NoSuchGroup,
    /// A group of every cluster.
    #[error("the group is built in: it can be filled and emptied, not removed")]
    BuiltIn,
    /// The number stands for another user or group.
    #[error("another account has this uid or gid already")]
    UnixIdTaken,
    /// A group would contain itself.
    #[error("the group would be a member of itself")]
    MemberOfItself,
    /// Name, id or token exists already.
    #[error("it exists already")]
    Exists,
    /// Empty, too long, or with a character that cannot be in it.
    #[error("the name is not valid")]
    InvalidName,
    /// Unknown, spent or expired.
    #[error("the join token is unknown, spent or expired")]
    TokenInvalid,
    /// No such lease, open or pending delete.
    #[error("no such record")]
    NoSuchRecord,
    /// The table is full.
    #[error("the limit is reached")]
    LimitReached,
    /// Every node is the same for this share: it has no owner that could change.
    #[error("the share has no owner: it is not asymmetric")]
    NotAsymmetric,
    /// Down, being drained, or no other one serves.
    #[error("no node that serves and is not being drained can own the share")]
    NoOwner,
    /// Somebody else was faster.
    #[error("the share has another owner by now")]
    OwnerChanged,
    /// Somebody else changed it in between.
    #[error("it was changed by somebody else at the same time")]
    Changed,
    /// Clients could not reach the node any more.
    #[error("a node must keep one address for its clients")]
    LastAddress,
    /// An operator has shut the client out.
    #[error("the client's address is blocked")]
    ClientBlocked,
    /// No such admin token.
    #[error("no such admin token")]
    NoSuchAdminToken,
    /// A number of the cluster's settings that makes no sense.
    #[error("lockout-threshold must be 0 (off) to 1000, lockout-minutes 1 to 10080 (a week)")]
    InvalidSetting,
}

/// The answer to a command.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Outcome {
    /// Carried out; nothing more to say.
    Done,
    /// Not carried out; nothing changed.
    Rejected(Rejection),
    /// The client gets this status.
    Refused(NtStatus),
    /// Breaks are under way: propose again after FileChanged of this file.
    MustWait {
        /// What to watch.
        file: FileKey,
    },
    /// NodeJoin.
    Joined {
        /// The node's new life.
        incarnation: Incarnation,
    },
    /// SessionOpen.
    SessionOpened {
        /// The previous session that was ended by it.
        ended: Option<SessionId>,
    },
    /// ShareAdd.
    ShareAdded {
        /// Its id.
        share: ShareId,
    },
    /// UserAdd.
    UserAdded {
        /// Its SID.
        sid: Sid,
    },
    /// GroupAdd.
    GroupAdded {
        /// Its SID.
        sid: Sid,
    },
    /// A new open.
    Opened(Grant),
    /// The place is taken: change the backend, then ConfirmOpen or AbortOpen.
    Reserved {
        /// The future open.
        open: OpenId,
        /// An earlier try of the same CREATE died after its reservation: what it was to create may exist already, and is its own.
        resumed: bool,
    },
    /// The CREATE had been carried out already; the open is attached to the asking session now.
    Replayed(Grant),
    /// A disconnected open is attached again.
    Reclaimed(Grant),
    /// The open is still attached to a node that nobody has declared dead: probe it, wait, propose again; meanwhile FILE_NOT_AVAILABLE.
    OwnerAlive {
        /// Which open.
        open: OpenId,
        /// Where.
        node: NodeId,
        /// That node's life.
        incarnation: Incarnation,
        /// The session it is attached to.
        session: SessionId,
    },
    /// CloseOpen.
    Closed {
        /// The proposer has to remove this from the backend, then DeleteDone.
        delete: Option<PendingDelete>,
    },
    /// Lock: all elements are held.
    LockGranted,
    /// Lock, Unlock: the lock sequence says that this request was carried out before.
    LockAlreadyDone,
    /// Lock: propose again after FileChanged of this file.
    LockConflict {
        /// What to watch.
        file: FileKey,
    },
    /// LeaseAck.
    LeaseAcked {
        /// What the client holds now.
        state: LeaseState,
    },
    /// OplockAck.
    OplockAcked {
        /// What the client holds now.
        level: OplockLevel,
    },
    /// DisconnectOpens.
    Disconnected {
        /// Closed for good.
        closed: Vec<OpenId>,
        /// Waiting for their client.
        detached: Vec<OpenId>,
        /// To remove by the proposer, then DeleteDone.
        deletes: Vec<PendingDelete>,
    },
    /// Expire.
    Expired {
        /// Opens past their timeout, now closed.
        opens: Vec<OpenId>,
        /// Breaks given up.
        breaks: u32,
    },
}

/// Everything that applying one command gave.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Applied {
    /// For the proposer.
    pub outcome: Outcome,
    /// For every node.
    pub events: Vec<Event>,
    /// Nodes other than the proposer that must have applied this before the outcome is acted upon, ascending.
    pub interested: Vec<NodeId>,
}
