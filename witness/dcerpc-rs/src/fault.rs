//! Fault statuses: what a server answers instead of a response. It knows nothing of who decides on them.

use std::fmt;

/// A fault status as it travels in a fault PDU.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fault(pub u32);

impl Fault {
    /// The caller may not do that.
    pub const ACCESS_DENIED: Self = Self(0x0000_0005);
    /// The server is going away or the call was abandoned.
    pub const SERVER_UNAVAILABLE: Self = Self(0x0000_06BA);
    /// The operation cannot be performed here (for example nothing registered).
    pub const CANNOT_PERFORM: Self = Self(0x0000_06D8);
    /// The server is out of a resource.
    pub const OUT_OF_RESOURCES: Self = Self(0x0000_06D9);
    /// The stub bytes make no sense.
    pub const BAD_STUB_DATA: Self = Self(0x0000_06F7);
    /// Bad signature, or the authentication failed.
    pub const SECURITY_PACKAGE: Self = Self(0x0000_0721);
    /// The union's discriminant names no arm.
    pub const INVALID_TAG: Self = Self(0x1C00_0006);
    /// The call was cancelled by its caller.
    pub const CANCELLED: Self = Self(0x1C00_000D);
    /// The context handle is not one of this association.
    pub const CONTEXT_MISMATCH: Self = Self(0x1C00_001A);
    /// The authentication level is not supported.
    pub const UNSUPPORTED_AUTHN_LEVEL: Self = Self(0x1C00_001D);
    /// The operation number is out of range.
    pub const OPNUM_OUT_OF_RANGE: Self = Self(0x1C01_0002);
    /// The interface or presentation context is unknown.
    pub const UNKNOWN_INTERFACE: Self = Self(0x1C01_0003);
    /// The peer broke the protocol.
    pub const PROTOCOL_ERROR: Self = Self(0x1C01_000B);
    /// Too many calls at once.
    pub const TOO_BUSY: Self = Self(0x1C01_0014);
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fault({:#010x})", self.0)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match *self {
            Self::ACCESS_DENIED => "access denied",
            Self::SERVER_UNAVAILABLE => "server unavailable",
            Self::CANNOT_PERFORM => "cannot perform",
            Self::OUT_OF_RESOURCES => "out of resources",
            Self::BAD_STUB_DATA => "bad stub data",
            Self::SECURITY_PACKAGE => "security package error",
            Self::INVALID_TAG => "invalid union tag",
            Self::CANCELLED => "cancelled",
            Self::CONTEXT_MISMATCH => "context handle mismatch",
            Self::UNSUPPORTED_AUTHN_LEVEL => "unsupported authentication level",
            Self::OPNUM_OUT_OF_RANGE => "operation number out of range",
            Self::UNKNOWN_INTERFACE => "unknown interface",
            Self::PROTOCOL_ERROR => "protocol error",
            Self::TOO_BUSY => "too busy",
            _ => "fault",
        };
        write!(f, "{name} ({:#010x})", self.0)
    }
}

impl std::error::Error for Fault {}
