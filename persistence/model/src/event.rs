//! What nodes have to know of a command that somebody else proposed. Every node sees every event and picks what concerns it.

use serde::{Deserialize, Serialize};
use smb_types::{LeaseState, OplockLevel};

use crate::id::{FileKey, Incarnation, LeaseId, NodeId, OpenId, SessionId, ShareId};
use crate::record::{Network, PendingDelete};

/// Something that happened.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Event {
    /// A node has begun a new life.
    NodeUp {
        /// Which.
        node: NodeId,
        /// Which life.
        incarnation: Incarnation,
    },
    /// A node's life is over.
    NodeDown {
        /// Which.
        node: NodeId,
        /// Which life.
        incarnation: Incarnation,
    },
    /// A node asks its clients to move, or has stopped asking.
    NodeDraining {
        /// Which.
        node: NodeId,
        /// Draining.
        on: bool,
    },
    /// Tell the client that its lease is to shrink.
    LeaseBreak {
        /// Which lease.
        lease: LeaseId,
        /// Which file.
        file: FileKey,
        /// The nodes that have opens of this lease; one of them has a connection.
        nodes: Vec<NodeId>,
        /// Before.
        current: LeaseState,
        /// After.
        new: LeaseState,
        /// NewEpoch.
        epoch: u16,
        /// The client must acknowledge; otherwise the lease has shrunk already.
        ack_required: bool,
    },
    /// Tell the client that its oplock is to shrink.
    OplockBreak {
        /// Which open.
        open: OpenId,
        /// Where it lives.
        node: NodeId,
        /// Its session.
        session: SessionId,
        /// New level.
        level: OplockLevel,
        /// The client must acknowledge; otherwise the oplock has shrunk already.
        ack_required: bool,
    },
    /// Something changed that a waiting CREATE, LOCK, rename or I/O may have waited for.
    FileChanged {
        /// Which file.
        file: FileKey,
    },
    /// An open that lived on this node was closed or taken by somebody else: forget it, end its pending requests.
    OpenTaken {
        /// Which open.
        open: OpenId,
        /// Where it lived.
        node: NodeId,
        /// That node's life.
        incarnation: Incarnation,
    },
    /// Disconnected opens ran out of time.
    OpensExpired {
        /// Which.
        opens: Vec<OpenId>,
    },
    /// A session was ended by its client's new one, or with its node.
    SessionEnded {
        /// Which.
        session: SessionId,
        /// Where it lived.
        node: NodeId,
    },
    /// The named node has to remove a file, then DeleteDone.
    DeleteDue {
        /// What and who.
        delete: PendingDelete,
    },
    /// A share was added, changed or removed.
    ShareChanged {
        /// Which.
        share: ShareId,
    },
    /// A user was added, changed or removed.
    UserChanged {
        /// Which.
        name: String,
    },
    /// A group was added, changed or removed, or has other members.
    GroupChanged {
        /// Which.
        name: String,
    },
    /// A disconnected open has found its client again.
    OpenReclaimed {
        /// Which.
        open: OpenId,
        /// Where it lives now.
        node: NodeId,
    },
    /// An asymmetric share has another owner.
    ShareMoved {
        /// Which.
        share: ShareId,
        /// Who owns it now.
        owner: NodeId,
    },
    /// Nobody is served at these addresses any more.
    ClientsBlocked {
        /// The addresses.
        network: Network,
    },
    /// Clients reach a living node at other addresses than before.
    NodeAddresses {
        /// Which.
        node: NodeId,
    },
    /// The cluster's settings are others.
    SettingsChanged,
}
