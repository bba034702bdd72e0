//! TREE_DISCONNECT: every open of the tree is closed for good (MS-SMB2 3.3.5.8).

use std::sync::Arc;

use smb_proto::message::tree_disconnect::{TreeDisconnectRequest, TreeDisconnectResponse};

use super::RequestContext;
use crate::{error::Refusal, loss, send::Response};

/// Answers the request.
// MS-SMB2 3.3.5.8
// Persistent opens go too: a client that disconnects its tree has no more use for them.
pub(crate) async fn handle(ctx: &mut RequestContext) -> Result<Response, Refusal> {
    TreeDisconnectRequest::decode(&ctx.message)?;
    let session = Arc::clone(ctx.session()?);
    let tree = Arc::clone(ctx.tree()?);
    session.remove_tree(tree.tree_id);
    loss::end_tree(&ctx.server, &session, &tree).await;
    Ok(Response::success(|out| TreeDisconnectResponse.encode(out)))
}
