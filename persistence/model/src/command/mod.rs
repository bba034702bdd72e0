//! The commands: every change of the shared state, one variant each.
//!
//! `by` is the incarnation of the node that proposes. A command about an open is refused with FILE_CLOSED when that open is not, or no longer, that incarnation's.

pub(crate) mod admin_token;
pub(crate) mod block;
pub(crate) mod caching;
mod class;
pub(crate) mod close;
pub(crate) mod cluster;
pub(crate) mod confirm;
pub(crate) mod delete;
pub(crate) mod disconnect;
pub(crate) mod durability;
pub(crate) mod ending;
pub(crate) mod expire;
pub(crate) mod group;
pub(crate) mod lock;
pub(crate) mod node;
pub(crate) mod open;
pub(crate) mod reclaim;
pub(crate) mod rename;
mod replay;
pub mod request;
pub(crate) mod session;
pub(crate) mod share;
pub(crate) mod token;
pub(crate) mod user;

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use smb_types::{ClientGuid, Guid, LeaseKey, LeaseState, OplockLevel, Sid};

use crate::class::Class;
use crate::codec::{FORMAT_OWNERS, FORMAT_PARTS, FORMAT_VERSION};
use crate::id::{FileKey, Incarnation, LeaseId, NodeId, OpenId, SessionId, ShareId};
use crate::record::{
    AdminToken, ByteRangeLock, ClusterSettings, CreateAction, LockSequence, Network, NodeAddresses, ShareSettings, UnixUser,
};

pub use request::{OpenRequest, ReclaimKind, ReclaimLease, ReclaimRequest, RequestedDurability, RequestedLease, RequestedOplock};

/// Why opens lose their session.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum DisconnectReason {
    /// The session's last connection is gone.
    ConnectionLost,
    /// LOGOFF, or a new session that names this one as its previous one.
    Logoff,
    /// TREE_DISCONNECT: these opens of the session are closed, whatever they were promised. The session stays.
    TreeDisconnect(Vec<OpenId>),
}

/// What an open is about to do to its file (MS-FSA 2.1.4.12).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum IoKind {
    /// READ or FLUSH.
    Read,
    /// WRITE.
    Write,
    /// End of file or allocation.
    SetSize,
    /// FSCTL_SET_ZERO_DATA.
    ZeroData,
    /// Byte-range lock; the Lock command does this by itself.
    Lock,
    /// Rename; RenameIntent does this by itself.
    Rename,
    /// Hard link or short name.
    Link,
    /// Delete disposition; SetDeletePending does this by itself.
    Delete,
    /// Security descriptor.
    Security,
}

/// What cannot be told that a break is on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum BreakTarget {
    /// A lease.
    Lease(LeaseId),
    /// An open with an oplock.
    Open(OpenId),
}

