//! Identifiers that travel on the wire and are compared bytewise.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A GUID as its 16 wire bytes; ordering and equality are bytewise.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Guid(pub [u8; 16]);

impl Guid {
    /// The all-zero GUID.
    pub const ZERO: Self = Self([0; 16]);

    /// Tells whether all bytes are zero.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.0 == [0; 16]
    }

    /// Builds a GUID from its written form's fields (`aabbccdd-eeff-…`): the first three are little-endian on the wire.
    #[must_use]
    pub const fn from_fields(a: u32, b: u16, c: u16, d: [u8; 8]) -> Self {
        let (a, b, c) = (a.to_le_bytes(), b.to_le_bytes(), c.to_le_bytes());
        Self([a[0], a[1], a[2], a[3], b[0], b[1], c[0], c[1], d[0], d[1], d[2], d[3], d[4], d[5], d[6], d[7]])
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let b = &self.0;
        write!(
            f,
            "{:02x}{:02x}{:02x}{:02x}-{:02x}{:02x}-{:02x}{:02x}-{:02x}{:02x}-{:02x}{:02x}{:02x}{:02x}{:02x}{:02x}",
            b[3], b[2], b[1], b[0], b[5], b[4], b[7], b[6], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]
        )
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Identifies a client machine over all its connections (MS-SMB2 2.2.3).
pub type ClientGuid = Guid;
/// Identifies one CREATE over its replays (MS-SMB2 2.2.13.2.11).
pub type CreateGuid = Guid;
/// Names a lease within its client (MS-SMB2 2.2.13.2.8).
pub type LeaseKey = Guid;

/// SMB2_FILEID: the persistent half is unique in the whole cluster and never recycled (MS-SMB2 2.2.14.1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct FileId {
    /// Survives reconnects; our `OpenId`.
    pub persistent: u64,
    /// Valid in one session only.
    pub volatile: u64,
}

impl FileId {
    /// All bits set: "the file of the previous request" in a related compound, "no file" in some IOCTLs.
    pub const ALL_ONES: Self = Self { persistent: u64::MAX, volatile: u64::MAX };
}
