//! NEGOTIATE flags (MS-NLMP 2.2.2.5).

use std::fmt;

/// NegotiateFlags of the three messages.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct NegotiateFlags(pub u32);

macro_rules! flags {
    ($($(#[$doc:meta])* $name:ident = $value:expr;)*) => {
        impl NegotiateFlags {
            $($(#[$doc])* pub const $name: Self = Self($value);)*
        }
    };
}

flags! {
    /// Strings are UTF-16LE.
    UNICODE = 0x1;
    /// The challenge shall carry a target name.
    REQUEST_TARGET = 0x4;
    /// Signing.
    SIGN = 0x10;
    /// Sealing.
    SEAL = 0x20;
    /// NTLM (set by everybody).
    NTLM = 0x200;
    /// Anonymous logon.
    ANONYMOUS = 0x800;
    /// Signing with a dummy signature at least (set by everybody).
    ALWAYS_SIGN = 0x8000;
    /// The target name is a server's.
    TARGET_TYPE_SERVER = 0x2_0000;
    /// Extended session security.
    EXTENDED_SESSION_SECURITY = 0x8_0000;
    /// The client wants an identify-level token.
    IDENTIFY = 0x10_0000;
    /// The challenge carries AV pairs.
    TARGET_INFO = 0x80_0000;
    /// The Version fields are filled.
    VERSION = 0x200_0000;
    /// 128-bit keys.
    KEY_128 = 0x2000_0000;
    /// The client chooses the session key and sends it encrypted.
    KEY_EXCH = 0x4000_0000;
    /// 56-bit keys (only if 128 is not set).
    KEY_56 = 0x8000_0000;
}

impl NegotiateFlags {
    /// What we cannot do without.
    pub const REQUIRED: Self = Self(Self::UNICODE.0 | Self::EXTENDED_SESSION_SECURITY.0 | Self::KEY_128.0);
    /// What our server takes over from a client's wishes.
    pub const SUPPORTED: Self = Self(
        Self::REQUIRED.0
            | Self::REQUEST_TARGET.0
            | Self::SIGN.0
            | Self::SEAL.0
            | Self::NTLM.0
            | Self::ALWAYS_SIGN.0
            | Self::IDENTIFY.0
            | Self::VERSION.0
            | Self::KEY_EXCH.0
            | Self::KEY_56.0,
    );
    /// What our client asks for.
    pub const CLIENT: Self = Self(
        Self::REQUIRED.0
            | Self::REQUEST_TARGET.0
            | Self::SIGN.0
            | Self::SEAL.0
            | Self::NTLM.0
            | Self::ALWAYS_SIGN.0
            | Self::TARGET_INFO.0
            | Self::VERSION.0
            | Self::KEY_EXCH.0
            | Self::KEY_56.0,
    );

    /// Tells whether every bit of `other` is set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Tells whether at least one bit of `other` is set.
    #[must_use]
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// The bits of both.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The bits common to both.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl fmt::Debug for NegotiateFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NegotiateFlags({:#010X})", self.0)
    }
}
