//! A local group: accounts that share rights.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use smb_types::Sid;

/// A group; found by name without regard to case. Users and groups share one space of names.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Group {
    /// Its name as the operator wrote it.
    pub name: String,
    /// Its SID, never reused.
    pub sid: Sid,
    /// For people.
    pub comment: String,
    /// Users and groups that belong to it, of this cluster or of a domain.
    pub members: BTreeSet<Sid>,
    /// The group on disk; no two groups have the same.
    pub gid: Option<u32>,
}

impl Group {
    /// Tells whether every cluster has it: such a group is never removed.
    #[must_use]
    pub fn is_built_in(&self) -> bool {
        self.sid.is_built_in()
    }
}
