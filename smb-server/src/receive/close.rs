//! CLOSE: the end of an open (MS-SMB2 3.3.5.10). Final even for persistent opens; what it was to delete is deleted before the answer.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use persistence_model::{Command, OpenId, Outcome};
use smb_proto::message::close::{CLOSE_FLAG_POSTQUERY_ATTRIB, CloseRequest, CloseResponse};
use smb_types::{AccessMask, NtStatus};

use super::{RequestContext, parent_lease, set_info::disposition::mark_deleted};
use crate::{
    blocking::blocking,
    deletion,
    error::Refusal,
    send::Response,
    state::{Open, Server},
};

/// Pause between two tries to tell the records of a close.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// Answers the request.
// MS-SMB2 3.3.5.10
// A CLOSE does not fail because the record is gone already, nor because the store cannot take it now.
pub(crate) async fn handle(ctx: &mut RequestContext) -> Result<Response, Refusal> {
    let request = CloseRequest::decode(&ctx.message)?;
    let open = ctx.open(request.file_id)?;
    if !open.begin_close() {
        return Err(Refusal::new(NtStatus::FILE_CLOSED, "a CLOSE of this open is under way"));
    }
    // Before the file may be deleted; the answer tells of it as it was.
    let response = if request.wants_attributes() { attributes(&open) } else { CloseResponse::default() };
    // Requests that wait on it end, new ones do not find it.
    open.end();
    ctx.server.remove_open(&open);
    if open.pipe().is_none() {
        if open.deletes_on_close() && open.deleted_under.lock().is_none() {
            mark_deleted(&ctx.server, &open, Some(open.parent_lease_key));
        }
        close_record(&ctx.server, &open).await;
    }
    Ok(Response::success(|out| response.encode(out)))
}

/// Tells the records, and deletes what is to be deleted now.
async fn close_record(server: &Arc<Server>, open: &Arc<Open>) {
    match propose_close(server, open.open_id).await {
        Ok(outcome) => finish(server, open, outcome).await,
        Err(_) => {
            // Others would meet the share modes of an open that nobody has: it is told as soon as somebody listens.
            let (server, open) = (Arc::clone(server), Arc::clone(open));
            tokio::spawn(async move {
                loop {
                    tokio::time::sleep(RETRY_PAUSE).await;
                    match server.store.propose(close_command(&server, open.open_id)).await {
                        Ok(outcome) => return finish(&server, &open, outcome).await,
                        Err(crate::StoreError::Stopping) => return,
                        Err(crate::StoreError::NoLeader | crate::StoreError::Unknown) => {}
                    }
                }
            });
        }
    }
}

fn close_command(server: &Server, open: OpenId) -> Command {
    Command::CloseOpen { open, by: server.store.incarnation() }
}

async fn propose_close(server: &Server, open: OpenId) -> Result<Outcome, Refusal> {
    server.propose(close_command(server, open)).await
}

async fn finish(server: &Arc<Server>, open: &Open, outcome: Outcome) {
    if let Outcome::Closed { delete: Some(delete) } = outcome {
        // MS-FSA 2.1.4.12
        // Whoever marks a file under one directory lease and deletes it under another knows the whole under neither.
        let marked = open.deleted_under.lock().or(open.deletes_on_close().then_some(open.parent_lease_key));
        let by = open.parent_lease().filter(|lease| marked == Some(Some(lease.key)));
        deletion::perform_for_close(server, &delete, by);
        return;
    }
    if open.modified.load(Ordering::Acquire) {
        // windows: size and times in a cached listing may be stale until the writer has closed.
        let path = open.path.read().clone();
        parent_lease::entry_changed(server, &open.tree.share, &path, open.parent_lease());
    }
    if open.deletes_on_close() {
        // MS-FSA 2.1.5.5
        // Others have it open: the mark takes H from them.
        server.telling.told(open.file).await;
    }
}

/// What POSTQUERY_ATTRIB asks for; zeros when the open may not see it, or the file cannot tell any more.
fn attributes(open: &Open) -> CloseResponse {
    let Ok(file) = open.file_with(AccessMask::READ_ATTRIBUTES) else { return CloseResponse::default() };
    let Ok(metadata) = blocking(|| file.metadata()) else { return CloseResponse::default() };
    CloseResponse {
        flags: CLOSE_FLAG_POSTQUERY_ATTRIB,
        creation_time: metadata.creation,
        last_access_time: metadata.last_access,
        last_write_time: metadata.last_write,
        change_time: metadata.change,
        allocation_size: metadata.allocation,
        end_of_file: metadata.size,
        file_attributes: metadata.attributes,
    }
}
