//! When a change counts as done: a property of the record, not of the database.

use serde::{Deserialize, Serialize};

/// Commit class, weakest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub enum Class {
    /// In the memory of a majority; ends with its session or node.
    #[default]
    Volatile,
    /// In the memory of a majority; survives its client's disconnection and its node's death.
    Durable,
    /// On the disks of a majority; survives a crash of all nodes at once.
    Persistent,
}
