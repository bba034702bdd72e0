//! A file (or stream) that is open somewhere: the opens and leases that must agree with each other.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::id::{FileKey, LeaseId, OpenId, ShareId};
use crate::record::Lease;

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
    pub opens: BTreeSet<OpenId>,
    /// Leases held by these opens.
    pub leases: BTreeMap<LeaseId, Lease>,
    /// Removed when the last open goes; new opens are refused.
    pub delete_pending: bool,
}

impl FileState {
    /// A file that nobody has open yet.
    #[must_use]
    pub fn new(key: FileKey, share: ShareId, is_directory: bool) -> Self {
        Self { key, share, is_directory, opens: BTreeSet::new(), leases: BTreeMap::new(), delete_pending: false }
    }
}
