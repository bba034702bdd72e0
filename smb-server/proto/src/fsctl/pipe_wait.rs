//! FSCTL_PIPE_WAIT (MS-FSCC 2.3.49).

use crate::error::DecodeError;
use crate::utf16;
use crate::wire::{Put, Reader, len_u32};

/// Waits until a pipe has a free instance.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PipeWaitRequest {
    /// Timeout in units of 100 ns; None is the pipe's own.
    pub timeout_100ns: Option<u64>,
    /// Name.
    pub name: String,
}

impl PipeWaitRequest {
    /// Decodes the input.
    pub fn decode(buf: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(buf);
        let (timeout, length, specified) = (r.u64()?, r.len32()?, r.get::<bool>()?);
        r.skip(1)?;
        Ok(Self { timeout_100ns: specified.then_some(timeout), name: utf16::decode(r.bytes(length)?, "pipe name")? })
    }

    /// Appends the input.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u64(self.timeout_100ns.unwrap_or(0));
        out.put_u32(len_u32(utf16::byte_len(&self.name)));
        out.put(&self.timeout_100ns.is_some());
        out.put_u8(0);
        utf16::encode(&self.name, out);
    }
}
