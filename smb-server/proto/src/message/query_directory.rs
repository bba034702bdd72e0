//! QUERY_DIRECTORY (MS-SMB2 2.2.33, 2.2.34).

use smb_types::FileId;

pub use super::buffer_response::BufferResponse as QueryDirectoryResponse;
use crate::error::DecodeError;
use crate::header::HEADER_SIZE;
use crate::utf16;
use crate::wire::{Put, Reader, body_part, flags, len_u16};

flags! {
    /// Flags of a request.
    QueryDirectoryFlags(u8) {
        /// SMB2_RESTART_SCANS.
        RESTART_SCANS = 0x1;
        /// SMB2_RETURN_SINGLE_ENTRY.
        RETURN_SINGLE_ENTRY = 0x2;
        /// SMB2_INDEX_SPECIFIED.
        INDEX_SPECIFIED = 0x4;
        /// SMB2_REOPEN.
        REOPEN = 0x10;
    }
}

/// QUERY_DIRECTORY request.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct QueryDirectoryRequest {
    /// FileInformationClass; see `crate::info::directory::DirectoryClass`.
    pub information_class: u8,
    /// Flags.
    pub flags: QueryDirectoryFlags,
    /// FileIndex.
    pub file_index: u32,
    /// FileId.
    pub file_id: FileId,
    /// Search pattern.
    pub pattern: String,
    /// OutputBufferLength.
    pub output_buffer_length: u32,
}

impl QueryDirectoryRequest {
    /// Decodes the element `msg`.
    pub fn decode(msg: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::body(msg, 33)?;
        let (information_class, flags, file_index, file_id) = (r.u8()?, r.get()?, r.u32()?, r.get()?);
        let (offset, length, output_buffer_length) = (r.len16()?, r.len16()?, r.u32()?);
        let pattern = utf16::decode(body_part(msg, offset, length, "search pattern")?, "search pattern")?;
        Ok(Self { information_class, flags, file_index, file_id, pattern, output_buffer_length })
    }

    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u16(33);
        out.put_u8(self.information_class);
        out.put(&self.flags);
        out.put_u32(self.file_index);
        out.put(&self.file_id);
        out.put_u16(len_u16(HEADER_SIZE + 32));
        out.put_u16(len_u16(utf16::byte_len(&self.pattern)));
        out.put_u32(self.output_buffer_length);
        utf16::encode(&self.pattern, out);
        if self.pattern.is_empty() {
            out.put_u8(0);
        }
    }
}
