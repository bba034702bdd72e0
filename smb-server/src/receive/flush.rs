//! FLUSH (MS-SMB2 3.3.5.11).

use persistence_model::IoKind;
use smb_proto::message::flush::{FlushRequest, FlushResponse};
use smb_types::AccessMask;

use super::{RequestContext, io};
use crate::{blocking::blocking, error::Refusal, send::Response};

/// Answers the request.
pub(crate) async fn handle(ctx: &mut RequestContext) -> Result<Response, Refusal> {
    let request = FlushRequest::decode(&ctx.message)?;
    let open = ctx.open(request.file_id)?;
    let done = || Ok(Response::success(|out| FlushResponse.encode(out)));
    if open.pipe().is_some() {
        return done();
    }
    let file = open.file_with(AccessMask::WRITE_DATA | AccessMask::APPEND_DATA)?;
    // It changes nothing that anybody could see: nobody has to wait until it is done.
    drop(io::clear(ctx, &open, IoKind::Read, None).await?);
    // Whatever went through a write-through open is on disk already.
    if !open.write_through {
        blocking(|| file.flush())?;
    }
    io::still_ours(ctx, &open)?;
    done()
}
