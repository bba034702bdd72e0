//! OPLOCK_BREAK: the client acknowledges that an oplock or lease has shrunk (MS-SMB2 3.3.5.22).
//!
//! It may come on another channel than the notification went out on; only file id and lease key count.

use persistence_model::{Command, Outcome};
use smb_proto::message::oplock_break::{LeaseBreakAck, OplockBreak, OplockBreakRequest};
use smb_types::{NtStatus, OplockLevel};

use super::RequestContext;
use crate::{error::Refusal, send::Response};

/// Answers the request.
pub(crate) async fn handle(ctx: &mut RequestContext) -> Result<Response, Refusal> {
    match OplockBreakRequest::decode(&ctx.message)? {
        OplockBreakRequest::Lease(acknowledged) => lease(ctx, acknowledged).await,
        OplockBreakRequest::Oplock(acknowledged) => oplock(ctx, acknowledged).await,
    }
}

// MS-SMB2 3.3.5.22.2
async fn lease(ctx: &mut RequestContext, acknowledged: LeaseBreakAck) -> Result<Response, Refusal> {
    let command = Command::LeaseAck { client_guid: ctx.connection.client_guid(), key: acknowledged.lease_key, state: acknowledged.state };
    match ctx.server.propose(command).await? {
        Outcome::LeaseAcked { state } => {
            let response = LeaseBreakAck { flags: 0, lease_key: acknowledged.lease_key, state };
            Ok(Response::success(|out| response.encode(out)))
        }
        Outcome::Refused(status) => Err(Refusal::new(status, "the records refuse the acknowledgement")),
        _ => Err(Refusal::new(NtStatus::INTERNAL_ERROR, "an outcome that does not belong to an acknowledgement")),
    }
}

// MS-SMB2 3.3.5.22.1
// A level that no oplock has ends the oplock, and so does one that the records find wrong.
async fn oplock(ctx: &mut RequestContext, acknowledged: OplockBreak) -> Result<Response, Refusal> {
    let open = ctx.open(acknowledged.file_id)?;
    let level = OplockLevel::from_wire(acknowledged.oplock_level);
    let command = Command::OplockAck { open: open.open_id, level: level.unwrap_or_default(), by: ctx.server.store.incarnation() };
    let outcome = ctx.server.propose(command).await?;
    if level.is_none() {
        return Err(Refusal::invalid("no level of an oplock"));
    }
    match outcome {
        Outcome::OplockAcked { level } => {
            let response = OplockBreak { oplock_level: level.to_wire(), file_id: open.file_id };
            Ok(Response::success(|out| response.encode(out)))
        }
        // windows: an acknowledgement that nobody asked for breaks the protocol, whatever the specification calls it.
        Outcome::Refused(NtStatus::INVALID_DEVICE_STATE) => {
            Err(Refusal::new(NtStatus::INVALID_OPLOCK_PROTOCOL, "no break of this oplock is under way"))
        }
        Outcome::Refused(status) => Err(Refusal::new(status, "the records refuse the acknowledgement")),
        _ => Err(Refusal::new(NtStatus::INTERNAL_ERROR, "an outcome that does not belong to an acknowledgement")),
    }
}
