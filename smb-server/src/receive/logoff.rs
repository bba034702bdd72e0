//! LOGOFF: the session ends; durable opens wait for their client (MS-SMB2 3.3.5.6).

use std::sync::Arc;

use persistence_model::DisconnectReason;
use smb_proto::message::logoff::{LogoffRequest, LogoffResponse};

use super::RequestContext;
use crate::{error::Refusal, loss, send::Response};

/// Answers the request.
// MS-SMB2 3.3.5.6
// The session leaves all tables first; its opens are detached or closed as the records decide.
pub(crate) async fn handle(ctx: &mut RequestContext) -> Result<Response, Refusal> {
    LogoffRequest::decode(&ctx.message)?;
    let session = Arc::clone(ctx.session()?);
    ctx.connection.remove_session(session.session_id);
    if ctx.server.remove_session(session.session_id).is_some() {
        loss::end_session(&ctx.server, &session, DisconnectReason::Logoff).await;
    }
    Ok(Response::success(|out| LogoffResponse.encode(out)))
}
