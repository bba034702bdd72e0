//! The response of QUERY_INFO, QUERY_DIRECTORY and CHANGE_NOTIFY: one buffer (MS-SMB2 2.2.38, 2.2.34, 2.2.36).

use crate::error::DecodeError;
use crate::header::HEADER_SIZE;
use crate::wire::{Put, Reader, body_part, len_u16, len_u32};

/// A response of one buffer.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct BufferResponse {
    /// The output buffer.
    pub output: Vec<u8>,
}

impl BufferResponse {
    /// A response with this buffer.
    #[must_use]
    pub const fn new(output: Vec<u8>) -> Self {
        Self { output }
    }

    /// Decodes the element `msg`.
    pub fn decode(msg: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::body(msg, 9)?;
        let (offset, length) = (r.len16()?, r.len32()?);
        Ok(Self { output: body_part(msg, offset, length, "output buffer")?.to_vec() })
    }

    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u16(9);
        out.put_u16(if self.output.is_empty() { 0 } else { len_u16(HEADER_SIZE + 8) });
        out.put_u32(len_u32(self.output.len()));
        out.put_bytes(&self.output);
        if self.output.is_empty() {
            out.put_u8(0);
        }
    }
}
