//! DHnC and DH2C: a client comes back for a handle (MS-SMB2 3.3.5.9.7, 3.3.5.9.12).
//!
//! The record says whether it may have it; this opens the file again and never lets a file system error cost the record.

use std::sync::Arc;

use persistence_model::{
    Command, CreateAction, DurableGrant, Grant, LeaseGrant, Open as Record, OpenId, Outcome, ReclaimKind, ReclaimLease, ReclaimRequest,
    State,
};
use smb_types::NtStatus;

use super::{
    attach::{self, Below},
    reply::{self, Reply},
    target::record_path,
    wishes::{Reconnect, Wishes},
};
use crate::{
    blocking::blocking,
    error::Refusal,
    receive::{
        RequestContext,
        wait::{Freed, Holder, wait_for_holder},
    },
    send::Response,
    store::StoreExt as _,
};

/// Answers a reconnect.
// MS-SMB2 3.3.5.9.12
// While the handle's former node may still be alive the client is made to wait, and then told to come again; never that the handle is unknown.
pub(super) async fn reconnect(ctx: &mut RequestContext, wishes: &Wishes, reconnect: Reconnect) -> Result<Response, Refusal> {
    loop {
        // The file is opened first: an error of the file system then leaves the record as it is, for the next try.
        let prepared = prepare(ctx, reconnect)?;
        let command = Command::ReclaimOpen(Box::new(request(ctx, wishes, reconnect)?));
        tracing::trace!(?command, "reconnect");
        match ctx.server.propose(command).await? {
            Outcome::Reclaimed(grant) => {
                let below = match prepared {
                    Some(below) if ctx.tree()?.share.file_key(below.file.key()) == grant.file => below,
                    _ => reopen(ctx, grant.open)?,
                };
                return finish(ctx, wishes, grant, below).await;
            }
            Outcome::OwnerAlive { open, node, incarnation, session } => {
                let own_session = ctx.session()?.session_id;
                if session == own_session && ctx.server.open(open).is_none() {
                    // An earlier try got the record but not the file.
                    let grant = ctx.server.store.with_state(|state| state.open(open).and_then(|record| grant_of(state, record)));
                    let grant = grant.ok_or(Refusal::new(NtStatus::FILE_NOT_AVAILABLE, "the open is not confirmed yet"))?;
                    let below = reopen(ctx, open)?;
                    return finish(ctx, wishes, grant, below).await;
                }
                if session == own_session {
                    return Err(Refusal::new(NtStatus::OBJECT_NAME_NOT_FOUND, "the handle is in use in this very session"));
                }
                let freed = wait_for_holder(ctx, Holder { open, node, incarnation }).await?;
                if freed == Freed::No {
                    return Err(still_held(ctx, node));
                }
            }
            Outcome::Refused(status) => return Err(Refusal::new(status, "the records refuse the reconnect")),
            _ => return Err(Refusal::new(NtStatus::INTERNAL_ERROR, "an outcome that does not belong to a reconnect")),
        }
    }
}

/// A handle whose session is alive on this node is not lost, and the client that says so is wrong; one on another node may be free soon.
fn still_held(ctx: &RequestContext, node: persistence_model::NodeId) -> Refusal {
    if node == ctx.server.store.node() {
        Refusal::new(NtStatus::OBJECT_NAME_NOT_FOUND, "the handle's session is alive")
    } else {
        Refusal::new(NtStatus::FILE_NOT_AVAILABLE, "the handle's node has not been declared dead yet")
    }
}

fn request(ctx: &RequestContext, wishes: &Wishes, reconnect: Reconnect) -> Result<ReclaimRequest, Refusal> {
    let session = ctx.session()?;
    let user = session.user().ok_or(Refusal::new(NtStatus::USER_SESSION_DELETED, "the session is not set up"))?;
    Ok(ReclaimRequest {
        node: ctx.server.store.node(),
        incarnation: ctx.server.store.incarnation(),
        session: session.session_id,
        share: ctx.tree()?.share.share_id,
        client_guid: ctx.connection.client_guid(),
        user: user.sid.clone(),
        open: OpenId(reconnect.persistent),
        kind: reconnect.kind,
        lease: wishes.lease.as_ref().map(|lease| ReclaimLease {
            key: lease.key,
            version: lease.version(),
            epoch: lease.v2.map_or(0, |v2| v2.epoch),
        }),
        path: record_path(&wishes.target.path, wishes.target.stream.as_deref()),
    })
}

