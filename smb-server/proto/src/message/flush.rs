//! FLUSH (MS-SMB2 2.2.17, 2.2.18).

use smb_types::FileId;

use crate::error::DecodeError;
use crate::wire::{Put, Reader};

/// FLUSH request.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FlushRequest {
    /// FileId.
    pub file_id: FileId,
}

impl FlushRequest {
    /// Decodes the element `msg`.
    pub fn decode(msg: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::body(msg, 24)?;
        r.skip(6)?;
        Ok(Self { file_id: r.get()? })
    }

    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u16(24);
        out.put_zeros(6);
        out.put(&self.file_id);
    }
}

super::empty_message! {
    /// FLUSH response.
    FlushResponse
}
