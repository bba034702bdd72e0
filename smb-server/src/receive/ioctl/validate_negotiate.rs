//! FSCTL_VALIDATE_NEGOTIATE_INFO (MS-SMB2 3.3.5.15.12): nobody has meddled with NEGOTIATE.

use smb_proto::{
    fsctl::{ValidateNegotiateRequest, ValidateNegotiateResponse},
    message::ioctl::{IoctlRequest, IoctlResponse},
};
use smb_types::{Dialect, NtStatus};

use crate::{
    error::Refusal,
    receive::RequestContext,
    send::{Response, response::SignWith},
};

/// Length of the output.
const OUTPUT_BYTES: u32 = 24;

/// Answers, or ends the connection.
// MS-SMB2 3.3.5.15.12
// Whatever differs from what was really negotiated ends the connection, and so does the question on 3.1.1. The answer is always signed.
pub(super) fn answer(ctx: &mut RequestContext, request: &IoctlRequest) -> Result<Response, Refusal> {
    let Ok(told) = ValidateNegotiateRequest::decode(&request.input) else {
        return Err(ctx.disconnect("a malformed VALIDATE_NEGOTIATE_INFO"));
    };
    let negotiated = std::sync::Arc::clone(ctx.negotiated());
    let same = negotiated.dialect != Dialect::Smb311
        && told.capabilities == negotiated.client_capabilities
        && told.client_guid == negotiated.client_guid
        && told.security_mode == negotiated.client_security_mode
        && told.dialects == negotiated.client_dialects;
    if !same {
        return Err(ctx.disconnect("VALIDATE_NEGOTIATE_INFO differs from what was negotiated"));
    }
    if request.max_output_response < OUTPUT_BYTES {
        return Err(ctx.disconnect("no room for VALIDATE_NEGOTIATE_INFO"));
    }
    let output = ValidateNegotiateResponse {
        capabilities: negotiated.server_capabilities,
        server_guid: negotiated.server_guid,
        security_mode: negotiated.server_security_mode,
        dialect: negotiated.dialect.to_wire(),
    };
    let reply = IoctlResponse::to(request, output.to_bytes());
    let mut response = Response::encode(NtStatus::SUCCESS, |out| reply.encode(out));
    let key = ctx.session()?.signing_key(ctx.connection.connection_id);
    if let Some(key) = key.filter(|_| !ctx.is_encrypted()) {
        response.sign = SignWith::Key(key);
    }
    Ok(response)
}
