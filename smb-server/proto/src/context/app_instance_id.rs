//! AppInstanceId: which clustered application opens the file (MS-SMB2 2.2.13.2.13).

use smb_types::Guid;

use crate::error::DecodeError;
use crate::wire::{Put, Reader};

/// The context's name.
pub const NAME: &[u8] = &[0x45, 0xBC, 0xA6, 0x6A, 0xEF, 0xA7, 0xF7, 0x4A, 0x90, 0x08, 0xFA, 0x46, 0x2E, 0x14, 0x4D, 0x74];

/// Names the application.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct AppInstanceId {
    /// AppInstanceId.
    pub id: Guid,
}

impl AppInstanceId {
    /// Decodes the data.
    pub fn decode(data: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(data);
        if data.len() != 20 || r.u16()? != 20 {
            return Err(DecodeError::malformed("AppInstanceId"));
        }
        r.skip(2)?;
        Ok(Self { id: r.get()? })
    }

    /// The data.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(20);
        out.put_u16(20);
        out.put_u16(0);
        out.put(&self.id);
        out
    }
}
