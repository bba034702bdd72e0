//! A token of the admin API.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Role of a token's holder; each includes the ones before it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum AdminRole {
    /// May look.
    Viewer,
    /// May change.
    Operator,
}

impl fmt::Display for AdminRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
        })
    }
}

/// A token, by the hash of its secret: the records reveal no token.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AdminToken {
    /// SHA-256 of the token's secret.
    pub hash: [u8; 32],
    /// Name of the holder; unique without regard to case.
    pub name: String,
    /// Role of the holder.
    pub role: AdminRole,
    /// Time of creation by the proposer's clock, seconds since 1970.
    pub made_unix_s: u64,
    /// End of its lifetime, seconds since 1970. A date, not log time: it passes while the cluster has
    /// no leader.
    pub expires_unix_s: Option<u64>,
}

impl AdminToken {
    /// Whether its lifetime is over.
    #[must_use]
    pub fn is_over(&self, now_unix_s: u64) -> bool {
        self.expires_unix_s.is_some_and(|expires| expires <= now_unix_s)
    }
}
