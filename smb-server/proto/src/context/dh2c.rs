//! `DH2C`: reconnect of a durable or persistent handle, version 2 (MS-SMB2 2.2.13.2.12).

use smb_types::{CreateGuid, FileId};

use super::dh2q::FLAG_PERSISTENT;
use crate::error::DecodeError;
use crate::wire::{Put, Reader};

/// The context's name.
pub const NAME: &[u8] = b"DH2C";

/// Asks for a handle back.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DurableReconnectV2 {
    /// The FileId of the lost handle; only the persistent half counts.
    pub file_id: FileId,
    /// CreateGuid of the original CREATE.
    pub create_guid: CreateGuid,
    /// Flags: `FLAG_PERSISTENT` or 0.
    pub flags: u32,
}

impl DurableReconnectV2 {
    /// Tells whether the handle was persistent.
    #[must_use]
    pub const fn is_persistent(&self) -> bool {
        self.flags & FLAG_PERSISTENT != 0
    }

    /// Decodes the data.
    pub fn decode(data: &[u8]) -> Result<Self, DecodeError> {
        if data.len() != 36 {
            return Err(DecodeError::malformed("DH2C"));
        }
        let mut r = Reader::new(data);
        Ok(Self { file_id: r.get()?, create_guid: r.get()?, flags: r.u32()? })
    }

    /// The data.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(36);
        out.put(&self.file_id);
        out.put(&self.create_guid);
        out.put_u32(self.flags);
        out
    }
}
