//! `MxAc`: the caller's maximal access (MS-SMB2 2.2.13.2.5, 2.2.14.2.5).

use smb_types::{AccessMask, FileTime, NtStatus};

use crate::error::DecodeError;
use crate::wire::{Put, Reader};

/// The context's name.
pub const NAME: &[u8] = b"MxAc";

/// Asks for the maximal access.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MaximalAccessRequest {
    /// If the file has not changed since, no answer is needed.
    pub timestamp: Option<FileTime>,
}

impl MaximalAccessRequest {
    /// Decodes the data.
    pub fn decode(data: &[u8]) -> Result<Self, DecodeError> {
        match data.len() {
            0 => Ok(Self { timestamp: None }),
            8 => Ok(Self { timestamp: Some(Reader::new(data).get()?) }),
            _ => Err(DecodeError::malformed("MxAc")),
        }
    }

    /// The data.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        if let Some(t) = self.timestamp {
            out.put(&t);
        }
        out
    }
}

/// Answers it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MaximalAccessResponse {
    /// QueryStatus.
    pub query_status: NtStatus,
    /// MaximalAccess.
    pub maximal_access: AccessMask,
}

impl MaximalAccessResponse {
    /// Decodes the data.
    pub fn decode(data: &[u8]) -> Result<Self, DecodeError> {
        if data.len() != 8 {
            return Err(DecodeError::malformed("MxAc response"));
        }
        let mut r = Reader::new(data);
        Ok(Self { query_status: r.get()?, maximal_access: r.get()? })
    }

    /// The data.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(8);
        out.put(&self.query_status);
        out.put(&self.maximal_access);
        out
    }
}
