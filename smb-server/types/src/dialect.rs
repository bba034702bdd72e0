//! SMB2 dialects (MS-SMB2 2.2.3, 2.2.4).

use std::fmt;

use serde::{Deserialize, Serialize};

/// A dialect this server speaks. Ordering is by age, so `dialect >= Dialect::Smb300` means "3.x".
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Dialect {
    /// 0x0202.
    Smb202,
    /// 0x0210.
    Smb210,
    /// 0x0300.
    Smb300,
    /// 0x0302.
    Smb302,
    /// 0x0311.
    Smb311,
}

impl Dialect {
    /// Every dialect, oldest first.
    pub const ALL: [Self; 5] = [Self::Smb202, Self::Smb210, Self::Smb300, Self::Smb302, Self::Smb311];

    /// Decodes a DialectRevision; None for one we do not speak (the wildcard 0x02FF included).
    #[must_use]
    pub const fn from_wire(v: u16) -> Option<Self> {
        Some(match v {
            0x0202 => Self::Smb202,
            0x0210 => Self::Smb210,
            0x0300 => Self::Smb300,
            0x0302 => Self::Smb302,
            0x0311 => Self::Smb311,
            _ => return None,
        })
    }

    /// The DialectRevision value.
    #[must_use]
    pub const fn to_wire(self) -> u16 {
        match self {
            Self::Smb202 => 0x0202,
            Self::Smb210 => 0x0210,
            Self::Smb300 => 0x0300,
            Self::Smb302 => 0x0302,
            Self::Smb311 => 0x0311,
        }
    }

    /// Tells whether this is 3.0 or newer.
    #[must_use]
    pub const fn is_3x(self) -> bool {
        matches!(self, Self::Smb300 | Self::Smb302 | Self::Smb311)
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Smb202 => "2.0.2",
            Self::Smb210 => "2.1",
            Self::Smb300 => "3.0",
            Self::Smb302 => "3.0.2",
            Self::Smb311 => "3.1.1",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dialect_there_and_back() {
        for d in Dialect::ALL {
            assert_eq!(Dialect::from_wire(d.to_wire()), Some(d));
        }
        assert_eq!(Dialect::from_wire(0x02FF), None, "the wildcard is no dialect");
        assert!(Dialect::Smb210 < Dialect::Smb300 && Dialect::Smb311.is_3x() && !Dialect::Smb210.is_3x());
    }
}
