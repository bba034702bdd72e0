//! READ (MS-SMB2 3.3.5.12): from the file straight into the outgoing buffer.

use std::sync::{Arc, atomic::Ordering};

use persistence_model::IoKind;
use smb_proto::message::read::{ReadRequest, ReadResponse};
use smb_types::{AccessMask, NtStatus};

use super::{
    RequestContext,
    io::{self, Touch},
};
use crate::{
    blocking::blocking,
    error::Refusal,
    pipe,
    send::Response,
    state::{Open, Pipe},
};

/// Length of a response's fixed part.
const FIXED: usize = 16;

/// Answers the request.
pub(crate) async fn handle(ctx: &mut RequestContext) -> Result<Response, Refusal> {
    let request = ReadRequest::decode(&ctx.message)?;
    if request.length > ctx.negotiated().read_bytes_max {
        return Err(Refusal::invalid("longer than MaxReadSize"));
    }
    ctx.check_charge(0, u64::from(request.length))?;
    let open = ctx.open(request.file_id)?;
    let length = usize::try_from(request.length).unwrap_or(usize::MAX);
    if let Some(pipe) = open.pipe().map(Arc::clone) {
        return from_pipe(ctx, &open, &pipe, length).await;
    }
    if open.is_directory {
        return Err(Refusal::new(NtStatus::INVALID_DEVICE_REQUEST, "a directory is not read"));
    }
    if request.channel != 0 {
        return Err(Refusal::invalid("RDMA is not offered"));
    }
    let file = open.file_with(AccessMask::READ_DATA | AccessMask::EXECUTE)?;
    // MS-FSA 2.1.5.3
    let end = request.offset.checked_add(u64::from(request.length)).filter(|end| i64::try_from(*end).is_ok());
    let Some(end) = end else { return Err(Refusal::invalid("beyond the largest offset")) };
    let flight = io::clear(ctx, &open, IoKind::Read, Some(Touch { offset: request.offset, length: u64::from(request.length) })).await?;
    let mut response = Response::with_room(FIXED + length);
    let body = response.body_end();
    body.extend_from_slice(&[0; FIXED]);
    let count = blocking(|| file.read_onto(request.offset, length, body))?;
    drop(flight);
    io::still_ours(ctx, &open)?;
    // MS-SMB2 3.3.5.12
    // Nothing, or less than the client insists on, is the end of the file.
    if (count == 0 && length > 0) || count < usize::try_from(request.minimum_count).unwrap_or(usize::MAX) {
        return Err(Refusal::new(NtStatus::END_OF_FILE, "at or behind the end of the file"));
    }
    open.position.store(end.min(request.offset + count as u64), Ordering::Relaxed);
    seal(&mut response, count);
    Ok(response)
}

/// Writes the fixed part in front of `count` bytes of data.
fn seal(response: &mut Response, count: usize) {
    let mut fixed = Vec::with_capacity(FIXED);
    ReadResponse::encode_header_for(u32::try_from(count).expect("at most MaxReadSize"), &mut fixed);
    response.body_mut()[..FIXED].copy_from_slice(&fixed);
    if count == 0 {
        // StructureSize counts one byte of the buffer.
        *response = Response::from_body(NtStatus::SUCCESS, &[&fixed[..], &[0]].concat());
    }
}

async fn from_pipe(ctx: &mut RequestContext, open: &Open, pipe: &Pipe, length: usize) -> Result<Response, Refusal> {
    open.require_any(AccessMask::READ_DATA)?;
    let read = pipe::read(ctx, open, pipe, length).await?;
    let status = if read.has_more { NtStatus::BUFFER_OVERFLOW } else { NtStatus::SUCCESS };
    let response = ReadResponse { data: read.data.into(), ..ReadResponse::default() };
    Ok(Response::encode(status, |out| response.encode(out)))
}
