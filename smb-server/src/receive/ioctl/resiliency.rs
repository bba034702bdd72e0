//! FSCTL_LMR_REQUEST_RESILIENCY (MS-SMB2 3.3.5.15.9): the open shall survive a lost connection.

use std::sync::{Arc, atomic::Ordering};

use persistence_model::Command;
use smb_proto::{fsctl::ResiliencyRequest, message::ioctl::IoctlRequest};
use smb_types::{Dialect, NtStatus};

use crate::{
    error::Refusal,
    receive::{RequestContext, io},
    state::Open,
};

/// Makes the open resilient.
pub(super) async fn request(ctx: &RequestContext, open: &Arc<Open>, request: &IoctlRequest) -> Result<(), Refusal> {
    if ctx.dialect() == Dialect::Smb202 {
        return Err(Refusal::new(NtStatus::INVALID_DEVICE_REQUEST, "2.0.2 knows no resiliency"));
    }
    let wish = ResiliencyRequest::decode(&request.input).map_err(|_| Refusal::invalid("a short resiliency request"))?;
    let command = Command::SetResilient { open: open.open_id, timeout_ms: wish.timeout_ms, by: ctx.server.store.incarnation() };
    io::done(&ctx.server.propose(command).await?)?;
    open.is_resilient.store(true, Ordering::Release);
    Ok(())
}
