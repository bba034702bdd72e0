//! What the server needs from the replicated records: propose, read, watch, and the node's right to answer.
//!
//! Knows nothing of Raft, disks or other nodes; the node program adapts `persistence` to it, [`LocalStore`] serves tests and single use.

pub mod local;

use std::{future::Future, pin::Pin, sync::Arc};

use persistence_model::{Command, Event, FileKey, Incarnation, LogTime, NodeId, OpenId, Outcome, State};
use smb_types::NtStatus;
use tokio::sync::broadcast;

pub use local::LocalStore;

use crate::error::Refusal;

/// A future that a trait object can return.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// An access to a file that is under way. It has landed when this is dropped.
#[must_use = "the access counts as landed when this is dropped"]
pub struct Flight(Box<dyn Send + Sync>);

impl Flight {
    /// Ends when `whatever` is dropped.
    pub fn new(whatever: impl Send + Sync + 'static) -> Self {
        Self(Box::new(whatever))
    }
}

impl std::fmt::Debug for Flight {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self(_until_dropped) = self;
        f.write_str("Flight")
    }
}

/// Why a command has no outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Nobody leads at the moment, or this node cannot reach the leader. The command was not taken.
    #[error("no leader is known")]
    NoLeader,
    /// The command was sent and nobody knows whether it will be applied.
    #[error("the outcome is unknown")]
    Unknown,
    /// This node is stopping or has been declared down.
    #[error("the node is stopping")]
    Stopping,
}

impl From<StoreError> for Refusal {
    // Clients retry on FILE_NOT_AVAILABLE; a definite error would cost them the handle.
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NoLeader => Self::new(NtStatus::FILE_NOT_AVAILABLE, "no leader is known"),
            // Whether it holds an open or a lock must not be left open: without its connection the client begins anew, repeats what it had
            // asked with the flag that says so, and what it cannot repeat is closed.
            StoreError::Unknown => Self::new(NtStatus::CONNECTION_DISCONNECTED, "the outcome is unknown"),
            StoreError::Stopping => Self::new(NtStatus::FILE_NOT_AVAILABLE, "the node is stopping"),
        }
    }
}

/// The replicated records as one node sees them.
pub trait Store: Send + Sync + 'static {
    /// Proposes a command; returns after commit in the command's class, local apply and, if rights were taken from others, their barrier.
    fn propose(&self, command: Command) -> BoxFuture<'_, Result<Outcome, StoreError>>;
    /// Shows the local replica. The closure must be quick: it holds up the apply loop. Use [`StoreExt::with_state`].
    fn read(&self, look: &mut dyn FnMut(&State));
    /// Announces an access to a file, before the records are asked whether it may be; while the result lives, nothing that takes rights to the
    /// file and is applied meanwhile is answered. It must not be kept while something is proposed.
    fn begin_io(&self, file: FileKey, open: OpenId) -> Flight;
    /// Tells whether this node may answer clients now. One clock read.
    fn lease_valid(&self) -> bool;
    /// Tells whether a leader is known, so that a proposal has a chance.
    fn has_leader(&self) -> bool;
    /// The cluster's time now, as far as this node has heard.
    fn log_time(&self) -> LogTime;
    /// This node.
    fn node(&self) -> NodeId;
    /// This node's current life.
    fn incarnation(&self) -> Incarnation;
    /// Every event applied from now on. A receiver that lags must assume that anything may have happened.
    fn subscribe(&self) -> broadcast::Receiver<Arc<Event>>;
    /// As [`Store::subscribe`]; may leave out `FileChanged` if whoever runs the server calls [`crate::notify::file_changed`] for each instead.
    fn subscribe_news(&self) -> broadcast::Receiver<Arc<Event>> {
        self.subscribe()
    }
    /// Asks for a probe of `node` now instead of at the next heartbeat: a client came here with a handle that it owns.
    fn suspect(&self, node: NodeId);
}

/// Conveniences over [`Store`].
pub trait StoreExt: Store {
    /// Reads something out of the local replica.
    fn with_state<R>(&self, look: impl FnOnce(&State) -> R) -> R {
        let mut look = Some(look);
        let mut found = None;
        self.read(&mut |state| {
            if let Some(look) = look.take() {
                found = Some(look(state));
            }
        });
        found.expect("a store shows its state exactly once")
    }
}

impl<S: Store + ?Sized> StoreExt for S {}
