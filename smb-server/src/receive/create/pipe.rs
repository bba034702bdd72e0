//! CREATE on IPC$: opens an instance of a named pipe. Pipes have no record, no oplock, no durability.

use std::sync::Arc;

use smb_proto::message::create::{CreateAction, CreateRequest, CreateResponse};
use smb_types::{AccessMask, CreateDisposition, FileAttributes, NtStatus, OplockLevel, ShareAccess};

use crate::{
    access::resolve,
    error::Refusal,
    receive::RequestContext,
    send::Response,
    state::{Open, OpenKind, Pipe, open::OpenParts},
};

/// What Windows says a pipe instance has allocated.
const PIPE_ALLOCATION_BYTES: u64 = 4096;

/// Opens a pipe.
///
/// # Errors
/// OBJECT_NAME_NOT_FOUND for a pipe that nobody serves; ACCESS_DENIED for who has not logged on, unless the cluster lists for everybody.
// MS-SMB2 3.3.5.9
pub(super) fn open(ctx: &mut RequestContext, request: &CreateRequest) -> Result<Response, Refusal> {
    let name = request.name.trim_start_matches('\\').to_ascii_lowercase();
    let name = name.strip_prefix("pipe\\").unwrap_or(&name);
    let opens = matches!(request.create_disposition, CreateDisposition::Open | CreateDisposition::OpenIf);
    if !crate::pipe::is_served(&ctx.server, name) || !opens {
        return Err(Refusal::new(NtStatus::OBJECT_NAME_NOT_FOUND, "no such pipe"));
    }
    let session = Arc::clone(ctx.session()?);
    // windows: no pipe is one of NullSessionPipes; behind each of them something is listed.
    if session.is_anonymous() && !ctx.server.settings().list_anonymously {
        return Err(Refusal::new(NtStatus::ACCESS_DENIED, "nothing is listed for who has not logged on"));
    }
    let tree = Arc::clone(ctx.tree()?);
    let granted_access = grant(request.desired_access, tree.maximal_access | AccessMask::SYNCHRONIZE)?;
    let open = Arc::new(Open::new(OpenParts {
        open_id: ctx.server.next_pipe_id(),
        volatile_id: session.next_volatile_id(),
        session_id: session.session_id,
        tree,
        connection: Arc::downgrade(&ctx.connection),
        client_guid: ctx.connection.client_guid(),
        kind: OpenKind::Pipe(Arc::new(Pipe::new(name))),
        file: persistence_model::FileKey::default(),
        path: smb_backend::RelPath::root(),
        stream: None,
        granted_access,
        desired_access: request.desired_access,
        share_access: ShareAccess::ALL,
        create_options: request.create_options,
        is_directory: false,
        create_guid: None,
        lease_key: None,
        parent_lease_key: None,
        oplock_level: OplockLevel::None,
        is_persistent: false,
        is_durable: false,
        write_through: false,
        channel_sequence: ctx.header.channel_sequence(),
    }));
    ctx.server.add_open(&session, &open);
    ctx.opened(open.file_id);
    let response = CreateResponse {
        create_action: CreateAction::Opened,
        allocation_size: PIPE_ALLOCATION_BYTES,
        file_attributes: FileAttributes::NORMAL,
        file_id: open.file_id,
        ..CreateResponse::default()
    };
    Ok(Response::success(|out| response.encode(out)))
}

/// A pipe has no descriptor: what the tree allows is what there is.
fn grant(desired: AccessMask, maximal: AccessMask) -> Result<AccessMask, Refusal> {
    let asked = resolve(desired)?;
    let named = asked.without(AccessMask::MAXIMUM_ALLOWED);
    if !maximal.contains(named) {
        return Err(Refusal::new(NtStatus::ACCESS_DENIED, "pipes are read and written"));
    }
    Ok(if asked.contains(AccessMask::MAXIMUM_ALLOWED) { maximal } else { named })
}
