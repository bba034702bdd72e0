//! How a request waits for others to give something up: propose, watch the file, propose again. CREATE, LOCK, rename and I/O use it.
//!
//! Knows nothing of what is proposed. No state is kept between two tries: the records weigh each one afresh.

use std::time::Duration;

use persistence_model::{Command, Event, FileKey, Incarnation, NodeId, OpenId, Outcome};
use smb_types::NtStatus;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use super::RequestContext;
use crate::{error::Refusal, store::StoreExt as _};

/// How long a client waits for the death of the node that has its handle: a node lease, and time to declare it.
const OWNER_WAIT: Duration = Duration::from_millis(4500);
/// How long it waits for this node to notice that an old connection is gone.
const OWN_SESSION_WAIT: Duration = Duration::from_millis(400);

/// Proposes a command until its outcome is something else than to wait; STATUS_PENDING goes out before the first wait.
///
/// `ended` fires when the open it is about is closed; the request then ends with `when_ended`.
///
/// # Errors
/// CANCELLED on CANCEL and when the connection ends; what the store or going asynchronous refuses.
// MS-SMB2 3.3.4.2, 3.3.5.16
pub async fn propose_and_wait(
    ctx: &mut RequestContext,
    command: impl Fn() -> Command,
    ended: Option<(CancellationToken, NtStatus)>,
) -> Result<Outcome, Refusal> {
    let mut watch: Option<(FileKey, _)> = None;
    loop {
        let outcome = ctx.server.propose(command()).await?;
        let (Outcome::MustWait { file } | Outcome::LockConflict { file }) = outcome else { return Ok(outcome) };
        // The watch must be older than the try it waits after, or a change in between is missed. It may be another file that is in the way now.
        let Some((_, watch)) = watch.as_mut().filter(|(watched, _)| *watched == file) else {
            watch = Some((file, ctx.server.file_watches.watch(file)));
            continue;
        };
        ctx.go_async().await?;
        let cancelled = ctx.cancelled();
        let (token, when_ended) = ended.clone().unwrap_or_else(|| (CancellationToken::new(), NtStatus::CANCELLED));
        tokio::select! {
            biased;
            () = token.cancelled() => return Err(Refusal::new(when_ended, "the open ended while the request waited")),
            () = cancelled.cancelled() => return Err(Refusal::new(NtStatus::CANCELLED, "cancelled while it waited")),
            () = watch.changed() => {}
        }
    }
}

/// Who has an open that a client wants back here.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Holder {
    /// The open.
    pub(crate) open: OpenId,
    /// Its node.
    pub(crate) node: NodeId,
    /// That node's life.
    pub(crate) incarnation: Incarnation,
}

/// What came of waiting for a holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Freed {
    /// Something happened: try again.
    Maybe,
    /// Nothing happened in time.
    No,
}

/// Waits until a holder's node may be dead, or the open has been let go; the caller then proposes again.
///
/// # Errors
/// CANCELLED.
pub(crate) async fn wait_for_holder(ctx: &mut RequestContext, holder: Holder) -> Result<Freed, Refusal> {
    let mut events = ctx.server.store.subscribe_news();
    let file = ctx.server.store.with_state(|state| state.open(holder.open).and_then(|open| open.file)).unwrap_or_default();
    let mut watch = ctx.server.file_watches.watch(file);
    let elsewhere = holder.node != ctx.server.store.node();
    // The open may have been let go before the subscription.
    let held = |ctx: &RequestContext| {
        ctx.server.store.with_state(|state| {
            let owner = state.open(holder.open).and_then(|open| open.owner);
            owner.is_some_and(|owner| owner.incarnation == holder.incarnation && !state.is_over(&owner))
        })
    };
    if !held(ctx) {
        return Ok(Freed::Maybe);
    }
    if elsewhere {
        ctx.server.store.suspect(holder.node);
        ctx.go_async().await?;
    }
    let cancelled = ctx.cancelled();
    let limit = tokio::time::sleep(if elsewhere { OWNER_WAIT } else { OWN_SESSION_WAIT });
    tokio::pin!(limit);
    loop {
        tokio::select! {
            biased;
            () = cancelled.cancelled() => return Err(Refusal::new(NtStatus::CANCELLED, "cancelled while it waited")),
            () = &mut limit => return Ok(if held(ctx) { Freed::No } else { Freed::Maybe }),
            () = watch.changed() => if !held(ctx) {
                return Ok(Freed::Maybe);
            },
            event = events.recv() => match event {
                Ok(event) => {
                    let concerned = match &*event {
                        Event::NodeDown { node, .. } | Event::NodeUp { node, .. } => *node == holder.node,
                        Event::OpenTaken { open, .. } => *open == holder.open,
                        Event::SessionEnded { .. } => true,
                        _ => false,
                    };
                    if concerned && !held(ctx) {
                        return Ok(Freed::Maybe);
                    }
                }
                Err(RecvError::Lagged(_)) if held(ctx) => {}
                Err(RecvError::Lagged(_) | RecvError::Closed) => return Ok(Freed::Maybe),
            },
        }
    }
}
