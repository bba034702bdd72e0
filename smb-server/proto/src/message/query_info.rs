//! QUERY_INFO (MS-SMB2 2.2.37, 2.2.38). The classes are in `crate::info`.

use smb_types::FileId;

pub use super::buffer_response::BufferResponse as QueryInfoResponse;
use crate::error::DecodeError;
use crate::header::HEADER_SIZE;
use crate::wire::{Put, Reader, body_part, flags, len_u16, len_u32};

/// InfoType of QUERY_INFO and SET_INFO.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum InfoType {
    /// SMB2_0_INFO_FILE.
    File,
    /// SMB2_0_INFO_FILESYSTEM.
    FileSystem,
    /// SMB2_0_INFO_SECURITY.
    Security,
    /// SMB2_0_INFO_QUOTA.
    Quota,
}

impl InfoType {
    /// Decodes the wire value.
    #[must_use]
    pub const fn from_wire(v: u8) -> Option<Self> {
        Some(match v {
            1 => Self::File,
            2 => Self::FileSystem,
            3 => Self::Security,
            4 => Self::Quota,
            _ => return None,
        })
    }

    /// The wire value.
    #[must_use]
    pub const fn to_wire(self) -> u8 {
        match self {
            Self::File => 1,
            Self::FileSystem => 2,
            Self::Security => 3,
            Self::Quota => 4,
        }
    }
}

flags! {
    /// Flags of a query for extended attributes.
    QueryInfoFlags(u32) {
        /// SL_RESTART_SCAN.
        RESTART_SCAN = 0x1;
        /// SL_RETURN_SINGLE_ENTRY.
        RETURN_SINGLE_ENTRY = 0x2;
        /// SL_INDEX_SPECIFIED.
        INDEX_SPECIFIED = 0x4;
    }
}

/// QUERY_INFO request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QueryInfoRequest {
    /// InfoType.
    pub info_type: InfoType,
    /// FileInfoClass.
    pub information_class: u8,
    /// OutputBufferLength.
    pub output_buffer_length: u32,
    /// Input buffer.
    pub input: Vec<u8>,
    /// AdditionalInformation: parts of a security descriptor, or an index of extended attributes.
    pub additional_information: u32,
    /// Flags.
    pub flags: QueryInfoFlags,
    /// FileId.
    pub file_id: FileId,
}

impl QueryInfoRequest {
    /// A query without input.
    #[must_use]
    pub const fn new(info_type: InfoType, information_class: u8, output_buffer_length: u32, file_id: FileId) -> Self {
        Self {
            info_type,
            information_class,
            output_buffer_length,
            input: Vec::new(),
            additional_information: 0,
            flags: QueryInfoFlags::NONE,
            file_id,
        }
    }

    /// Decodes the element `msg`.
    pub fn decode(msg: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::body(msg, 41)?;
        let info_type = InfoType::from_wire(r.u8()?).ok_or(DecodeError::malformed("InfoType"))?;
        let (information_class, output_buffer_length, offset) = (r.u8()?, r.u32()?, r.len16()?);
        r.skip(2)?;
        let (length, additional_information, flags, file_id) = (r.len32()?, r.u32()?, r.get()?, r.get()?);
        let input = body_part(msg, offset, length, "QUERY_INFO input")?.to_vec();
        Ok(Self { info_type, information_class, output_buffer_length, input, additional_information, flags, file_id })
    }

    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u16(41);
        out.put_u8(self.info_type.to_wire());
        out.put_u8(self.information_class);
        out.put_u32(self.output_buffer_length);
        out.put_u16(if self.input.is_empty() { 0 } else { len_u16(HEADER_SIZE + 40) });
        out.put_u16(0);
        out.put_u32(len_u32(self.input.len()));
        out.put_u32(self.additional_information);
        out.put(&self.flags);
        out.put(&self.file_id);
        out.put_bytes(&self.input);
        if self.input.is_empty() {
            out.put_u8(0);
        }
    }
}
