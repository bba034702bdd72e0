//! CREATE (MS-SMB2 3.3.5.9): opens, creates, overwrites, reconnects.
//!
//! Reads a request (`wishes`, `target`), decides what is to be done with the name (`plan`), gets the record's consent and changes the
//! file system (`attempt`, `reconnect`), and answers (`reply`). Who may have which file together with whom is the records' business.

pub(crate) mod access;
mod attempt;
mod attach;
mod pipe;
mod plan;
mod reconnect;
mod reply;
pub(crate) mod target;
mod wishes;

use smb_proto::message::create::CreateRequest;
use smb_types::NtStatus;

use super::RequestContext;
use crate::{error::Refusal, send::Response};
use wishes::Wishes;

/// Answers the request.
pub(crate) async fn handle(ctx: &mut RequestContext) -> Result<Response, Refusal> {
    let request = CreateRequest::decode(&ctx.message)?;
    let tree = std::sync::Arc::clone(ctx.tree()?);
    if ctx.session()?.open_count() >= ctx.server.config.opens_per_session_max {
        return Err(Refusal::new(NtStatus::INSUFFICIENT_RESOURCES, "too many opens in this session"));
    }
    if tree.share.is_ipc() {
        return pipe::open(ctx, &request);
    }
    let wishes = Wishes::read(&request, ctx.negotiated(), &tree)?;
    *ctx.request.create_guid.lock() = wishes.create_guid;
    match wishes.reconnect {
        Some(reconnect) => reconnect::reconnect(ctx, &wishes, reconnect).await,
        None => attempt::open(ctx, &wishes).await,
    }
}
