//! CREATE (MS-SMB2 3.3.5.9): opens, creates, overwrites, reconnects.
//!
//! Reads a request (`wishes`, `target`), decides what is to be done with the name (`plan`), gets the record's consent and changes the
//! file system (`attempt`, `reconnect`), and answers (`reply`). Who may have which file together with whom is the records' business.

mod attach;
mod attempt;
mod pipe;
mod plan;
mod reconnect;
mod reply;
pub(crate) mod target;
mod wishes;

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use smb_proto::{HEADER_SIZE, message::create::CreateRequest};
use smb_types::{ClientGuid, CreateDisposition, CreateGuid, NtStatus};

use super::RequestContext;
use crate::{
    error::Refusal,
    send::Response,
    state::{Server, TreeConnect},
};
use wishes::Wishes;

/// Place of CreateDisposition in the body.
const DISPOSITION_OFFSET: usize = 36;

/// Answers the request.
pub(crate) async fn handle(ctx: &mut RequestContext) -> Result<Response, Refusal> {
    let request = decode(&ctx.message)?;
    let tree = Arc::clone(ctx.tree()?);
    let session = Arc::clone(ctx.session()?);
    let place = ctx.server.open_place(&session, ctx.connection.peer.ip())?;
    let response = if tree.share.is_ipc() { pipe::open(ctx, &request)? } else { file(ctx, &request, &tree).await? };
    if let Some(open) = ctx.chain.file_id.and_then(|file_id| session.open(file_id)) {
        open.keep_place(place);
    }
    Ok(response)
}

/// Answers the request for a file or directory.
async fn file(ctx: &mut RequestContext, request: &CreateRequest, tree: &TreeConnect) -> Result<Response, Refusal> {
    let wishes = Wishes::read(request, ctx.negotiated(), tree)?;
    *ctx.request.create_guid.lock() = wishes.create_guid;
    let _under_way = match wishes.create_guid {
        Some(create_guid) => Some(UnderWay::begin(&ctx.server, ctx.connection.client_guid(), create_guid)?),
        None => None,
    };
    match wishes.reconnect {
        Some(reconnect) => reconnect::reconnect(ctx, &wishes, reconnect).await,
        None => attempt::open(ctx, &wishes).await,
    }
}

/// Reads the request. A reconnect may carry anything in the fields that it leaves behind, an impossible disposition too.
fn decode(message: &Bytes) -> Result<CreateRequest, Refusal> {
    let error = match CreateRequest::decode(message) {
        Ok(request) => return Ok(request),
        Err(error) => error,
    };
    let mut patched = BytesMut::from(&message[..]);
    let at = HEADER_SIZE + DISPOSITION_OFFSET;
    if let Some(field) = patched.get_mut(at..at + 4) {
        field.copy_from_slice(&CreateDisposition::Open.to_wire().to_le_bytes());
    }
    match CreateRequest::decode(&patched) {
        Ok(request) if is_reconnect(&request) => Ok(request),
        Ok(_) | Err(_) => Err(error.into()),
    }
}

fn is_reconnect(request: &CreateRequest) -> bool {
    let contexts = request.sorted_contexts();
    contexts.durable_reconnect.is_some() || contexts.durable_reconnect_v2.is_some()
}

/// A CREATE with a CreateGuid, from its arrival to its answer.
struct UnderWay {
    server: Arc<Server>,
    name: (ClientGuid, CreateGuid),
}

impl UnderWay {
    /// Begins; a second one of the same name has to wait for the first.
    // MS-SMB2 3.3.5.9
    // deviation: the specification does not say what meets an elder that still waits for a break. "Try again" loses nothing.
    fn begin(server: &Arc<Server>, client: ClientGuid, create_guid: CreateGuid) -> Result<Self, Refusal> {
        let name = (client, create_guid);
        if !server.creates_under_way.lock().insert(name) {
            return Err(Refusal::new(NtStatus::FILE_NOT_AVAILABLE, "the same CREATE is still under way"));
        }
        Ok(Self { server: Arc::clone(server), name })
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.server.creates_under_way.lock().remove(&self.name);
    }
}
