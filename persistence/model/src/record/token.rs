//! A join token: lets one new node in, once.

use serde::{Deserialize, Serialize};

use crate::id::LogTime;

/// Only the hash is kept.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct JoinToken {
    /// SHA-256 of the token.
    pub hash: [u8; 32],
    /// Worthless from then on.
    pub expires: LogTime,
    /// Already spent.
    pub used: bool,
}
