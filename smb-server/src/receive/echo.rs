//! ECHO: "are you there?" (MS-SMB2 3.3.5.17). Works without a session.

use smb_proto::message::echo::{EchoRequest, EchoResponse};

use super::RequestContext;
use crate::{error::Refusal, send::Response};

/// Answers the request.
pub(crate) async fn handle(ctx: &mut RequestContext) -> Result<Response, Refusal> {
    EchoRequest::decode(&ctx.message)?;
    Ok(Response::success(|out| EchoResponse.encode(out)))
}
