//! The replicated records, their commands and their invariants: the only place where two clients' wishes are weighed against each other.
//!
//! `State::apply` is a deterministic function of the state, a time and a command; every node runs it on the same log and gets the same state, outcome and events.
//! Knows nothing of sockets, disks, clocks, Raft or wire layouts.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a failing test may panic"))]

mod apply;
mod arbiter;
pub mod class;
pub mod codec;
pub mod command;
mod effects;
pub mod event;
pub mod id;
mod invariant;
pub mod outcome;
mod rebirth;
pub mod record;
pub mod shard;
pub mod state;
#[cfg(test)]
mod steps;

pub use class::Class;
pub use command::{
    BreakTarget, Command, DisconnectReason, IoKind, OpenRequest, ReclaimKind, ReclaimLease, ReclaimRequest, RequestedDurability,
    RequestedLease, RequestedOplock,
};
pub use event::Event;
pub use id::{FileKey, Incarnation, LeaseId, LogTime, NodeId, OpenId, SessionId, ShareId, fold_path};
pub use outcome::{Applied, DurableGrant, Grant, LeaseGrant, Outcome, Rejection};
pub use rebirth::{LeftBehind, Rebirth};
pub use record::block::client_ip;
pub use record::{
    AdminRole, AdminToken, AppInstance, Away, ByteRangeLock, ClientBlock, Cluster, ClusterSettings, CreateAction, Durability, Few,
    FileState, Group, JoinToken, Lease, Leases, LockSequence, LockSequences, LogonFailures, Network, Node, NodeAddresses, NodeState, Open,
    OpenSet, OpenState, Oplock, Owner, PendingDelete, Session, Share, ShareSettings, UnixUser, User,
};
pub use shard::{RaftGroup, Route, SLOTS, shard, slot};
pub use state::{Account, Loader, State, StoredRecord};
