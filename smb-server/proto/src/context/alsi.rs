//! `AlSi`: initial allocation size (MS-SMB2 2.2.13.2.6).

use crate::error::DecodeError;
use crate::wire::{Put, Reader};

/// The context's name.
pub const NAME: &[u8] = b"AlSi";

/// Asks for room.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct AllocationSize {
    /// AllocationSize.
    pub bytes: u64,
}

impl AllocationSize {
    /// Decodes the data.
    pub fn decode(data: &[u8]) -> Result<Self, DecodeError> {
        if data.len() != 8 {
            return Err(DecodeError::malformed("AlSi"));
        }
        Ok(Self { bytes: Reader::new(data).get()? })
    }

    /// The data.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(8);
        out.put(&self.bytes);
        out
    }
}
