//! `DHnC`: reconnect of a durable handle, version 1 (MS-SMB2 2.2.13.2.4).

use smb_types::FileId;

use crate::error::DecodeError;
use crate::wire::{Put, Reader};

/// The context's name.
pub const NAME: &[u8] = b"DHnC";

/// Asks for a durable handle back.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DurableReconnect {
    /// The FileId of the lost handle; only the persistent half counts.
    pub file_id: FileId,
}

impl DurableReconnect {
    /// Decodes the data.
    pub fn decode(data: &[u8]) -> Result<Self, DecodeError> {
        if data.len() != 16 {
            return Err(DecodeError::malformed("DHnC"));
        }
        Ok(Self { file_id: Reader::new(data).get()? })
    }

    /// The data.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(16);
        out.put(&self.file_id);
        out
    }
}
