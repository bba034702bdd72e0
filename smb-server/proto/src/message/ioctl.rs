//! IOCTL (MS-SMB2 2.2.31, 2.2.32). What the buffers mean is in `crate::fsctl`.

use smb_types::FileId;

use crate::error::DecodeError;
use crate::header::HEADER_SIZE;
use crate::wire::{Put, Reader, align, body_part, len_u32, patch_u32};

/// Flag: the code is an FSCTL; all that is supported.
pub const IOCTL_FLAG_IS_FSCTL: u32 = 1;
/// Length of a request's fixed part.
const REQUEST_FIXED: usize = 56;
/// Length of a response's fixed part.
const RESPONSE_FIXED: usize = 48;

/// IOCTL request.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct IoctlRequest {
    /// CtlCode.
    pub ctl_code: u32,
    /// FileId.
    pub file_id: FileId,
    /// Input buffer.
    pub input: Vec<u8>,
    /// MaxInputResponse.
    pub max_input_response: u32,
    /// OutputCount as sent; counts in the credit charge only.
    pub output_count: u32,
    /// MaxOutputResponse.
    pub max_output_response: u32,
    /// Flags.
    pub flags: u32,
}

impl IoctlRequest {
    /// Tells whether the code is an FSCTL.
    #[must_use]
    pub const fn is_fsctl(&self) -> bool {
        self.flags == IOCTL_FLAG_IS_FSCTL
    }

    /// Decodes the element `msg`.
    pub fn decode(msg: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::body(msg, 57)?;
        r.skip(2)?;
        let (ctl_code, file_id) = (r.u32()?, r.get()?);
        let (input_offset, input_count, max_input_response) = (r.len32()?, r.len32()?, r.u32()?);
        r.skip(4)?;
        let (output_count, max_output_response, flags) = (r.u32()?, r.u32()?, r.u32()?);
        r.skip(4)?;
        let input = body_part(msg, input_offset, input_count, "IOCTL input")?.to_vec();
        Ok(Self { ctl_code, file_id, input, max_input_response, output_count, max_output_response, flags })
    }

    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u16(57);
        out.put_u16(0);
        out.put_u32(self.ctl_code);
        out.put(&self.file_id);
        out.put_u32(if self.input.is_empty() { 0 } else { len_u32(HEADER_SIZE + REQUEST_FIXED) });
        out.put_u32(len_u32(self.input.len()));
        out.put_u32(self.max_input_response);
        out.put_u32(0);
        out.put_u32(self.output_count);
        out.put_u32(self.max_output_response);
        out.put_u32(self.flags);
        out.put_u32(0);
        out.put_bytes(&self.input);
        if self.input.is_empty() {
            out.put_u8(0);
        }
    }
}

/// IOCTL response.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct IoctlResponse {
    /// CtlCode.
    pub ctl_code: u32,
    /// FileId.
    pub file_id: FileId,
    /// Input buffer given back; empty for every code we serve.
    pub input: Vec<u8>,
    /// Output buffer.
    pub output: Vec<u8>,
    /// Flags.
    pub flags: u32,
}

impl IoctlResponse {
    /// The answer to `request` with `output`.
    #[must_use]
    pub const fn to(request: &IoctlRequest, output: Vec<u8>) -> Self {
        Self { ctl_code: request.ctl_code, file_id: request.file_id, input: Vec::new(), output, flags: 0 }
    }

    /// Decodes the element `msg`.
    pub fn decode(msg: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::body(msg, 49)?;
        r.skip(2)?;
        let (ctl_code, file_id) = (r.u32()?, r.get()?);
        let (input_offset, input_count, output_offset, output_count) = (r.len32()?, r.len32()?, r.len32()?, r.len32()?);
        let flags = r.u32()?;
        let input = body_part(msg, input_offset, input_count, "IOCTL input")?.to_vec();
        let output = body_part(msg, output_offset, output_count, "IOCTL output")?.to_vec();
        Ok(Self { ctl_code, file_id, input, output, flags })
    }

    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.put_u16(49);
        out.put_u16(0);
        out.put_u32(self.ctl_code);
        out.put(&self.file_id);
        out.put_u32(len_u32(HEADER_SIZE + RESPONSE_FIXED));
        out.put_u32(len_u32(self.input.len()));
        let output_at = out.len();
        out.put_u32(len_u32(HEADER_SIZE + RESPONSE_FIXED));
        out.put_u32(len_u32(self.output.len()));
        out.put_u32(self.flags);
        out.put_u32(0);
        out.put_bytes(&self.input);
        if !self.input.is_empty() {
            align(out, start, 8);
            let offset = len_u32(out.len() - start + HEADER_SIZE);
            patch_u32(out, output_at, offset);
        }
        out.put_bytes(&self.output);
        if self.input.is_empty() && self.output.is_empty() {
            out.put_u8(0);
        }
    }
}
