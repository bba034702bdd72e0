//! A file whose last open is gone and which must now be removed from the backend.

use serde::{Deserialize, Serialize};

use crate::id::{FileKey, NodeId, ShareId};

/// Stays until DeleteDone; opens of the file are refused with DELETE_PENDING meanwhile.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PendingDelete {
    /// What to remove. The backend must compare it with what it finds at `path` before it removes anything.
    pub file: FileKey,
    /// The share of the path.
    pub share: ShareId,
    /// Where it was when the last open went.
    pub path: String,
    /// Remove a directory rather than a file.
    pub is_directory: bool,
    /// The node that has to do it; reassigned when it dies.
    pub node: NodeId,
}
