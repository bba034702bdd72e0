//! AppInstanceVersion: which of two instances of an application is newer (MS-SMB2 2.2.13.2.15).

use crate::error::DecodeError;
use crate::wire::{Put, Reader};

/// The context's name.
pub const NAME: &[u8] = &[0xB9, 0x82, 0xD0, 0xB7, 0x3B, 0x56, 0x07, 0x4F, 0xA0, 0x7B, 0x52, 0x4A, 0x81, 0x16, 0xA0, 0x10];

/// The version; ordered by high, then low.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct AppInstanceVersion {
    /// AppInstanceVersionHigh.
    pub high: u64,
    /// AppInstanceVersionLow.
    pub low: u64,
}

impl AppInstanceVersion {
    /// Decodes the data.
    pub fn decode(data: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(data);
        if data.len() != 24 || r.u16()? != 24 {
            return Err(DecodeError::malformed("AppInstanceVersion"));
        }
        r.skip(6)?;
        Ok(Self { high: r.u64()?, low: r.u64()? })
    }

    /// The data.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(24);
        out.put_u16(24);
        out.put_zeros(6);
        out.put_u64(self.high);
        out.put_u64(self.low);
        out
    }
}
