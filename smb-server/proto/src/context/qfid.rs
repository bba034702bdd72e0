//! `QFid`: the file's id on disk (MS-SMB2 2.2.13.2.9, 2.2.14.2.9).

use crate::error::DecodeError;
use crate::wire::{Put, Reader};

/// The context's name.
pub const NAME: &[u8] = b"QFid";

/// Asks for the id.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct OnDiskIdRequest;

impl OnDiskIdRequest {
    /// Decodes the data, which has no meaning.
    pub fn decode(_data: &[u8]) -> Result<Self, DecodeError> {
        // windows: whatever comes with the request is ignored.
        Ok(Self)
    }

    /// The data: none.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        Vec::new()
    }
}

/// Answers it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct OnDiskIdResponse {
    /// DiskFileId.
    pub disk_file_id: u64,
    /// VolumeId.
    pub volume_id: u64,
}

impl OnDiskIdResponse {
    /// Decodes the data.
    pub fn decode(data: &[u8]) -> Result<Self, DecodeError> {
        if data.len() != 32 {
            return Err(DecodeError::malformed("QFid response"));
        }
        let mut r = Reader::new(data);
        Ok(Self { disk_file_id: r.u64()?, volume_id: r.u64()? })
    }

    /// The data.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(32);
        out.put_u64(self.disk_file_id);
        out.put_u64(self.volume_id);
        out.put_zeros(16);
        out
    }
}
