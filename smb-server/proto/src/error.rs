//! What a decoder says about bytes that make no sense, and what the server does about it.

use smb_types::NtStatus;

/// The bytes make no sense; the variant says which answer they deserve.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DecodeError {
    /// A length, offset or structure size is wrong: INVALID_PARAMETER.
    #[error("malformed {what}")]
    Malformed {
        /// The part that is wrong.
        what: &'static str,
    },
    /// A name is not well-formed UTF-16: OBJECT_NAME_INVALID.
    #[error("name is not UTF-16: {what}")]
    Name {
        /// The name's field.
        what: &'static str,
    },
    /// An information buffer is shorter than its class: INFO_LENGTH_MISMATCH.
    #[error("buffer too short for {what}")]
    Length {
        /// The information class.
        what: &'static str,
    },
    /// A list of extended attributes is broken: EA_LIST_INCONSISTENT.
    #[error("inconsistent list of extended attributes")]
    EaList,
    /// A security descriptor is broken: INVALID_SECURITY_DESCR.
    #[error("security descriptor: {what}")]
    SecurityDescriptor {
        /// The part that is wrong.
        what: &'static str,
    },
    /// The connection must go without a reply.
    #[error("connection must be dropped: {what}")]
    Disconnect {
        /// Why no answer is possible.
        what: &'static str,
    },
}

impl DecodeError {
    /// A malformed part.
    #[must_use]
    pub const fn malformed(what: &'static str) -> Self {
        Self::Malformed { what }
    }

    /// The status to answer; None when the connection must be dropped instead.
    #[must_use]
    pub const fn status(&self) -> Option<NtStatus> {
        match self {
            Self::Malformed { .. } => Some(NtStatus::INVALID_PARAMETER),
            Self::Name { .. } => Some(NtStatus::OBJECT_NAME_INVALID),
            Self::Length { .. } => Some(NtStatus::INFO_LENGTH_MISMATCH),
            Self::EaList => Some(NtStatus::EA_LIST_INCONSISTENT),
            Self::SecurityDescriptor { .. } => Some(NtStatus::INVALID_SECURITY_DESCR),
            Self::Disconnect { .. } => None,
        }
    }

    /// Tells whether the connection must be dropped.
    #[must_use]
    pub const fn is_disconnect(&self) -> bool {
        matches!(self, Self::Disconnect { .. })
    }
}
