//! SET_INFO (MS-SMB2 2.2.39, 2.2.40). The classes are in `crate::info`.

use smb_types::FileId;

use super::query_info::InfoType;
use crate::error::DecodeError;
use crate::header::HEADER_SIZE;
use crate::wire::{Put, Reader, body_part, len_u16, len_u32};

/// SET_INFO request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SetInfoRequest {
    /// InfoType.
    pub info_type: InfoType,
    /// FileInfoClass.
    pub information_class: u8,
    /// AdditionalInformation: parts of a security descriptor.
    pub additional_information: u32,
    /// FileId.
    pub file_id: FileId,
    /// What to set.
    pub buffer: Vec<u8>,
}

impl SetInfoRequest {
    /// Sets a class of a file.
    #[must_use]
    pub const fn file(information_class: u8, file_id: FileId, buffer: Vec<u8>) -> Self {
        Self { info_type: InfoType::File, information_class, additional_information: 0, file_id, buffer }
    }

    /// Decodes the element `msg`.
    pub fn decode(msg: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::body(msg, 33)?;
        let info_type = InfoType::from_wire(r.u8()?).ok_or(DecodeError::malformed("InfoType"))?;
        let (information_class, length, offset) = (r.u8()?, r.len32()?, r.len16()?);
        r.skip(2)?;
        let (additional_information, file_id) = (r.u32()?, r.get()?);
        let buffer = body_part(msg, offset, length, "SET_INFO buffer")?.to_vec();
        Ok(Self { info_type, information_class, additional_information, file_id, buffer })
    }

    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u16(33);
        out.put_u8(self.info_type.to_wire());
        out.put_u8(self.information_class);
        out.put_u32(len_u32(self.buffer.len()));
        out.put_u16(len_u16(HEADER_SIZE + 32));
        out.put_u16(0);
        out.put_u32(self.additional_information);
        out.put(&self.file_id);
        out.put_bytes(&self.buffer);
        if self.buffer.is_empty() {
            out.put_u8(0);
        }
    }
}

/// SET_INFO response: its structure size and nothing else.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SetInfoResponse;

impl SetInfoResponse {
    /// Decodes the element `msg`.
    pub fn decode(msg: &[u8]) -> Result<Self, DecodeError> {
        Reader::body(msg, 2).map(|_| Self)
    }

    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u16(2);
    }
}
