//! A user of the cluster's own account list.

use std::fmt;

use serde::{Deserialize, Serialize};
use smb_types::Sid;

use crate::id::LogTime;

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
    /// Counts what ends the user's sessions: another password, disabling. A session is good for as long as this is what it was when its user
    /// proved himself.
    pub generation: u32,
    /// Logons that failed lately; counted only while the cluster locks accounts out.
    pub failures: LogonFailures,
}

/// Failed logons of a user.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct LogonFailures {
    /// How many since the last success.
    pub count: u32,
    /// When the last one was.
    pub last: LogTime,
    /// No logon is accepted before.
    pub locked_until: Option<LogTime>,
}

impl User {
    /// Tells whether too many logons have failed. The record says so until the time is over.
    #[must_use]
    pub const fn is_locked_out(&self) -> bool {
        self.failures.locked_until.is_some()
    }
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
        let Self { name, sid, disabled, unix, generation, failures, nt_hash: _ } = self;
        let mut user = f.debug_struct("User");
        user.field("name", name).field("sid", sid).field("disabled", disabled).field("unix", unix);
        user.field("generation", generation).field("failures", failures).finish_non_exhaustive()
    }
}
