//! `SecD`: the security descriptor of a new file (MS-SMB2 2.2.13.2.2).

use crate::error::DecodeError;
use crate::security::SecurityDescriptor;

/// The context's name.
pub const NAME: &[u8] = b"SecD";

/// The descriptor.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SecurityDescriptorContext {
    /// As sent.
    pub descriptor: SecurityDescriptor,
}

impl SecurityDescriptorContext {
    /// Decodes the data.
    pub fn decode(data: &[u8]) -> Result<Self, DecodeError> {
        SecurityDescriptor::decode(data).map(|descriptor| Self { descriptor })
    }

    /// The data.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.descriptor.to_bytes()
    }
}
