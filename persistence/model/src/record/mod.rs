//! The records: plain data, one file per record. They hold facts and small questions about themselves, never rules between two records.

pub mod admin_token;
pub mod block;
pub mod cluster;
pub mod delete;
pub mod few;
pub mod file;
pub mod group;
pub mod lease;
pub mod lock;
pub mod node;
pub mod open;
pub mod open_set;
pub mod session;
pub mod share;
pub mod token;
pub mod user;

pub use admin_token::{AdminRole, AdminToken};
pub use block::ClientBlock;
pub use cluster::{Cluster, ClusterSettings};
pub use delete::PendingDelete;
pub use few::Few;
pub use file::FileState;
pub use group::Group;
pub use lease::{Lease, Leases};
pub use lock::{ByteRangeLock, LockSequence, LockSequences};
pub use node::{Node, NodeAddresses, NodeState};
pub use open::{AppInstance, Away, CreateAction, Durability, Open, OpenState, Oplock, Owner};
pub use open_set::OpenSet;
pub use session::Session;
pub use share::{Network, Share, ShareSettings};
pub use token::JoinToken;
pub use user::{LogonFailures, UnixUser, User};
