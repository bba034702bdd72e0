//! Classes that are one name: FileNameInformation 9, FileAlternateNameInformation 21, FileNormalizedNameInformation 48
//! (MS-FSCC 2.1.7, 2.4.5, 2.4.36).

use crate::error::DecodeError;
use crate::utf16;
use crate::wire::{Put, Reader, len_u32};

/// A name with its length.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FileNameInformation {
    /// FileName.
    pub file_name: String,
}

impl FileNameInformation {
    /// Length of the fixed part, for `super::fit`.
    pub const FIXED: usize = 4;

    /// Decodes the buffer.
    pub fn decode(buf: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(buf);
        let length = r.len32().map_err(|_| DecodeError::Length { what: "FileNameInformation" })?;
        Ok(Self { file_name: utf16::decode(r.bytes(length)?, "FileName")? })
    }

    /// Appends the buffer.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u32(len_u32(utf16::byte_len(&self.file_name)));
        utf16::encode(&self.file_name, out);
    }
}