/// A change of the shared state.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Command {
    /// First command of all. → Done | Rejected
    ClusterInit {
        /// Name of the server all nodes form.
        net_name: String,
        /// ServerGuid.
        server_guid: Guid,
    },
    /// A node's process starts serving; its former life is dead by that. → Joined
    NodeJoin {
        /// Which node.
        node: NodeId,
        /// For people.
        name: String,
        /// Where to reach it.
        addresses: NodeAddresses,
        /// Differs after a reboot.
        boot_id: String,
    },
    /// A life of a node is over: fenced, its lease run out, or its port refused. → Done | Rejected
    NodeDown {
        /// Which node.
        node: NodeId,
        /// Which life; another one is not touched.
        incarnation: Incarnation,
    },
    /// Starts or ends the draining of a node. → Done | Rejected
    NodeDrain {
        /// Which node.
        node: NodeId,
        /// Drain, or serve again.
        on: bool,
    },
    /// Removes a node that is down. → Done | Rejected
    NodeRemove {
        /// Which node.
        node: NodeId,
    },
    /// A user has authenticated. → SessionOpened
    SessionOpen {
        /// The session's id, chosen by its node.
        session: SessionId,
        /// The node.
        node: NodeId,
        /// Its life.
        incarnation: Incarnation,
        /// The client machine.
        client_guid: ClientGuid,
        /// The user.
        user: Sid,
        /// For the operator.
        user_name: String,
        /// For the operator.
        client_address: String,
        /// PreviousSessionId: ended as by LOGOFF if it is the same user's.
        previous_session: Option<SessionId>,
    },
    /// Opens what exists and does not change it. → Opened | Replayed | Reserved{resumed} | MustWait | OwnerAlive | Refused
    OpenFile(Box<OpenRequest>),
    /// Takes the place of an open before the backend is changed (create, overwrite, supersede). → Reserved | Replayed | MustWait | OwnerAlive | Refused
    ReserveOpen(Box<OpenRequest>),
    /// The backend has done it. → Opened | MustWait (only if the file was unknown at the reservation) | Refused (the reservation is gone then)
    ConfirmOpen {
        /// The reservation.
        open: OpenId,
        /// The file as it is now.
        file: FileKey,
        /// What was done.
        create_action: CreateAction,
        /// It is a directory.
        is_directory: bool,
        /// Proposer.
        by: Incarnation,
    },
    /// The backend refused. → Done | Refused
    AbortOpen {
        /// The reservation.
        open: OpenId,
        /// Proposer.
        by: Incarnation,
    },
    /// CLOSE. → Closed | Refused
    CloseOpen {
        /// Which open.
        open: OpenId,
        /// Proposer.
        by: Incarnation,
    },
    /// The backend no longer has the file. → Done | Rejected
    DeleteDone {
        /// Which file.
        file: FileKey,
    },
    /// Sets or clears the delete disposition; breaks the H of others first. → Done | MustWait | Refused
    SetDeletePending {
        /// Through which open.
        open: OpenId,
        /// Delete, or not.
        on: bool,
        /// Proposer.
        by: Incarnation,
    },
    /// LOCK with lock elements, all or none. → LockGranted | LockAlreadyDone | LockConflict | Refused
    Lock {
        /// For which open.
        open: OpenId,
        /// The wished locks.
        elements: Vec<ByteRangeLock>,
        /// Conflict is LOCK_NOT_GRANTED rather than LockConflict.
        fail_immediately: bool,
        /// Checked and stored if given.
        sequence: Option<LockSequence>,
        /// Proposer.
        by: Incarnation,
    },
    /// LOCK with unlock elements, in order, up to the first that fails. → Done | LockAlreadyDone | Refused
    Unlock {
        /// For which open.
        open: OpenId,
        /// (offset, length), exactly as locked.
        ranges: Vec<(u64, u64)>,
        /// Checked and stored if given.
        sequence: Option<LockSequence>,
        /// Proposer.
        by: Incarnation,
    },
    /// Breaks what an operation of `by_open` makes untrue for other holders. → Done | MustWait
    BreakForIo {
        /// Which file.
        file: FileKey,
        /// Who is about to do it; its own lease is not broken. None: the server itself.
        by_open: Option<OpenId>,
        /// What.
        kind: IoKind,
    },
    /// Acknowledgement of a lease break. → LeaseAcked | Refused
    LeaseAck {
        /// The client machine.
        client_guid: ClientGuid,
        /// Its lease.
        key: LeaseKey,
        /// What the client keeps.
        state: LeaseState,
    },
    /// Acknowledgement of an oplock break. → OplockAcked | Refused
    OplockAck {
        /// Which open.
        open: OpenId,
        /// What the client keeps.
        level: OplockLevel,
        /// Proposer.
        by: Incarnation,
    },
    /// No connection is left over which a break could be announced. → Done | Rejected
    BreakUndeliverable {
        /// Lease or open.
        target: BreakTarget,
    },
    /// A rename is about to happen in the backend. → Done | MustWait | Refused
    RenameIntent {
        /// Through which open.
        open: OpenId,
        /// Where to, in the same share.
        new_path: String,
        /// ReplaceIfExists.
        replace: bool,
        /// What is there already.
        target: Option<FileKey>,
        /// Proposer.
        by: Incarnation,
    },
    /// The rename has happened, or has not. → Done | Refused
    RenameDone {
        /// Through which open.
        open: OpenId,
        /// It has.
        done: bool,
        /// Proposer.
        by: Incarnation,
    },
    /// An entry of a directory was added, removed, renamed or changed: breaks the directory's leases. → Done
    DirectoryChanged {
        /// The directory.
        parent: FileKey,
        /// The client and the ParentLeaseKey of the open that did it; that lease stays.
        by: Option<LeaseId>,
    },
    /// DHnC or DH2C. → Reclaimed | OwnerAlive | Refused
    ReclaimOpen(Box<ReclaimRequest>),
    /// A session, or one of its trees, lost its opens. → Disconnected | Rejected
    DisconnectOpens {
        /// Which session.
        session: SessionId,
        /// Why.
        why: DisconnectReason,
    },
    /// The scavenger's round: whatever is past its time by the stamp of this entry. → Expired
    Expire,
    /// FSCTL_LMR_REQUEST_RESILIENCY. → Done | Refused
    SetResilient {
        /// Which open.
        open: OpenId,
        /// 0 means 120 s.
        timeout_ms: u32,
        /// Proposer.
        by: Incarnation,
    },
    /// Changes what an open was promised: an upgrade, or the way back, is this one command, committed in the stronger of the two classes. → Done | Refused
    SetOpenClass {
        /// Which open.
        open: OpenId,
        /// From now on.
        class: Class,
        /// Proposer.
        by: Incarnation,
    },
    /// The handle was used: a replay of its CREATE is no longer answered from it. → Done | Refused
    EndReplay {
        /// Which open.
        open: OpenId,
        /// Proposer.
        by: Incarnation,
    },
    /// → ShareAdded | Rejected
    ShareAdd {
        /// Name, free without regard to case.
        name: String,
        /// The rest.
        settings: ShareSettings,
    },
    /// → Done | Rejected
    ShareChange {
        /// Which share.
        share: ShareId,
        /// New settings.
        settings: ShareSettings,
        /// What they are made from: settings that are others by now stay as they are. The directory is never another.
        instead_of: Box<ShareSettings>,
    },
    /// Removes a share and closes its opens. → Done | Rejected
    ShareRemove {
        /// Which share.
        share: ShareId,
    },
    /// → UserAdded | Rejected
    UserAdd {
        /// Name, free without regard to case.
        name: String,
        /// MD4 of the password.
        nt_hash: [u8; 16],
        /// A given SID (import), else the cluster allots one.
        sid: Option<Sid>,
        /// The user on disk.
        unix: Option<UnixUser>,
    },
    /// Says which user on disk a user is. → Done | Rejected
    UserMap {
        /// Which user.
        name: String,
        /// The user on disk; None: no one.
        unix: Option<UnixUser>,
    },
    /// → GroupAdded | Rejected
    GroupAdd {
        /// Name, free among users and groups without regard to case.
        name: String,
        /// For people.
        comment: String,
        /// The group on disk.
        gid: Option<u32>,
    },
    /// → Done | Rejected
    GroupChange {
        /// Which group.
        name: String,
        /// For people; None: as it is.
        comment: Option<String>,
        /// The group on disk, or that there is none any more; None: as it is.
        gid: Option<Option<u32>>,
    },
    /// Removes a group that is not built in, also from other groups. → Done | Rejected
    GroupRemove {
        /// Which group.
        name: String,
    },
    /// Takes an account into a group or out of it. → Done | Rejected
    GroupMember {
        /// Which group.
        group: String,
        /// User or group.
        member: Sid,
        /// In, or out.
        on: bool,
    },
    /// Another password; the user's sessions end as by LOGOFF. → Done | Rejected
    UserSetPassword {
        /// Which user.
        name: String,
        /// MD4 of the password.
        nt_hash: [u8; 16],
    },
    /// Lets a user in (also one that is locked out), or shuts him out: his sessions end, and what he has open is closed. → Done | Rejected
    UserEnable {
        /// Which user.
        name: String,
        /// May log on.
        enabled: bool,
    },
    /// Removes a user; his sessions end, and what he has open is closed. → Done | Rejected
    UserRemove {
        /// Which user.
        name: String,
    },
    /// → Done | Rejected
    TokenAdd {
        /// SHA-256 of the token.
        hash: [u8; 32],
        /// Good for this long.
        ttl_ms: u64,
    },
    /// Spends a token. → Done | Rejected
    TokenUse {
        /// SHA-256 of the token.
        hash: [u8; 32],
    },
    /// As ShareAdd, for a share that one node owns. → ShareAdded | Rejected (format 2, as all below)
    AsymmetricShareAdd {
        /// Name, free without regard to case.
        name: String,
        /// The rest.
        settings: ShareSettings,
        /// A node that serves; None: the one with the fewest shares.
        owner: Option<NodeId>,
    },
    /// Gives an asymmetric share to another node. → Done | Rejected
    ShareMove {
        /// Which share.
        share: ShareId,
        /// A node that serves; None: another one than the present, with the fewest shares.
        to: Option<NodeId>,
        /// Only if this node still owns it.
        instead_of: Option<NodeId>,
    },
    /// Clients reach a node at other addresses from now on, until it begins its next life. → Done | Rejected
    NodeListen {
        /// Which node.
        node: NodeId,
        /// Its present life, which has opened the new ones already.
        by: Incarnation,
        /// SMB addresses that it has gained.
        add: Vec<SocketAddr>,
        /// SMB addresses that it loses.
        remove: Vec<SocketAddr>,
    },
    /// As NodeDown, but only so many opens of that life are detached or closed. Said again, it goes on with the next ones, until no session
    /// of that life is left. Whoever comes for one of the rest meanwhile finds it as if it had had its turn. → Done | Rejected (format 3)
    NodeEnd {
        /// Which node.
        node: NodeId,
        /// Which life; another one is not touched.
        incarnation: Incarnation,
        /// Opens that have their turn, and sessions without opens; at least one of each.
        at_most: u32,
    },
    /// As Expire, for so many opens, oplocks and leases, those first whose time was up first. → Expired (format 3)
    ExpireSome {
        /// Of each at least one.
        at_most: u32,
    },
    /// Adds a token of the admin API. → Done | Rejected
    AdminTokenAdd(AdminToken),
    /// → Done | Rejected
    AdminTokenRemove {
        /// The token's name, without regard to case.
        name: String,
    },
    /// An operator ends a session: its opens are closed, whatever they were promised. → Disconnected | Rejected
    SessionClose {
        /// Which session.
        session: SessionId,
    },
    /// An operator closes an open, wherever its client is. → Done | Rejected
    OpenClose {
        /// Which open.
        open: OpenId,
    },
    /// Nobody is served at these addresses any more: sessions from there are not opened. → Done | Rejected
    ClientBlock {
        /// The addresses.
        network: Network,
        /// Why, for people.
        reason: String,
    },
    /// Ends a block. → Done | Rejected
    ClientUnblock {
        /// The addresses, as they were blocked.
        network: Network,
    },
    /// Changes the cluster's settings. → Done | Rejected
    ClusterSet {
        /// New settings.
        settings: ClusterSettings,
        /// What they are made from: settings that are others by now stay as they are.
        instead_of: Box<ClusterSettings>,
    },
    /// A logon failed; too many in a row lock the account out, if the cluster's settings say so. → Done | Rejected
    LogonFailed {
        /// Whose.
        name: String,
    },
    /// A logon succeeded: failures are forgotten. An account that is locked out stays so. → Done | Rejected
    LogonSucceeded {
        /// Whose.
        name: String,
    },
    /// Lets an account in again that is locked out. → Done | Rejected
    UserUnlock {
        /// Which user.
        name: String,
    },
}

impl Command {
    /// The format in which it is written. Programs that know only lower ones do not understand it: it must not be written before all do.
    #[must_use]
    pub fn format(&self) -> u16 {
        match self {
            Self::NodeEnd { .. } | Self::ExpireSome { .. } => FORMAT_PARTS,
            Self::AsymmetricShareAdd { .. } | Self::ShareMove { .. } | Self::NodeListen { .. } => FORMAT_OWNERS,
            _ => FORMAT_VERSION,
        }
    }
}
