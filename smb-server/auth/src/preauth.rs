//! The pre-authentication integrity hash of 3.1.1.

use std::fmt;

use aws_lc_rs::digest;

/// A SHA-512 chain over whole messages (from the SMB2 header, without the 4-byte length prefix).
///
/// One per connection over NEGOTIATE request and response; each new session or binding copies that one and continues it with its SESSION_SETUP
/// requests and its MORE_PROCESSING_REQUIRED responses, never with the final response. Re-authentication has none.
// MS-SMB2 3.3.5.4, 3.3.5.5
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PreauthHash([u8; 64]);

impl PreauthHash {
    /// The start of a connection's chain: 64 zeros.
    pub const START: Self = Self([0; 64]);

    /// Continues from a known value.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 64]) -> Self {
        Self(bytes)
    }

    /// Takes one more message into the chain.
    pub fn update(&mut self, message: &[u8]) {
        let mut h = digest::Context::new(&digest::SHA512);
        h.update(&self.0);
        h.update(message);
        self.0.copy_from_slice(h.finish().as_ref());
    }

    /// The current value.
    #[must_use]
    pub const fn value(&self) -> &[u8; 64] {
        &self.0
    }
}

impl Default for PreauthHash {
    fn default() -> Self {
        Self::START
    }
}

impl fmt::Debug for PreauthHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PreauthHash(")?;
        self.0.iter().take(4).try_for_each(|b| write!(f, "{b:02x}"))?;
        f.write_str("…)")
    }
}
