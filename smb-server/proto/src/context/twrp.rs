//! `TWrp`: open a previous version (MS-SMB2 2.2.13.2.7).

use crate::error::DecodeError;
use crate::wire::{Put, Reader};

/// The context's name.
pub const NAME: &[u8] = b"TWrp";

/// Names a snapshot.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TimeWarp {
    /// Time of the snapshot.
    pub timestamp: smb_types::FileTime,
}

impl TimeWarp {
    /// Decodes the data.
    pub fn decode(data: &[u8]) -> Result<Self, DecodeError> {
        if data.len() != 8 {
            return Err(DecodeError::malformed("TWrp"));
        }
        Ok(Self { timestamp: Reader::new(data).get()? })
    }

    /// The data.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(8);
        out.put(&self.timestamp);
        out
    }
}
