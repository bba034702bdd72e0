//! The typed door to the replicated records: propose, read, watch, node leases, barriers.
//!
//! [`Store`] joins the pure model (`persistence-model`) with its replication (`raftstore`): a command goes in on any node and its outcome
//! comes back when this node has applied it and every node that it concerns has too. Beside the records it answers one question for each
//! I/O: may this node still speak for its clients ([`Store::lease_valid`])? Knows nothing of SMB messages, sockets of clients or files.
//!
//! ```text
//! Store::open(StoreConfig) -> Result<Store, OpenError>      Clone; cheap. Replicates, does not serve yet
//!   .init_cluster(net_name, server_guid)                    first node of a new cluster
//!   .serve(NodeAddresses)                                   begin a life: NodeJoin, then lease renewals; again after a declared death
//!   .wait_serving(timeout)   .lease_valid() .incarnation() .watch_life()
//!   .propose(Command) -> Result<Outcome, StoreError>        committed + applied here + barrier
//!   .with_state(|&State| R)  .read_barrier()
//!   .watch(EventPosition, Scope) -> EventStream             events from any place in the recent past; goes on at another node
//!   .with_state_at(|&State, EventPosition| R)               where a watch goes on from what was seen
//!   .subscribe() -> broadcast::Receiver<Arc<Event>>         .observe(Fn(&Event)): called inside apply, must be quick
//!   .begin_io(file, open) -> Flight                         before an I/O is judged; kept until it has landed: barriers wait for it
//!   .suspect(node)                                          have the port of a node looked at now
//!   .status() .watch_leader() .has_leader() .create_token(ttl) .promote(node) .remove(node) .transfer_leader(node) .drain(node, on)
//!   .move_share(share, node)                                another owner of an asymmetric share
//!   .certificates() .renew_certificate() .renew_authority() .retire_authority()
//!   .answer_programs(handler) .ask_program(node, bytes, timeout)   what the programs above the stores say to each other, beside the log
//!   .backup(notes, out)                                     a consistent copy of the records while clients are served
//!   .shutdown()                                             hands everything over first;   .kill() as if the process died
//! Backup::read(input) restore(config, dir, backup, rebirth) the first node of a new cluster that begins with one
//! join(token, wish, own address) -> JoinGrant               before open, on a new node
//! ```
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests"))]

mod accord;
mod agree;
mod ask;
mod backup;
mod call;
mod catch_up;
mod certificates;
mod config;
mod debts;
mod drain;
mod ending;
mod engine;
mod entry;
mod error;
mod fanout;
mod fence;
mod flights;
mod history;
mod lease;
mod life;
mod loading;
mod membership;
mod owners;
mod propose;
mod scavenger;
mod store;
mod warden;
mod watch;

pub use ask::{AskError, PROGRAM_BYTES_MAX, ProgramHandler};
pub use backup::{Backup, restore};
pub use certificates::{CertificateReport, Keeper, Renewal};
pub use config::{Fence, StoreConfig};
pub use entry::{describe_entry, describe_key};
pub use error::{OpenError, StoreError};
pub use flights::{Flight, Flights};
pub use history::{EventPosition, NoPosition, PlacedEvent, Scope};
pub use lease::holder::Life;
pub use raftstore::backup::{BackupError, BackupHead, BackupSize};
pub use raftstore::offline;
pub use raftstore::pki::{CertificateFacts, ClusterCa, JoinToken, NodeIdentity, PkiError, any_node_name, cluster_of_authority, node_name};
pub use raftstore::{
    Faults, JoinError, JoinGrant, Leader, Limits, Member, MembershipError, Role, StartError, Status as RaftStatus, Timing, Traffic,
    Versions, join,
};
pub use store::{Store, StoreStatus};
pub use watch::{EventStream, WatchError};
