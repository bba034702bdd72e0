//! Replicates any deterministic state machine over Raft; knows nothing of SMB.
//!
//! A [`Machine`] is applied in the same order on every node. Commands go in with [`RaftStore::propose`] on any node and come back when
//! that node itself has applied them; [`RaftStore::read_barrier`] makes local reads linearizable. The log has files of its own, the
//! state is in RocksDB, nodes talk TLS with certificates of the cluster's own authority ([`pki`]).
//!
//! ```text
//! RaftStore::start(Config, Arc<dyn Machine>) -> Result<RaftStore, StartError>          Clone; cheap
//!   .bootstrap()                               first node of a new cluster: a cluster of one
//!   .propose(command, class, timeout)          -> Result<Applied { index, leader, outcome }, ProposeError>
//!   .read_barrier(timeout)                     -> Result<u64, ReadError>    linearizable: local state holds at least this index
//!   .wait_applied(index, timeout)              -> Result<(), ReadError>     on this node
//!   .wait_applied_on(node, &applied, timeout)  -> Result<(), CallError>     on another node: that very entry
//!   .call(node, payload, timeout)              -> Result<Vec<u8>, CallError>
//!   .probe(node)                               -> Probe { Alive, Refused, Silent }
//!   .status() .leader() .watch_leader() .applied() .time_ms() .node_id() .cluster() .local_addr()
//!   .add_learner(node, address) .promote(node) .remove(node) .change_address(node, address) .transfer_leader(node)
//!   .stopped().await -> why                     resolves when the node has failed or was shut down: then end the process
//!   .export(about, notes, out) .begin_from(origin, entries)                                     backup of a running store; a new cluster from one
//!   .shutdown()
//! join(token, wish, own address) -> JoinGrant { identity, members }                    before start, on a new node
//! ```
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests"))]

pub mod backup;
mod clock;
mod codec;
mod config;
pub mod environment;
mod error;
mod faults;
mod machine;
pub mod offline;
pub mod pki;
mod status;
mod storage;
mod store;
mod transport;
mod types;
mod wire;

pub use config::{Admission, Admitted, CallHandler, Config, JoinRequest, Limits, Timing, Versions};
pub use environment::Environment;
pub use error::{CallError, MembershipError, ProposeError, ReadError, StartError};
pub use faults::{Faults, Passed, Point, Reaction, Watcher};
pub use machine::{Applied, Change, Class, Machine};
pub use status::{Leader, Member, Probe, Role, Status};
pub use store::{Origin, RaftStore};
pub use transport::join::{JoinError, JoinGrant, join};
pub use transport::traffic::{Sent, Traffic};
