//! WRITE (MS-SMB2 2.2.21, 2.2.22). The request's data shares the message's memory.

use bytes::Bytes;
use smb_types::FileId;

use crate::error::DecodeError;
use crate::header::HEADER_SIZE;
use crate::wire::{Put, Reader, body_part, body_part_shared, flags, len_u16, len_u32};

flags! {
    /// Flags of a WRITE request.
    WriteFlags(u32) {
        /// SMB2_WRITEFLAG_WRITE_THROUGH (2.1).
        WRITE_THROUGH = 0x1;
        /// SMB2_WRITEFLAG_WRITE_UNBUFFERED (3.0.2).
        UNBUFFERED = 0x2;
    }
}

/// Largest DataOffset the server accepts.
pub const DATA_OFFSET_MAX: usize = 0x100;
/// Length of a request's fixed part, which the data follows.
const REQUEST_FIXED: usize = 48;

/// WRITE request.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct WriteRequest {
    /// Offset; all bits set appends.
    pub offset: u64,
    /// FileId.
    pub file_id: FileId,
    /// Channel: 0 unless RDMA.
    pub channel: u32,
    /// RemainingBytes: a hint.
    pub remaining_bytes: u32,
    /// WriteChannelInfo.
    pub channel_info: Vec<u8>,
    /// Flags.
    pub flags: WriteFlags,
    /// The data.
    pub data: Bytes,
}

impl WriteRequest {
    /// Decodes the element `msg`, sharing its memory.
    pub fn decode(msg: &Bytes) -> Result<Self, DecodeError> {
        let mut r = Reader::body(msg, 49)?;
        let (data_offset, length) = (r.len16()?, r.len32()?);
        let (offset, file_id, channel, remaining_bytes) = (r.u64()?, r.get()?, r.u32()?, r.u32()?);
        let (info_offset, info_length) = (r.len16()?, r.len16()?);
        let flags = r.get()?;
        // MS-SMB2 3.3.5.13: data starting further than 0x100 into the message is refused, and so is data that is not all there.
        let data = if channel == 0 {
            if data_offset > DATA_OFFSET_MAX {
                return Err(DecodeError::malformed("WRITE DataOffset"));
            }
            body_part_shared(msg, data_offset, length, "WRITE data")?
        } else {
            Bytes::new()
        };
        let info_length = if channel == 0 { 0 } else { info_length };
        let channel_info = body_part(msg, info_offset, info_length, "WriteChannelInfo")?.to_vec();
        Ok(Self { offset, file_id, channel, remaining_bytes, channel_info, flags, data })
    }

    /// Appends the body, copying the data.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u16(49);
        out.put_u16(len_u16(HEADER_SIZE + REQUEST_FIXED));
        out.put_u32(len_u32(self.data.len()));
        out.put_u64(self.offset);
        out.put(&self.file_id);
        out.put_u32(self.channel);
        out.put_u32(self.remaining_bytes);
        let info_at = HEADER_SIZE.saturating_add(REQUEST_FIXED).saturating_add(self.data.len());
        out.put_u16(if self.channel_info.is_empty() { 0 } else { len_u16(info_at) });
        out.put_u16(len_u16(self.channel_info.len()));
        out.put(&self.flags);
        out.put_bytes(&self.data);
        out.put_bytes(&self.channel_info);
        if self.data.is_empty() && self.channel_info.is_empty() {
            out.put_u8(0);
        }
    }
}

/// WRITE response.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct WriteResponse {
    /// Count of bytes written.
    pub count: u32,
}

impl WriteResponse {
    /// Decodes the element `msg`.
    pub fn decode(msg: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::body(msg, 17)?;
        r.skip(2)?;
        let count = r.u32()?;
        r.skip(8)?;
        Ok(Self { count })
    }

    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u16(17);
        out.put_u16(0);
        out.put_u32(self.count);
        out.put_zeros(8);
        // The structure size counts one byte of an (always empty) buffer, which no server sends.
    }
}
