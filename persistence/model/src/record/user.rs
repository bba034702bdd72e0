//! A user of the cluster's own account list.

use std::fmt;

use serde::{Deserialize, Serialize};
use smb_types::Sid;

/// A user; found by name without regard to case.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Its name as the operator wrote it.
    pub name: String,
    /// Its SID, never reused.
    pub sid: Sid,
    /// MD4 of the password: what NTLMv2 starts from.
    pub nt_hash: [u8; 16],
    /// May not log on.
    pub disabled: bool,
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User").field("name", &self.name).field("sid", &self.sid).field("disabled", &self.disabled).finish_non_exhaustive()
    }
}
