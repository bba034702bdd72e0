//! QUERY_INFO (MS-SMB2 3.3.5.20): dispatches to files, file systems and security.

mod ea;
mod file;
mod fs;
mod name;
mod pipe;
mod security;
mod stream;

use smb_proto::{
    info::FileClass,
    message::query_info::{InfoType, QueryInfoRequest, QueryInfoResponse},
};
use smb_types::NtStatus;

use super::RequestContext;
use crate::{error::Refusal, send::Response};

/// A reply and its status: SUCCESS, or BUFFER_OVERFLOW when it was cut.
type Reply = (Vec<u8>, NtStatus);

/// Answers the request.
pub(crate) async fn handle(ctx: &mut RequestContext) -> Result<Response, Refusal> {
    let request = QueryInfoRequest::decode(&ctx.message)?;
    if request.output_buffer_length > ctx.negotiated().transact_bytes_max
        || request.input.len() as u64 > u64::from(ctx.negotiated().transact_bytes_max)
    {
        return Err(Refusal::invalid("longer than MaxTransactSize"));
    }
    ctx.check_charge(request.input.len() as u64, u64::from(request.output_buffer_length))?;
    let open = ctx.open(request.file_id)?;
    let (output, status) = match request.info_type {
        InfoType::File => {
            let Some(class) = FileClass::from_wire(request.information_class) else {
                return Err(Refusal::new(NtStatus::INVALID_INFO_CLASS, "no such file class"));
            };
            match open.pipe() {
                Some(pipe) => pipe::query(&open, pipe, class, &request)?,
                None => file::query(ctx, &open, class, &request)?,
            }
        }
        InfoType::FileSystem => fs::query(&open, &request)?,
        InfoType::Security => security::query(ctx, &open, &request)?,
        InfoType::Quota => return Err(Refusal::new(NtStatus::NOT_SUPPORTED, "there are no quotas")),
    };
    let response = QueryInfoResponse::new(output);
    Ok(Response::encode(status, |out| response.encode(out)))
}

/// Cuts a reply to the client's buffer.
fn fit(reply: Vec<u8>, fixed: usize, request: &QueryInfoRequest) -> Result<Reply, Refusal> {
    smb_proto::info::fit(reply, fixed, request.output_buffer_length).map_err(|status| Refusal::new(status, "the buffer is too small"))
}

/// A reply of fixed length.
fn whole(reply: Vec<u8>, request: &QueryInfoRequest) -> Result<Reply, Refusal> {
    let fixed = reply.len();
    fit(reply, fixed, request)
}
