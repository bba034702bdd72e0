//! `DHnQ`: a durable handle, version 1 (MS-SMB2 2.2.13.2.3, 2.2.14.2.3).

use crate::error::DecodeError;

/// The context's name.
pub const NAME: &[u8] = b"DHnQ";

/// Asks for a durable handle.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DurableRequest;

impl DurableRequest {
    /// Decodes the data: 16 bytes without meaning.
    pub fn decode(data: &[u8]) -> Result<Self, DecodeError> {
        if data.len() == 16 { Ok(Self) } else { Err(DecodeError::malformed("DHnQ")) }
    }

    /// The data.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        vec![0; 16]
    }
}

/// Grants it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DurableResponse;

impl DurableResponse {
    /// Decodes the data: 8 bytes without meaning.
    pub fn decode(data: &[u8]) -> Result<Self, DecodeError> {
        if data.len() == 8 { Ok(Self) } else { Err(DecodeError::malformed("DHnQ response")) }
    }

    /// The data.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        vec![0; 8]
    }
}
