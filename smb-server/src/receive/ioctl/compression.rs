//! FSCTL_GET_COMPRESSION and FSCTL_SET_COMPRESSION (MS-FSA 2.1.5.10.8, 2.1.5.10.32): nothing is compressed.

use smb_proto::{
    fsctl::{CompressionState, compression::FORMAT_NONE},
    message::ioctl::IoctlRequest,
};
use smb_types::{AccessMask, NtStatus};

use super::Output;
use crate::{error::Refusal, state::Open};

/// Length of the output.
const OUTPUT_BYTES: u32 = 2;

/// Tells that the file is not compressed.
pub(super) fn get(request: &IoctlRequest) -> Result<Output, Refusal> {
    if request.max_output_response < OUTPUT_BYTES {
        return Err(Refusal::invalid("no room for the output"));
    }
    Ok((CompressionState { format: FORMAT_NONE }.to_bytes(), NtStatus::SUCCESS))
}

/// "Not compressed" can be had.
pub(super) fn set(open: &Open, request: &IoctlRequest) -> Result<(), Refusal> {
    let wish = CompressionState::decode(&request.input).map_err(|_| Refusal::invalid("a short format"))?;
    if !open.granted_access.contains(AccessMask::READ_DATA | AccessMask::WRITE_DATA) {
        return Err(Refusal::new(NtStatus::ACCESS_DENIED, "needs reading and writing"));
    }
    match wish.format {
        FORMAT_NONE => Ok(()),
        _ => Err(Refusal::new(NtStatus::NOT_SUPPORTED, "nothing is compressed here")),
    }
}
