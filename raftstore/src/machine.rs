//! The contract between the store and the state machine it replicates.
//!
//! Knows nothing of what the commands mean, and nothing of Raft: a machine sees commands in order and says which keys changed.

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};

use crate::status::Leader;

/// A changed key with its new value, or `None` when the key was removed.
pub type Change = (Vec<u8>, Option<Vec<u8>>);

/// A deterministic state machine.
///
/// The store calls `apply`, `take_changes` and `applied` from one task, in log order. `load` is called before the first of them and
/// again whenever a snapshot of another node replaced the state; it must forget everything that it held.
pub trait Machine: Send + Sync + 'static {
    /// Applies one command and returns the bytes of its outcome.
    ///
    /// `time_ms` is the log time stamped by the leader; it never goes back. The result must depend on nothing but the state,
    /// the arguments and earlier commands. A command that makes no sense is an outcome. A panic stops this node for good.
    fn apply(&self, index: u64, time_ms: u64, command: &[u8]) -> Vec<u8>;

    /// Takes the keys that changed since the last call. They are written together with the applied index.
    fn take_changes(&self) -> Vec<Change>;

    /// Replaces the whole state by these entries, sorted by key.
    fn load(&self, entries: &mut dyn Iterator<Item = (Vec<u8>, Vec<u8>)>) -> Result<(), String>;

    /// Says that everything up to `index` is applied and written. Called after each batch, after the stored state was
    /// loaded, and after a snapshot was installed.
    fn applied(&self, index: u64);

    /// What another node that asks whether `index` is applied here has to wait for beside that, if anything. Called when it is applied.
    fn settled(&self, index: u64) -> Option<BoxFuture<'static, ()>> {
        let _ = index;
        None
    }
}

/// How much a command must survive: what its commit waits for. Carried in every entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Class {
    /// Survives the loss of a minority of nodes.
    Volatile,
    /// As volatile, and its client's disconnection.
    Durable,
    /// Survives any crash of all nodes at once, power loss included.
    Persistent,
}

/// A command that was committed and applied on this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The index of its log entry.
    pub index: u64,
    /// Who led when the entry was written. An index alone does not name an entry for ever: after a majority lost power, another one may
    /// be committed there.
    pub leader: Leader,
    /// What [`Machine::apply`] returned for it.
    pub outcome: Vec<u8>,
}
