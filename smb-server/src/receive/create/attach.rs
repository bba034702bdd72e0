//! Makes the local side of an open that the records have granted, replayed or given back.

use std::sync::Arc;

use persistence_model::{Command, Durability, FileKey, Grant, OpenId};
use smb_backend::{BackendError, BackendFile, RelPath};
use smb_types::{AccessMask, NtStatus};

use super::{plan, target::Target};
use crate::{
    access::{Allowed, Names},
    blocking::blocking,
    error::Refusal,
    receive::RequestContext,
    state::{Open, OpenKind, Server, Share, open::OpenParts},
    store::StoreExt as _,
};

/// The file below an open.
pub(super) struct Below {
    pub(super) file: Arc<dyn BackendFile>,
    pub(super) path: RelPath,
    pub(super) stream: Option<String>,
    /// The rights of the open.
    pub(super) granted: AccessMask,
    /// The most that the client could have had.
    pub(super) maximal: AccessMask,
}

impl Below {
    /// The file that may be opened, or its stream.
    pub(super) fn new(allowed: Allowed, stream: Option<String>) -> Self {
        let Allowed { file, path, granted, maximal } = allowed;
        Self { file, path, stream, granted, maximal }
    }
}

/// Enters a granted open in the tables of its session and of the node, so that requests find it.
///
/// # Errors
/// When session or tree ended meanwhile.
pub(super) async fn attach(ctx: &mut RequestContext, grant: &Grant, below: Below) -> Result<Arc<Open>, Refusal> {
    let session = Arc::clone(ctx.session()?);
    let tree = Arc::clone(ctx.tree()?);
    if let Some(open) = session.open_by_id(grant.open) {
        // A replay of what this session has already.
        ctx.opened(open.file_id);
        return Ok(open);
    }
    let (record, parent_lease_key) = ctx.server.store.with_state(|state| {
        let record = state.open(grant.open).cloned();
        let lease = record.as_ref().and_then(|record| state.lease(&record.file?, record.lease?));
        (record, lease.and_then(|lease| lease.parent_key))
    });
    let Some(record) = record else {
        return Err(Refusal::new(NtStatus::FILE_NOT_AVAILABLE, "the open was closed by force before it was answered"));
    };
    if let Some(older) = ctx.server.open(grant.open) {
        // The records have moved it from another session of this node.
        older.revoke();
        ctx.server.remove_open(&older);
    }
    let durability = record.durability;
    let channel_sequence = if ctx.dialect().is_3x() { ctx.header.channel_sequence() } else { 0 };
    let write_through = record.create_options.contains(smb_types::CreateOptions::WRITE_THROUGH) || record.is_persistent();
    let open = Arc::new(Open::new(OpenParts {
        open_id: grant.open,
        volatile_id: session.next_volatile_id(),
        session_id: session.session_id,
        tree: Arc::clone(&tree),
        connection: Arc::downgrade(&ctx.connection),
        client_guid: record.client_guid,
        kind: OpenKind::File(below.file),
        file: grant.file,
        path: below.path,
        stream: below.stream,
        granted_access: record.granted_access,
        desired_access: record.desired_access,
        share_access: record.share_access,
        create_options: record.create_options,
        is_directory: record.is_directory,
        create_guid: record.create_guid,
        lease_key: record.lease.map(|lease| lease.key),
        parent_lease_key,
        oplock_level: grant.oplock,
        is_persistent: durability == Durability::Persistent,
        is_durable: matches!(durability, Durability::V1 | Durability::V2 | Durability::Persistent),
        write_through,
        channel_sequence,
    }));
    open.position.store(ctx.server.take_position(grant.open), std::sync::atomic::Ordering::Relaxed);
    open.replay_eligible.store(record.replay_eligible, std::sync::atomic::Ordering::Release);
    open.is_resilient.store(durability == Durability::Resilient, std::sync::atomic::Ordering::Release);
    ctx.server.add_open(&session, &open);
    // Whoever ends the tree or the session marks it first and looks for opens afterwards: one of both sees the other.
    if ctx.server.session(session.session_id).is_none() {
        // What becomes of the record is decided with the session: a replay may come for it.
        open.revoke();
        ctx.server.forget_open(&session, &open);
        return Err(Refusal::new(NtStatus::USER_SESSION_DELETED, "the session ended meanwhile"));
    }
    if tree.is_disconnected() {
        open.revoke();
        ctx.server.forget_open(&session, &open);
        close(&ctx.server, grant.open).await;
        return Err(Refusal::new(NtStatus::NETWORK_NAME_DELETED, "the tree ended meanwhile"));
    }
    ctx.opened(open.file_id);
    Ok(open)
}

/// Gives an open back that its client will never hear of. What it would delete is deleted.
pub(super) async fn close(server: &Arc<Server>, open: OpenId) {
    let command = Command::CloseOpen { open, by: server.store.incarnation() };
    if let Ok(persistence_model::Outcome::Closed { delete: Some(delete) }) = server.propose(command).await {
        crate::deletion::perform(server, &delete).await;
    }
}

/// Opens the file of a record again: at its path, or at either end of a rename that was announced and never reported. Tells whether that
/// rename has happened.
///
/// # Errors
/// OBJECT_NAME_NOT_FOUND when the file has been removed behind the cluster's back; else FILE_NOT_AVAILABLE: the client shall try again.
pub(super) fn open_recorded(share: &Share, record: &persistence_model::Open) -> Result<(Below, bool), Refusal> {
    let names = share.names().ok_or(Refusal::invalid("no disk share"))?;
    let file = record.file.ok_or(Refusal::new(NtStatus::FILE_NOT_AVAILABLE, "the open is not confirmed yet"))?;
    let want = plan::want(record.granted_access, record.is_directory, false);
    let mut missing = true;
    for (path, renamed) in [(record.pending_path.as_ref(), true), (Some(&record.path), false)] {
        let Some(target) = path.and_then(|path| Target::of_record(path)) else { continue };
        match blocking(|| open_if_same(names, share, record, &target, file, want)) {
            Ok(Some(below)) => return Ok((below, renamed)),
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(%error, "the file of a disconnected open cannot be opened now");
                missing = false;
            }
        }
    }
    if missing {
        return Err(Refusal::new(NtStatus::OBJECT_NAME_NOT_FOUND, "the file of the open is gone from the file system"));
    }
    Err(Refusal::new(NtStatus::FILE_NOT_AVAILABLE, "the file of the open cannot be opened now"))
}

fn open_if_same(
    names: &Names,
    share: &Share,
    record: &persistence_model::Open,
    target: &Target,
    file: FileKey,
    want: smb_backend::Want,
) -> Result<Option<Below>, BackendError> {
    match names.reopen(record, &target.path, target.stream.as_deref(), want) {
        Ok(allowed) if share.file_key(allowed.file.key()) == file => Ok(Some(Below::new(allowed, target.stream.clone()))),
        Ok(_) | Err(BackendError::NotFound { .. } | BackendError::ParentNotFound { .. } | BackendError::NotADirectory { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