/// Opens the file of the handle, if this node's replica knows it already.
fn prepare(ctx: &RequestContext, reconnect: Reconnect) -> Result<Option<Below>, Refusal> {
    let record = ctx.server.store.with_state(|state| {
        let by_id = state.open(OpenId(reconnect.persistent));
        let by_guid = match reconnect.kind {
            ReclaimKind::V2 { create_guid, by_create_guid: true, .. } => state.opens_by_create_guid(create_guid).next(),
            ReclaimKind::V1 | ReclaimKind::V2 { .. } => None,
        };
        by_id.or(by_guid).filter(|record| record.is_detached()).cloned()
    });
    let Some(record) = record else { return Ok(None) };
    match attach::open_recorded(&ctx.tree()?.share, &record) {
        Ok((below, _)) => Ok(Some(below)),
        // The records may have a better reason to refuse; they come first.
        Err(refusal) if refusal.status == NtStatus::OBJECT_NAME_NOT_FOUND => Ok(None),
        Err(refusal) => Err(refusal),
    }
}

/// Opens the file of a record that is this session's now.
fn reopen(ctx: &RequestContext, open: OpenId) -> Result<Below, Refusal> {
    let record = ctx.server.store.with_state(|state| state.open(open).cloned());
    let record = record.ok_or(Refusal::new(NtStatus::FILE_NOT_AVAILABLE, "the open was closed by force before it was answered"))?;
    attach::open_recorded(&ctx.tree()?.share, &record).map(|(below, _)| below)
}

async fn finish(ctx: &mut RequestContext, wishes: &Wishes, grant: Grant, below: Below) -> Result<Response, Refusal> {
    settle_rename(ctx, &grant, &below).await;
    let metadata = blocking(|| below.file.metadata())?;
    let open = attach::attach(ctx, &grant, below).await?;
    let tree = Arc::clone(ctx.tree()?);
    let reply = Reply { grant: &grant, file_id: open.file_id, metadata: &metadata, tree: &tree, maximal_access: open.granted_access };
    Ok(reply::created(wishes, &reply))
}

/// Reports what became of a rename whose node died in the middle of it.
pub(super) async fn settle_rename(ctx: &RequestContext, grant: &Grant, below: &Below) {
    let Some(pending) = &grant.pending_path else { return };
    let now = record_path(&below.path, below.stream.as_deref());
    let done = persistence_model::fold_path(&now) == persistence_model::fold_path(pending);
    let command = Command::RenameDone { open: grant.open, done, by: ctx.server.store.incarnation() };
    if let Err(refusal) = ctx.server.propose(command).await {
        tracing::warn!(because = refusal.because, "a rename that was cut short is not settled");
    }
}

/// The grant that a record stands for.
fn grant_of(state: &State, record: &Record) -> Option<Grant> {
    let file = record.file?;
    let lease = record.lease.and_then(|id| {
        state.lease(&file, id).map(|lease| LeaseGrant {
            id,
            state: lease.state,
            epoch: lease.epoch,
            break_in_progress: lease.breaking,
            version: lease.version,
        })
    });
    Some(Grant {
        open: record.id,
        file,
        path: record.path.to_string(),
        pending_path: record.pending_path.as_ref().map(ToString::to_string),
        is_directory: record.is_directory,
        create_action: CreateAction::Opened,
        oplock: record.oplock.level,
        lease,
        durable: Some(DurableGrant { kind: record.durability, timeout_ms: u32::try_from(record.timeout_ms).unwrap_or(u32::MAX) }),
    })
}
