//! IOCTL (MS-SMB2 3.3.5.15): checks what all codes have in common and dispatches, one file per code.

mod allocated_ranges;
mod compression;
mod copychunk;
mod dfs;
mod duplicate_extents;
mod network_interface;
mod object_id;
mod pipe;
mod reparse_point;
mod resiliency;
mod resume_key;
mod snapshots;
mod sparse;
mod trim;
mod validate_negotiate;
mod zero_data;

use std::sync::Arc;

use smb_proto::{
    fsctl::code,
    message::ioctl::{IoctlRequest, IoctlResponse},
};
use smb_types::{FileId, NtStatus};

use super::RequestContext;
use crate::{error::Refusal, send::Response, state::Open};

/// What a code answers: the output buffer and SUCCESS or BUFFER_OVERFLOW.
type Output = (Vec<u8>, NtStatus);

/// Answers the request.
pub(crate) async fn handle(ctx: &mut RequestContext) -> Result<Response, Refusal> {
    let request = IoctlRequest::decode(&ctx.message)?;
    check_counts(ctx, &request)?;
    // MS-SMB2 3.3.5.15
    if !request.is_fsctl() {
        return Err(Refusal::new(NtStatus::NOT_SUPPORTED, "not an FSCTL"));
    }
    if code::is_without_file(request.ctl_code) {
        if request.file_id != FileId::ALL_ONES {
            return Err(Refusal::invalid("this code is about no file"));
        }
        return without_file(ctx, &request).await;
    }
    let open = ctx.open(request.file_id)?;
    let (output, status) = with_file(ctx, &open, &request).await?;
    let response = IoctlResponse { file_id: open.file_id, ..IoctlResponse::to(&request, output) };
    Ok(Response::encode(status, |out| response.encode(out)))
}

// MS-SMB2 3.3.5.15, 3.3.5.2.5
fn check_counts(ctx: &RequestContext, request: &IoctlRequest) -> Result<(), Refusal> {
    let max = u64::from(ctx.negotiated().transact_bytes_max);
    let sent = request.input.len() as u64;
    let too_long = sent > max || u64::from(request.max_input_response) > max || u64::from(request.max_output_response) > max;
    if too_long {
        return Err(Refusal::invalid("longer than MaxTransactSize"));
    }
    let expected = u64::from(request.max_input_response) + u64::from(request.max_output_response);
    ctx.check_charge(sent + u64::from(request.output_count), expected)
}

async fn without_file(ctx: &mut RequestContext, request: &IoctlRequest) -> Result<Response, Refusal> {
    match request.ctl_code {
        code::VALIDATE_NEGOTIATE_INFO => validate_negotiate::answer(ctx, request),
        code::QUERY_NETWORK_INTERFACE_INFO => reply(request, network_interface::query(ctx, request)?),
        code::PIPE_WAIT => reply(request, pipe::wait(ctx, request)?),
        code::DFS_GET_REFERRALS | code::DFS_GET_REFERRALS_EX => Err(dfs::refuse()),
        _ => Err(unknown()),
    }
}

fn reply(request: &IoctlRequest, (output, status): Output) -> Result<Response, Refusal> {
    let response = IoctlResponse::to(request, output);
    Ok(Response::encode(status, |out| response.encode(out)))
}

async fn with_file(ctx: &mut RequestContext, open: &Arc<Open>, request: &IoctlRequest) -> Result<Output, Refusal> {
    if open.pipe().is_some() {
        return match request.ctl_code {
            code::PIPE_TRANSCEIVE => pipe::transceive(ctx, open, request).await,
            code::PIPE_PEEK => pipe::peek(ctx, open, request),
            _ => Err(unknown()),
        };
    }
    let done = |result: Result<(), Refusal>| result.map(|()| (Vec::new(), NtStatus::SUCCESS));
    match request.ctl_code {
        code::SRV_REQUEST_RESUME_KEY => resume_key::answer(open, request),
        code::SRV_COPYCHUNK | code::SRV_COPYCHUNK_WRITE => copychunk::copy(ctx, open, request).await,
        code::SRV_ENUMERATE_SNAPSHOTS => snapshots::list(request),
        code::LMR_REQUEST_RESILIENCY => done(resiliency::request(ctx, open, request).await),
        code::SET_SPARSE => done(sparse::set(ctx, open, request)),
        code::SET_ZERO_DATA => done(zero_data::zero(ctx, open, request).await),
        code::QUERY_ALLOCATED_RANGES => allocated_ranges::query(open, request),
        code::CREATE_OR_GET_OBJECT_ID | code::GET_OBJECT_ID => object_id::get(open, request),
        code::GET_REPARSE_POINT | code::SET_REPARSE_POINT | code::DELETE_REPARSE_POINT => Err(reparse_point::refuse(request.ctl_code)),
        code::GET_COMPRESSION => compression::get(request),
        code::SET_COMPRESSION => done(compression::set(open, request)),
        code::DUPLICATE_EXTENTS_TO_FILE | code::DUPLICATE_EXTENTS_TO_FILE_EX => {
            done(duplicate_extents::duplicate(ctx, open, request).await)
        }
        code::FILE_LEVEL_TRIM => trim::trim(ctx, open, request).await,
        code::OFFLOAD_READ | code::OFFLOAD_WRITE => Err(Refusal::new(NtStatus::NOT_SUPPORTED, "no offloaded copies")),
        other => {
            tracing::debug!(code = other, name = code::name(other), "an unknown control code");
            Err(unknown())
        }
    }
}

/// Clients take this for "the feature is absent".
fn unknown() -> Refusal {
    Refusal::new(NtStatus::INVALID_DEVICE_REQUEST, "no such control code here")
}

/// A reply of fixed length.
///
/// # Errors
/// BUFFER_TOO_SMALL when the client has no room for it.
fn whole(output: Vec<u8>, request: &IoctlRequest) -> Result<Output, Refusal> {
    if output.len() > usize::try_from(request.max_output_response).unwrap_or(usize::MAX) {
        return Err(Refusal::new(NtStatus::BUFFER_TOO_SMALL, "no room for the output"));
    }
    Ok((output, NtStatus::SUCCESS))
}
