//! A file (or stream) that is open somewhere: the opens and leases that must agree with each other.

use serde::{Deserialize, Serialize};

use crate::id::{FileKey, ShareId};
use crate::record::{Leases, OpenSet};

/// Exists while at least one open of the file does.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FileState {
    /// Its name.
    pub key: FileKey,
    /// The share through which it was first opened.
    pub share: ShareId,
    /// A directory.
    pub is_directory: bool,
    /// Reservations and opens.
    pub opens: OpenSet,
    /// Leases held by these opens.
    pub leases: Leases,
    /// Removed when the last open goes; new opens are refused.
    pub delete_pending: bool,
}

impl FileState {
    /// A file that nobody has open yet.
    #[must_use]
    pub fn new(key: FileKey, share: ShareId, is_directory: bool) -> Self {
        Self { key, share, is_directory, opens: OpenSet::default(), leases: Leases::default(), delete_pending: false }
    }
}
