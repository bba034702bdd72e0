//! Win32 codes that the witness methods return.

use std::fmt;

/// The return value of a witness method.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Status(pub u32);

impl Status {
    /// It worked.
    pub const SUCCESS: Self = Self(0);
    /// The caller is not authenticated well enough.
    pub const ACCESS_DENIED: Self = Self(5);
    /// A name is missing or not ours.
    pub const INVALID_PARAMETER: Self = Self(0x57);
    /// There are no interfaces.
    pub const NO_MORE_ITEMS: Self = Self(0x103);
    /// No such registration.
    pub const NOT_FOUND: Self = Self(0x490);
    /// The version is not the one of the method.
    pub const REVISION_MISMATCH: Self = Self(0x51A);
    /// Too many registrations.
    pub const NO_SYSTEM_RESOURCES: Self = Self(0x5AA);
    /// Nothing happened in time; ask again.
    pub const TIMEOUT: Self = Self(0x5B4);
    /// Share or address do not fit the cluster.
    pub const INVALID_STATE: Self = Self(0x139F);
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Status({:#x})", self.0)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match *self {
            Self::SUCCESS => "success",
            Self::ACCESS_DENIED => "access denied",
            Self::INVALID_PARAMETER => "invalid parameter",
            Self::NO_MORE_ITEMS => "no more items",
            Self::NOT_FOUND => "not found",
            Self::REVISION_MISMATCH => "revision mismatch",
            Self::NO_SYSTEM_RESOURCES => "no system resources",
            Self::TIMEOUT => "timeout",
            Self::INVALID_STATE => "invalid state",
            _ => "error",
        };
        write!(f, "{name} ({:#x})", self.0)
    }
}
