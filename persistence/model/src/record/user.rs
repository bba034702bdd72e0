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
    /// The user on disk; no two users have the same.
    pub unix: Option<UnixUser>,
}

/// An owner of files as the file system knows it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct UnixUser {
    /// Its number.
    pub uid: u32,
    /// The group of its new files; None: the directory's, or the daemon's.
    pub gid: Option<u32>,
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, sid, disabled, unix, .. } = self;
        f.debug_struct("User").field("name", name).field("sid", sid).field("disabled", disabled).field("unix", unix).finish_non_exhaustive()
    }
}
