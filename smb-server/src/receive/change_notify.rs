//! CHANGE_NOTIFY (MS-SMB2 3.3.5.19): waits for something to change in a directory.

use std::sync::Arc;

use smb_proto::{
    info::{FileNotifyInformation, NotifyAction},
    message::change_notify::{ChangeNotifyRequest, ChangeNotifyResponse},
};
use smb_types::{AccessMask, NtStatus};

use super::RequestContext;
use crate::{
    error::Refusal,
    limits::Limit,
    send::Response,
    state::{Open, notify::Watch},
    store::StoreExt as _,
};

/// Answers the request.
pub(crate) async fn handle(ctx: &mut RequestContext) -> Result<Response, Refusal> {
    let request = ChangeNotifyRequest::decode(&ctx.message)?;
    if request.output_buffer_length > ctx.negotiated().transact_bytes_max {
        return Err(Refusal::invalid("longer than MaxTransactSize"));
    }
    ctx.check_charge(0, u64::from(request.output_buffer_length))?;
    let open = ctx.open(request.file_id)?;
    if open.pipe().is_some() || !open.is_directory {
        return Err(Refusal::invalid("only directories are watched"));
    }
    open.require_any(AccessMask::READ_DATA)?;
    let _place = ctx.server.watch_place(Limit::NotifyRequestsPerUser, ctx.session()?, ctx.connection.peer.ip())?;
    begin(ctx, &open, &request)?;
    let message_id = ctx.request.message_id;
    open.notify.lock().waiting.push_back(message_id);
    let result = wait(ctx, &open, &request).await;
    open.notify.lock().waiting.retain(|waiting| *waiting != message_id);
    open.notify_wake.notify_waiters();
    result
}

// MS-SMB2 3.3.5.19
// Filter, depth and buffer size of the first request stay for as long as the directory is open.
fn begin(ctx: &RequestContext, open: &Arc<Open>, request: &ChangeNotifyRequest) -> Result<(), Refusal> {
    if open.notify.lock().watch.is_some() {
        return Ok(());
    }
    let place = ctx.server.watch_place(Limit::WatchedDirectoriesPerUser, ctx.session()?, ctx.connection.peer.ip())?;
    let is_first = {
        let mut state = open.notify.lock();
        let is_first = state.watch.is_none();
        state.watch.get_or_insert(Watch {
            filter: request.completion_filter.0,
            recursive: request.watches_tree(),
            buffer_bytes: usize::try_from(request.output_buffer_length).unwrap_or(usize::MAX),
        });
        is_first
    };
    if is_first {
        ctx.server.notify.add(open, place);
    }
    Ok(())
}

async fn wait(ctx: &mut RequestContext, open: &Arc<Open>, request: &ChangeNotifyRequest) -> Result<Response, Refusal> {
    let cancelled = ctx.cancelled();
    loop {
        let woken = open.notify_wake.notified();
        tokio::pin!(woken);
        woken.as_mut().enable();
        if let Some(answer) = fetch(ctx, open, request.output_buffer_length) {
            return answer;
        }
        ctx.go_async().await?;
        tokio::select! {
            biased;
            () = cancelled.cancelled() => {
                // The end of a tree or session cancels what waits, after it has closed the open.
                let ended = fetch(ctx, open, request.output_buffer_length);
                return ended.ok_or(Refusal::new(NtStatus::CANCELLED, "cancelled while it waited"))?;
            }
            () = woken => {}
        }
    }
}

/// The answer, if there is one and it is this request's turn.
fn fetch(ctx: &RequestContext, open: &Open, output_length: u32) -> Option<Result<Response, Refusal>> {
    let answer = |status, output| Some(Ok(Response::encode(status, |out| ChangeNotifyResponse::new(output).encode(out))));
    let is_going = ctx.server.store.with_state(|state| state.file(&open.file).is_some_and(|file| file.delete_pending));
    let mut state = open.notify.lock();
    if state.closed {
        return answer(NtStatus::NOTIFY_CLEANUP, Vec::new());
    }
    // windows: nothing more will happen in a directory that is to be deleted.
    if is_going {
        return Some(Err(Refusal::new(NtStatus::DELETE_PENDING, "the directory is being deleted")));
    }
    if state.waiting.front() != Some(&ctx.request.message_id) {
        return None;
    }
    if state.overflow {
        state.overflow = false;
        return answer(NtStatus::NOTIFY_ENUM_DIR, Vec::new());
    }
    if state.events.is_empty() {
        return None;
    }
    let changes: Vec<FileNotifyInformation> = std::mem::take(&mut state.events)
        .into_iter()
        .filter_map(|(action, file_name)| Some(FileNotifyInformation { action: NotifyAction::from_wire(action)?, file_name }))
        .collect();
    state.kept_bytes = 0;
    match FileNotifyInformation::encode_list(&changes, output_length) {
        Some(output) => answer(NtStatus::SUCCESS, output),
        // MS-SMB2 3.3.4.4
        None => answer(NtStatus::NOTIFY_ENUM_DIR, Vec::new()),
    }
}
