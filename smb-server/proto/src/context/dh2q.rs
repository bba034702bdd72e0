//! `DH2Q`: a durable or persistent handle, version 2 (MS-SMB2 2.2.13.2.11, 2.2.14.2.12).

use smb_types::CreateGuid;

use crate::error::DecodeError;
use crate::wire::{Put, Reader};

/// The context's name.
pub const NAME: &[u8] = b"DH2Q";
/// SMB2_DHANDLE_FLAG_PERSISTENT.
pub const FLAG_PERSISTENT: u32 = 2;

/// Asks for a durable or persistent handle.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DurableRequestV2 {
    /// Timeout; 0 leaves it to the server.
    pub timeout_ms: u32,
    /// Flags.
    pub flags: u32,
    /// CreateGuid.
    pub create_guid: CreateGuid,
}

impl DurableRequestV2 {
    /// Tells whether a persistent handle is asked for.
    #[must_use]
    pub const fn is_persistent(&self) -> bool {
        self.flags & FLAG_PERSISTENT != 0
    }

    /// Decodes the data.
    pub fn decode(data: &[u8]) -> Result<Self, DecodeError> {
        if data.len() != 32 {
            return Err(DecodeError::malformed("DH2Q"));
        }
        let mut r = Reader::new(data);
        let (timeout_ms, flags) = (r.u32()?, r.u32()?);
        r.skip(8)?;
        Ok(Self { timeout_ms, flags, create_guid: r.get()? })
    }

    /// The data.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(32);
        out.put_u32(self.timeout_ms);
        out.put_u32(self.flags);
        out.put_u64(0);
        out.put(&self.create_guid);
        out
    }
}

/// Grants it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DurableResponseV2 {
    /// Timeout that was granted.
    pub timeout_ms: u32,
    /// Flags: `FLAG_PERSISTENT` or 0.
    pub flags: u32,
}

impl DurableResponseV2 {
    /// Tells whether the handle is persistent.
    #[must_use]
    pub const fn is_persistent(&self) -> bool {
        self.flags & FLAG_PERSISTENT != 0
    }

    /// Decodes the data.
    pub fn decode(data: &[u8]) -> Result<Self, DecodeError> {
        if data.len() != 8 {
            return Err(DecodeError::malformed("DH2Q response"));
        }
        let mut r = Reader::new(data);
        Ok(Self { timeout_ms: r.u32()?, flags: r.u32()? })
    }

    /// The data.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(8);
        out.put_u32(self.timeout_ms);
        out.put_u32(self.flags);
        out
    }
}
