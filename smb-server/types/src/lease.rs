//! Lease states and oplock levels (MS-SMB2 2.2.13, 2.2.13.2.8).

use serde::{Deserialize, Serialize};

super::access::bits! {
    /// LeaseState bits. Only NONE, R, RW, RH and RWH are ever granted.
    LeaseState(u32) {
        /// SMB2_LEASE_READ_CACHING.
        READ = 0x1;
        /// SMB2_LEASE_HANDLE_CACHING.
        HANDLE = 0x2;
        /// SMB2_LEASE_WRITE_CACHING.
        WRITE = 0x4;
        /// Read and handle caching.
        RH = 0x3;
        /// Read and write caching.
        RW = 0x5;
        /// All three.
        RWH = 0x7;
    }
}

/// Oplock level of CREATE and OPLOCK_BREAK. The wire's 0xFF ("see the lease context") is not a level: it is `None` of an option.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub enum OplockLevel {
    /// 0x00.
    #[default]
    None,
    /// 0x01: shared read caching.
    LevelII,
    /// 0x08: sole opener caches reads and writes.
    Exclusive,
    /// 0x09: as exclusive, and the handle may be kept open.
    Batch,
}

impl OplockLevel {
    /// The wire value.
    #[must_use]
    pub const fn to_wire(self) -> u8 {
        match self {
            Self::None => 0,
            Self::LevelII => 1,
            Self::Exclusive => 8,
            Self::Batch => 9,
        }
    }

    /// Decodes a wire value; None for 0xFF (lease) and unknown values.
    #[must_use]
    pub const fn from_wire(v: u8) -> Option<Self> {
        Some(match v {
            0 => Self::None,
            1 => Self::LevelII,
            8 => Self::Exclusive,
            9 => Self::Batch,
            _ => return None,
        })
    }
}
