//! READ (MS-SMB2 2.2.19, 2.2.20). The response's data is put into the outgoing buffer by the server itself, without a copy.

use bytes::Bytes;
use smb_types::FileId;

use crate::error::DecodeError;
use crate::header::HEADER_SIZE;
use crate::wire::{Put, Reader, body_part, body_part_shared, flags, len_u16, len_u32, patch_u32};

flags! {
    /// Flags of a READ request.
    ReadFlags(u8) {
        /// SMB2_READFLAG_READ_UNBUFFERED (3.0.2).
        UNBUFFERED = 0x1;
        /// SMB2_READFLAG_REQUEST_COMPRESSED (3.1.1).
        REQUEST_COMPRESSED = 0x2;
    }
}

/// Length of a response's fixed part, which the data follows.
const RESPONSE_FIXED: usize = 16;
/// DataOffset of the responses we send.
const DATA_OFFSET: u8 = 80;

/// READ request.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ReadRequest {
    /// Padding: where the client would like the data.
    pub padding: u8,
    /// Flags.
    pub flags: ReadFlags,
    /// Length.
    pub length: u32,
    /// Offset.
    pub offset: u64,
    /// FileId.
    pub file_id: FileId,
    /// MinimumCount.
    pub minimum_count: u32,
    /// Channel: 0 unless RDMA.
    pub channel: u32,
    /// RemainingBytes: a hint.
    pub remaining_bytes: u32,
    /// ReadChannelInfo.
    pub channel_info: Vec<u8>,
}

impl ReadRequest {
    /// Decodes the element `msg`.
    pub fn decode(msg: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::body(msg, 49)?;
        let (padding, flags, length, offset, file_id) = (r.u8()?, r.get()?, r.u32()?, r.u64()?, r.get()?);
        let (minimum_count, channel, remaining_bytes) = (r.u32()?, r.u32()?, r.u32()?);
        let (info_offset, info_length) = (r.len16()?, r.len16()?);
        let info_length = if channel == 0 { 0 } else { info_length };
        let channel_info = body_part(msg, info_offset, info_length, "ReadChannelInfo")?.to_vec();
        Ok(Self { padding, flags, length, offset, file_id, minimum_count, channel, remaining_bytes, channel_info })
    }

    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u16(49);
        out.put_u8(self.padding);
        out.put(&self.flags);
        out.put_u32(self.length);
        out.put_u64(self.offset);
        out.put(&self.file_id);
        out.put_u32(self.minimum_count);
        out.put_u32(self.channel);
        out.put_u32(self.remaining_bytes);
        out.put_u16(if self.channel_info.is_empty() { 0 } else { len_u16(HEADER_SIZE + 48) });
        out.put_u16(len_u16(self.channel_info.len()));
        out.put_bytes(&self.channel_info);
        if self.channel_info.is_empty() {
            out.put_u8(0);
        }
    }
}

/// READ response.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ReadResponse {
    /// The data.
    pub data: Bytes,
    /// DataRemaining.
    pub data_remaining: u32,
    /// Flags: 1 = RDMA transform.
    pub flags: u32,
}

impl ReadResponse {
    /// Decodes the element `msg`, sharing its memory.
    pub fn decode(msg: &Bytes) -> Result<Self, DecodeError> {
        let mut r = Reader::body(msg, 17)?;
        let offset = usize::from(r.u8()?);
        r.skip(1)?;
        let length = r.len32()?;
        let (data_remaining, flags) = (r.u32()?, r.u32()?);
        Ok(Self { data: body_part_shared(msg, offset, length, "READ data")?, data_remaining, flags })
    }

    /// Appends the fixed part of a response of `length` bytes, which the caller appends next.
    pub fn encode_header_for(length: u32, out: &mut Vec<u8>) {
        out.put_u16(17);
        out.put_u8(DATA_OFFSET);
        out.put_u8(0);
        out.put_u32(length);
        out.put_u32(0);
        out.put_u32(0);
    }

    /// Appends the fixed part when the length is not known yet; returns where the data begins. Append the data, then call `finish`.
    #[must_use]
    pub fn begin(out: &mut Vec<u8>) -> usize {
        Self::encode_header_for(0, out);
        out.len()
    }

    /// Ends what `begin` began: everything behind `data_start` is the data.
    pub fn finish(out: &mut Vec<u8>, data_start: usize) {
        let length = len_u32(out.len().saturating_sub(data_start));
        patch_u32(out, data_start.saturating_sub(RESPONSE_FIXED - 4), length);
        if length == 0 {
            // The structure size counts one byte of the buffer, so there must be one.
            out.put_u8(0);
        }
    }

    /// Appends the body, copying the data.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u16(17);
        out.put_u8(DATA_OFFSET);
        out.put_u8(0);
        out.put_u32(len_u32(self.data.len()));
        out.put_u32(self.data_remaining);
        out.put_u32(self.flags);
        out.put_bytes(&self.data);
        if self.data.is_empty() {
            out.put_u8(0);
        }
    }
}
