//! FSCTL_PIPE_TRANSCEIVE, FSCTL_PIPE_PEEK, FSCTL_PIPE_WAIT (MS-SMB2 3.3.5.15.10, MS-FSCC 2.3.46 to 2.3.49).

use std::sync::Arc;

use smb_proto::{fsctl::PipeWaitRequest, message::ioctl::IoctlRequest, wire::Put as _};
use smb_types::{AccessMask, NtStatus};

use super::{Output, unknown};
use crate::{error::Refusal, pipe, receive::RequestContext, state::Open};

/// FILE_PIPE_CONNECTED_STATE.
const CONNECTED: u32 = 3;
/// Length of a peek's fixed part.
const PEEK_FIXED: u32 = 16;

/// Writes a message and reads the answer. What does not fit is left for READ.
pub(super) async fn transceive(ctx: &mut RequestContext, open: &Arc<Open>, request: &IoctlRequest) -> Result<Output, Refusal> {
    let pipe = Arc::clone(open.pipe().ok_or_else(unknown)?);
    if !open.granted_access.contains(AccessMask::READ_DATA | AccessMask::WRITE_DATA) {
        return Err(Refusal::new(NtStatus::ACCESS_DENIED, "needs reading and writing"));
    }
    pipe::write(ctx, &pipe, &request.input)?;
    let read = pipe::read(ctx, open, &pipe, usize::try_from(request.max_output_response).unwrap_or(usize::MAX)).await?;
    let status = if read.has_more { NtStatus::BUFFER_OVERFLOW } else { NtStatus::SUCCESS };
    Ok((read.data, status))
}

/// Tells how much waits; the data itself stays.
pub(super) fn peek(ctx: &RequestContext, open: &Arc<Open>, request: &IoctlRequest) -> Result<Output, Refusal> {
    let pipe = open.pipe().ok_or_else(unknown)?;
    open.require_any(AccessMask::READ_DATA)?;
    if request.max_output_response < PEEK_FIXED {
        return Err(Refusal::new(NtStatus::BUFFER_TOO_SMALL, "no room for the output"));
    }
    let (waiting, first) = pipe::association(ctx, pipe).waiting();
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let mut out = Vec::new();
    out.put_u32(CONNECTED);
    out.put_u32(count(waiting));
    out.put_u32(u32::from(waiting > 0));
    out.put_u32(count(first));
    // windows: message bytes that wait and were not given make it an overflow.
    Ok((out, if waiting > 0 { NtStatus::BUFFER_OVERFLOW } else { NtStatus::SUCCESS }))
}

/// Our pipes always have a free instance.
pub(super) fn wait(ctx: &RequestContext, request: &IoctlRequest) -> Result<Output, Refusal> {
    let name = PipeWaitRequest::decode(&request.input)?.name;
    if ctx.tree()?.share.is_ipc() && pipe::is_served(&ctx.server, &name) {
        return Ok((Vec::new(), NtStatus::SUCCESS));
    }
    Err(Refusal::new(NtStatus::OBJECT_NAME_NOT_FOUND, "no such pipe"))
}
