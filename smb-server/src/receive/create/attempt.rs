//! Opening, creating and overwriting by name: look, decide, ask the records, change the file system, confirm (MS-SMB2 3.3.5.9).
//!
//! Names may change between any two steps, by other nodes too: whoever finds another file than it looked at begins anew. What changes the
//! file system is reserved before and confirmed after; a node that dies in between leaves a reservation which the replay takes up.

use std::{sync::Arc, time::Duration};

use persistence_model::{
    Command, CreateAction, FileKey, Grant, LeaseId, OpenId, OpenRequest, OpenState, Outcome, RequestedDurability, RequestedOplock, State,
};
use smb_backend::{Backend, BackendError, BackendFile, CreateArgs, FileKind, MustBe, OpenHow, Overwrite, Stability, Want};
use smb_proto::{info::NotifyAction, message::change_notify::CompletionFilter, security::SecurityDescriptor};
use smb_types::{AccessMask, CreateDisposition, FileAttributes, NtStatus, ShareAccess};

use super::{
    access,
    attach::{self, Below},
    plan::{self, Plan},
    reconnect::settle_rename,
    reply::{self, Reply},
    target::{self, Found, record_path},
    wishes::Wishes,
};
use crate::{
    blocking::blocking,
    error::Refusal,
    notify::{self, Change},
    receive::{
        RequestContext, parent_lease,
        wait::{Freed, Holder, propose_and_wait, wait_for_holder},
    },
    send::Response,
    state::TreeConnect,
    store::StoreExt as _,
};

/// How often a CREATE begins anew because the name changed under it.
const ATTEMPTS_MAX: usize = 32;

/// How long a CREATE waits for the removal of a file that nobody has open any more.
const REMOVAL_WAIT: Duration = Duration::from_secs(1);

/// Where an attempt ends.
enum Step {
    /// The client has its open.
    Done(Response),
    /// The name has changed meanwhile, or a handle was let go: begin anew.
    Again,
    /// The records do not know this CREATE, so it is no replay: begin anew without that thought.
    NoReplay,
}

/// Answers a CREATE by name.
pub(super) async fn open(ctx: &mut RequestContext, wishes: &Wishes) -> Result<Response, Refusal> {
    refuse_second(ctx, wishes)?;
    let mut replay_known = known_replay(ctx, wishes);
    for _ in 0..ATTEMPTS_MAX {
        match attempt(ctx, wishes, replay_known).await? {
            Step::Done(response) => return Ok(response),
            Step::Again => {}
            Step::NoReplay => replay_known = false,
        }
    }
    Err(Refusal::new(NtStatus::FILE_NOT_AVAILABLE, "the name keeps changing"))
}

/// The name of a CREATE that has been answered cannot be used for another one; that comes before whatever the second one would meet.
// MS-SMB2 3.3.5.9.10
fn refuse_second(ctx: &RequestContext, wishes: &Wishes) -> Result<(), Refusal> {
    let Some(create_guid) = wishes.create_guid.filter(|_| !ctx.header.is_replay()) else { return Ok(()) };
    let client_guid = ctx.connection.client_guid();
    let taken = ctx.server.store.with_state(|state| {
        let mut known = state.opens_by_create_guid(create_guid).filter(|open| open.client_guid == client_guid);
        known.any(|open| open.replay_eligible || open.is_persistent() || open.state == OpenState::Reserved)
    });
    if taken { Err(Refusal::new(NtStatus::DUPLICATE_OBJECTID, "the CreateGuid names another CREATE")) } else { Ok(()) }
}

/// Tells whether the records have this CREATE already, so that what it finds may be its own work.
// MS-SMB2 3.3.5.9.10
// A replay is known by its CreateGuid. Whether it gets the open is the records' decision.
fn known_replay(ctx: &RequestContext, wishes: &Wishes) -> bool {
    let Some(create_guid) = wishes.create_guid.filter(|_| ctx.header.is_replay()) else { return false };
    ctx.server.store.with_state(|state| state.opens_by_create_guid(create_guid).next().is_some())
}

async fn attempt(ctx: &mut RequestContext, wishes: &Wishes, replay_known: bool) -> Result<Step, Refusal> {
    let tree = Arc::clone(ctx.tree()?);
    let backend = Arc::clone(tree.share.backend().ok_or(Refusal::invalid("no disk share"))?);
    let found = blocking(|| target::find(backend.as_ref(), &wishes.target));
    let found = match found {
        Ok(found) => found,
        Err(_) if replay_known => None,
        Err(error) => return Err(error.into()),
    };
    let plan = match plan::decide(wishes, found.as_ref(), replay_known) {
        Ok(plan) => plan,
        Err(refusal) if replay_known && found.is_none() => return ask_for_replay(ctx, wishes, refusal).await,
        Err(refusal) if refusal.status == NtStatus::OBJECT_NAME_COLLISION && ctx.header.is_replay() && wishes.create_guid.is_some() => {
            return ask_for_replay(ctx, wishes, refusal).await;
        }
        Err(refusal) => return Err(refusal),
    };
    match (plan, found) {
        (Plan::Create(kind), _) => create(ctx, wishes, &tree, backend.as_ref(), kind).await,
        (Plan::Open, Some(found)) => open_found(ctx, wishes, &tree, backend.as_ref(), &found, false, replay_known).await,
        (Plan::Overwrite, Some(found)) => open_found(ctx, wishes, &tree, backend.as_ref(), &found, true, replay_known).await,
        (Plan::Open | Plan::Overwrite, None) => Err(Refusal::new(NtStatus::INTERNAL_ERROR, "a plan for a file that is not there")),
    }
}

/// What looks like a refusal may be the second try of what has succeeded, on a node that has not heard of it: a reservation asks everybody.
async fn ask_for_replay(ctx: &mut RequestContext, wishes: &Wishes, otherwise: Refusal) -> Result<Step, Refusal> {
    let is_directory = wishes.options.contains(smb_types::CreateOptions::DIRECTORY_FILE);
    let path = record_path(&wishes.target.path, wishes.target.stream.as_deref());
    let request = open_request(ctx, wishes, None, path, is_directory, wishes.access.without(AccessMask::MAXIMUM_ALLOWED), false)?;
    match propose_and_wait(ctx, || Command::ReserveOpen(Box::new(request.clone())), None).await? {
        Outcome::Replayed(grant) => replayed(ctx, wishes, grant).await,
        Outcome::Reserved { open, resumed } => {
            if resumed {
                let tree = Arc::clone(ctx.tree()?);
                let backend = Arc::clone(tree.share.backend().ok_or(Refusal::invalid("no disk share"))?);
                return resume(ctx, wishes, &tree, backend.as_ref(), open).await;
            }
            abort(ctx, open).await;
            Err(otherwise)
        }
        other => unexpected(ctx, None, other).await,
    }
}

/// Opens or overwrites a file that exists.
async fn open_found(
    ctx: &mut RequestContext,
    wishes: &Wishes,
    tree: &Arc<TreeConnect>,
    backend: &dyn Backend,
    found: &Found,
    overwrites: bool,
    replay_known: bool,
) -> Result<Step, Refusal> {
    let is_directory = found.metadata.is_directory();
    let Some(below) = open_below(wishes, backend, found, is_directory, overwrites)? else { return Ok(Step::Again) };
    let maximal = maximal_access(ctx, wishes, tree, backend, &below, found)?;
    let granted = access::grant(wishes.access, maximal)?;
    if overwrites {
        // MS-FSA 2.1.5.1.2
        // Throwing data away is writing; replacing the file is deleting it, too.
        let needed = if wishes.disposition == CreateDisposition::Supersede { AccessMask::DELETE } else { AccessMask::WRITE_DATA };
        access::grant(needed, maximal)?;
    }
    let key = tree.share.file_key(found.metadata.key);
    if below.stream.is_none() && granted.contains(AccessMask::DELETE) {
        check_streams_share_delete(ctx, key)?;
    }
    let request =
        open_request(ctx, wishes, Some(key), record_path(&found.path, below.stream.as_deref()), is_directory, granted, overwrites)?;
    let command =
        || if overwrites { Command::ReserveOpen(Box::new(request.clone())) } else { Command::OpenFile(Box::new(request.clone())) };
    match propose_and_wait(ctx, command, None).await? {
        Outcome::Opened(grant) if replay_known => {
            attach::close(&ctx.server, grant.open).await;
            Ok(Step::NoReplay)
        }
        Outcome::Opened(grant) => {
            let Some(metadata) = still_there(backend, found, &below)? else {
                attach::close(&ctx.server, grant.open).await;
                return Ok(Step::Again);
            };
            let open = attach::attach(ctx, &grant, below).await?;
            let reply = Reply { grant: &grant, file_id: open.file_id, metadata: &metadata, tree, maximal_access: maximal };
            Ok(Step::Done(reply::created(wishes, &reply)))
        }
        Outcome::Replayed(grant) => replayed(ctx, wishes, grant).await,
        Outcome::Reserved { open, resumed: true } => resume(ctx, wishes, tree, backend, open).await,
        Outcome::Reserved { open, resumed: false } if overwrites => overwrite(ctx, wishes, tree, backend, found, below, open).await,
        other => unexpected(ctx, Some(key), other).await,
    }
}

/// Who may delete a file may delete its streams: every open of one must share that.
// MS-FSA 2.1.5.1.2.2
fn check_streams_share_delete(ctx: &RequestContext, file: FileKey) -> Result<(), Refusal> {
    let in_the_way = ctx.server.store.with_state(|state| {
        let mut opens = state.named_streams(&file).flat_map(|stream| stream.opens.iter()).filter_map(|id| state.open(*id));
        opens.any(|open| !open.is_stat() && !open.share_access.contains(ShareAccess::DELETE))
    });
    if in_the_way { Err(Refusal::new(NtStatus::SHARING_VIOLATION, "an open of a stream does not share deleting")) } else { Ok(()) }
}

/// Throws the data of a reserved file away and confirms.
async fn overwrite(
    ctx: &mut RequestContext,
    wishes: &Wishes,
    tree: &Arc<TreeConnect>,
    backend: &dyn Backend,
    found: &Found,
    below: Below,
    reservation: OpenId,
) -> Result<Step, Refusal> {
    match still_there(backend, found, &below) {
        Ok(Some(_)) => {}
        Ok(None) => {
            abort(ctx, reservation).await;
            return Ok(Step::Again);
        }
        Err(refusal) => {
            abort(ctx, reservation).await;
            return Err(refusal);
        }
    }
    let with =
        Overwrite { attributes: wishes.attributes | FileAttributes::ARCHIVE, eas: wishes.eas.clone(), allocation: wishes.allocation };
    if let Err(error) = blocking(|| below.file.overwrite(&with, stability(tree))) {
        abort(ctx, reservation).await;
        return Err(error.into());
    }
    let filter = CompletionFilter::ATTRIBUTES | CompletionFilter::SIZE | CompletionFilter::LAST_WRITE;
    notify::report(&ctx.server, tree.share.share_id, &below.path, NotifyAction::Modified, filter);
    parent_lease::entry_changed(&ctx.server, &tree.share, &below.path, parent_lease_of(ctx, wishes));
    let action = if wishes.disposition == CreateDisposition::Supersede { CreateAction::Superseded } else { CreateAction::Overwritten };
    confirm(ctx, wishes, tree, reservation, below, action, false).await
}

/// Creates a file, directory or stream.
async fn create(
    ctx: &mut RequestContext,
    wishes: &Wishes,
    tree: &Arc<TreeConnect>,
    backend: &dyn Backend,
    kind: FileKind,
) -> Result<Step, Refusal> {
    let is_directory = kind == FileKind::Directory;
    let user = ctx.session()?.user().map(|user| user.sid.clone()).unwrap_or_else(smb_types::Sid::anonymous);
    let parent = parent_descriptor(wishes, backend)?;
    // MS-FSA 2.1.5.1.1
    let needed = if is_directory { AccessMask::APPEND_DATA } else { AccessMask::WRITE_DATA };
    access::grant(needed, access::maximal(parent.as_ref(), &user) & tree.maximal_access)?;
    if parent_is_going(ctx, wishes, tree) {
        return Err(Refusal::new(NtStatus::DELETE_PENDING, "the directory is being deleted"));
    }
    let granted = access::grant(wishes.access, tree.maximal_access)?;
    let path = record_path(&wishes.target.path, wishes.target.stream.as_deref());
    let request = open_request(ctx, wishes, None, path, is_directory, granted, false)?;
    match propose_and_wait(ctx, || Command::ReserveOpen(Box::new(request.clone())), None).await? {
        Outcome::Reserved { open, resumed } => {
            let inherited = access::inherit(parent.as_ref(), &user, is_directory);
            let descriptor = access::of_new(wishes.security_descriptor.as_deref(), inherited);
            match blocking(|| make(wishes, tree, backend, kind, descriptor)) {
                Ok(below) => {
                    parent_lease::entry_changed(&ctx.server, &tree.share, &below.path, parent_lease_of(ctx, wishes));
                    report_created(ctx, tree, &below, is_directory);
                    confirm(ctx, wishes, tree, open, below, CreateAction::Created, is_directory).await
                }
                // The first try of this CREATE has come as far as the file system.
                Err(BackendError::Exists { .. }) if resumed => resume(ctx, wishes, tree, backend, open).await,
                Err(BackendError::Exists { .. }) => {
                    abort(ctx, open).await;
                    Ok(Step::Again)
                }
                Err(error) => {
                    abort(ctx, open).await;
                    Err(error.into())
                }
            }
        }
        Outcome::Replayed(grant) => replayed(ctx, wishes, grant).await,
        other => unexpected(ctx, None, other).await,
    }
}

/// The directory lease under which the client says that it creates or overwrites.
fn parent_lease_of(ctx: &RequestContext, wishes: &Wishes) -> Option<LeaseId> {
    let key = wishes.lease.as_ref().and_then(|lease| lease.parent_key())?;
    Some(LeaseId { client_guid: ctx.connection.client_guid(), key })
}

/// Tells those who watch the directory of what has come into it.
fn report_created(ctx: &RequestContext, tree: &TreeConnect, below: &Below, is_directory: bool) {
    let (action, filter) = match below.stream {
        Some(_) => (NotifyAction::AddedStream, CompletionFilter::STREAM_NAME),
        None if is_directory => (NotifyAction::Added, CompletionFilter::DIR_NAME),
        None => (NotifyAction::Added, CompletionFilter::FILE_NAME),
    };
    let change = Change { path: &below.path, stream: below.stream.as_deref(), action, filter };
    notify::report_all(&ctx.server, tree.share.share_id, &[change]);
}

/// Takes up a reservation whose first owner died before it confirmed. What was to be created is made, or is there already and is its own;
/// what was to be overwritten is overwritten again.
async fn resume(
    ctx: &mut RequestContext,
    wishes: &Wishes,
    tree: &Arc<TreeConnect>,
    backend: &dyn Backend,
    reservation: OpenId,
) -> Result<Step, Refusal> {
    let reserved = ctx.server.store.with_state(|state| state.open(reservation).map(|record| record.file));
    let Some(reserved) = reserved else { return Ok(Step::Again) };
    let found = match blocking(|| target::find(backend, &wishes.target)) {
        Ok(found) => found,
        Err(error) => {
            // The reservation stays for the next replay: a file system that fails now may work then.
            return Err(error.into());
        }
    };
    let Some(found) = found else {
        let kind = if wishes.options.contains(smb_types::CreateOptions::DIRECTORY_FILE) { FileKind::Directory } else { FileKind::File };
        return match blocking(|| make(wishes, tree, backend, kind, wishes.security_descriptor.clone())) {
            Ok(below) => confirm(ctx, wishes, tree, reservation, below, CreateAction::Created, kind == FileKind::Directory).await,
            Err(error) => {
                abort(ctx, reservation).await;
                Err(error.into())
            }
        };
    };
    let is_directory = found.metadata.is_directory();
    let overwrites = reserved.is_some();
    let below = match open_below(wishes, backend, &found, is_directory, overwrites) {
        Ok(Some(below)) => below,
        Ok(None) => return Err(Refusal::new(NtStatus::FILE_NOT_AVAILABLE, "the name changes while a CREATE is taken up")),
        Err(refusal) => {
            abort(ctx, reservation).await;
            return Err(refusal);
        }
    };
    match reserved {
        Some(key) if key == tree.share.file_key(found.metadata.key) => {
            overwrite(ctx, wishes, tree, backend, &found, below, reservation).await
        }
        Some(_) => {
            abort(ctx, reservation).await;
            Ok(Step::Again)
        }
        None => confirm(ctx, wishes, tree, reservation, below, CreateAction::Created, is_directory).await,
    }
}

/// Tells the records that the file system has done it; the client has its open then.
async fn confirm(
    ctx: &mut RequestContext,
    wishes: &Wishes,
    tree: &Arc<TreeConnect>,
    reservation: OpenId,
    below: Below,
    create_action: CreateAction,
    is_directory: bool,
) -> Result<Step, Refusal> {
    let file = tree.share.file_key(below.file.key());
    let by = ctx.server.store.incarnation();
    let outcome = propose_and_wait(ctx, || Command::ConfirmOpen { open: reservation, file, create_action, is_directory, by }, None).await;
    let grant = match outcome {
        Ok(Outcome::Opened(grant) | Outcome::Replayed(grant)) => grant,
        Ok(Outcome::Refused(status)) => return Err(Refusal::new(status, "the records refuse the file that was made")),
        Ok(_) => return Err(Refusal::new(NtStatus::INTERNAL_ERROR, "an outcome that does not belong to a confirmation")),
        Err(refusal) => {
            // Cancelled while it waited: nobody will come for the reservation. With an unknown outcome the replay will.
            if refusal.status != NtStatus::FILE_NOT_AVAILABLE {
                abort(ctx, reservation).await;
            }
            return Err(refusal);
        }
    };
    let metadata = blocking(|| below.file.metadata())?;
    let metadata = with_file_attributes(tree, &below, metadata);
    let open = attach::attach(ctx, &grant, below).await?;
    let reply = Reply { grant: &grant, file_id: open.file_id, metadata: &metadata, tree, maximal_access: tree.maximal_access };
    Ok(Step::Done(reply::created(wishes, &reply)))
}

/// The CREATE has been answered before, here or on another node: the same answer again.
async fn replayed(ctx: &mut RequestContext, wishes: &Wishes, grant: Grant) -> Result<Step, Refusal> {
    let tree = Arc::clone(ctx.tree()?);
    let local = ctx.session()?.open_by_id(grant.open);
    let open = match local {
        Some(open) => {
            ctx.opened(open.file_id);
            open
        }
        None => {
            let record = ctx.server.store.with_state(|state| state.open(grant.open).cloned());
            let record = record.ok_or(Refusal::new(NtStatus::FILE_NOT_AVAILABLE, "the open was closed by force before it was answered"))?;
            let (below, _) = attach::open_recorded(&tree.share, &record)?;
            settle_rename(ctx, &grant, &below).await;
            attach::attach(ctx, &grant, below).await?
        }
    };
    let file = open.backend_file()?;
    let metadata = blocking(|| file.metadata())?;
    let reply = Reply { grant: &grant, file_id: open.file_id, metadata: &metadata, tree: &tree, maximal_access: tree.maximal_access };
    Ok(Step::Done(reply::created(wishes, &reply)))
}

/// Outcomes that are the same for every kind of opening.
async fn unexpected(ctx: &mut RequestContext, file: Option<FileKey>, outcome: Outcome) -> Result<Step, Refusal> {
    match outcome {
        Outcome::Refused(NtStatus::DELETE_PENDING) if removal_under_way(ctx, file).await? => Ok(Step::Again),
        Outcome::Refused(status) => Err(Refusal::new(status, "the records refuse the open")),
        Outcome::OwnerAlive { open, node, incarnation, .. } => match wait_for_holder(ctx, Holder { open, node, incarnation }).await? {
            Freed::Maybe => Ok(Step::Again),
            Freed::No => Err(Refusal::new(NtStatus::FILE_NOT_AVAILABLE, "the handle's node has not been declared dead yet")),
        },
        Outcome::Reserved { open, .. } => {
            abort(ctx, open).await;
            Ok(Step::Again)
        }
        Outcome::Rejected(rejection) => {
            tracing::warn!(%rejection, "a CREATE was rejected by the records");
            Err(Refusal::new(NtStatus::FILE_NOT_AVAILABLE, "rejected by the records"))
        }
        _ => Err(Refusal::new(NtStatus::INTERNAL_ERROR, "an outcome that does not belong to a CREATE")),
    }
}

/// A file whose last open has gone is there only until its node has removed it: waits for that. False when it is still open somewhere, or
/// its removal takes too long.
async fn removal_under_way(ctx: &RequestContext, file: Option<FileKey>) -> Result<bool, Refusal> {
    let Some(file) = file else { return Ok(false) };
    let of_file = |state: &State| state.due_deletes().map(|delete| delete.file).find(|deleted| deleted.unnamed() == file.unnamed());
    let due = || ctx.server.store.with_state(of_file);
    let cancelled = ctx.cancelled();
    let until = tokio::time::Instant::now() + REMOVAL_WAIT;
    loop {
        let (deleted, in_use) = ctx.server.store.with_state(|state| (of_file(state), state.is_delete_pending(&file)));
        let Some(deleted) = deleted else { return Ok(!in_use) };
        let mut watch = ctx.server.file_watches.watch(deleted);
        // It may have gone before the watch was there.
        if due() != Some(deleted) {
            continue;
        }
        tokio::select! {
            () = cancelled.cancelled() => return Err(Refusal::new(NtStatus::CANCELLED, "cancelled while it waited")),
            () = tokio::time::sleep_until(until) => return Ok(false),
            () = watch.changed() => {}
        }
    }
}

/// Gives a reservation back.
async fn abort(ctx: &RequestContext, open: OpenId) {
    let command = Command::AbortOpen { open, by: ctx.server.store.incarnation() };
    if let Err(refusal) = ctx.server.propose(command).await {
        tracing::debug!(because = refusal.because, "a reservation is given back with its session");
    }
}

/// Opens what was found; None when the name has become another file's.
fn open_below(
    wishes: &Wishes,
    backend: &dyn Backend,
    found: &Found,
    is_directory: bool,
    overwrites: bool,
) -> Result<Option<Below>, Refusal> {
    let want = plan::want(wishes.access, is_directory, overwrites);
    let stream = wishes.target.stream.as_deref();
    let best = wishes.access.contains(AccessMask::MAXIMUM_ALLOWED) && !is_directory;
    let opened = blocking(|| {
        // MAXIMUM_ALLOWED: as much as the file system gives.
        if best {
            for more in [Want::READ_WRITE, Want { read: true, ..want }, want] {
                match target::open_existing(backend, &found.path, stream, more) {
                    Err(BackendError::AccessDenied { .. } | BackendError::ReadOnly { .. }) => {}
                    other => return other,
                }
            }
        }
        target::open_existing(backend, &found.path, stream, want)
    });
    match opened {
        Ok((file, path)) if file.key() == found.metadata.key => Ok(Some(Below { file, path, stream: found.stream.clone() })),
        Ok(_) | Err(BackendError::NotFound { .. } | BackendError::ParentNotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// After the records' consent: is the name still this file's? Gives its metadata then.
fn still_there(backend: &dyn Backend, found: &Found, below: &Below) -> Result<Option<smb_backend::Metadata>, Refusal> {
    let entry = match blocking(|| backend.lookup(&found.path)) {
        Ok(entry) => entry,
        Err(BackendError::NotFound { .. } | BackendError::ParentNotFound { .. } | BackendError::NotADirectory { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if entry.metadata.key != found.base {
        return Ok(None);
    }
    if below.stream.is_none() {
        return Ok(Some(entry.metadata));
    }
    let metadata = blocking(|| below.file.metadata())?;
    Ok(Some(smb_backend::Metadata { attributes: found.metadata.attributes, ..metadata }))
}

/// A stream has the attributes of its file; the file system tells them of files only.
fn with_file_attributes(tree: &TreeConnect, below: &Below, metadata: smb_backend::Metadata) -> smb_backend::Metadata {
    if below.stream.is_none() {
        return metadata;
    }
    let base = tree.share.backend().and_then(|backend| blocking(|| backend.lookup(&below.path)).ok());
    match base {
        Some(entry) if !entry.metadata.is_directory() => smb_backend::Metadata { attributes: entry.metadata.attributes, ..metadata },
        _ => metadata,
    }
}

/// What the user may do at most with a file that exists.
// MS-FSA 2.1.5.1.2
// The file's own descriptor decides; who may delete children of the directory may delete this one, whatever the file says.
fn maximal_access(
    ctx: &RequestContext,
    wishes: &Wishes,
    tree: &TreeConnect,
    backend: &dyn Backend,
    below: &Below,
    found: &Found,
) -> Result<AccessMask, Refusal> {
    let user = ctx.session()?.user().map(|user| user.sid.clone()).unwrap_or_else(smb_types::Sid::anonymous);
    let descriptor = blocking(|| descriptor_of(&below.file))?;
    let mut maximal = access::maximal(descriptor.as_ref(), &user);
    let wants_delete = wishes.access.intersects(AccessMask::DELETE | AccessMask::MAXIMUM_ALLOWED);
    if !maximal.contains(AccessMask::DELETE) && wants_delete {
        let parent = parent_descriptor(wishes, backend)?;
        if access::maximal(parent.as_ref(), &user).contains(AccessMask::DELETE_CHILD) {
            maximal |= AccessMask::DELETE;
        }
    }
    // Whoever may list a directory sees the attributes of what is in it.
    maximal |= AccessMask::READ_ATTRIBUTES;
    if found.metadata.attributes.contains(FileAttributes::READONLY) && !found.metadata.is_directory() {
        maximal = maximal.without(AccessMask::WRITE_DATA | AccessMask::APPEND_DATA);
    }
    Ok(maximal & tree.maximal_access)
}

fn descriptor_of(file: &Arc<dyn BackendFile>) -> Result<Option<SecurityDescriptor>, BackendError> {
    let Some(bytes) = file.security_descriptor()? else { return Ok(None) };
    match SecurityDescriptor::decode(&bytes) {
        Ok(descriptor) => Ok(Some(descriptor)),
        Err(error) => {
            tracing::warn!(%error, "a stored security descriptor makes no sense; nobody but its owner could repair it, so it is passed over");
            Ok(None)
        }
    }
}

/// The descriptor of the directory that holds the target.
fn parent_descriptor(wishes: &Wishes, backend: &dyn Backend) -> Result<Option<SecurityDescriptor>, Refusal> {
    let Some(parent) = wishes.target.path.parent() else { return Ok(None) };
    let descriptor = blocking(|| {
        let (file, _) = target::open_existing(backend, &parent, None, Want::PATH_ONLY)?;
        if file.kind() == FileKind::File {
            return Err(BackendError::ParentNotFound { path: parent.as_str().to_owned() });
        }
        descriptor_of(&file)
    });
    match descriptor {
        Err(BackendError::NotFound { path }) => Err(BackendError::ParentNotFound { path }.into()),
        other => Ok(other?),
    }
}

/// Tells whether the directory that is to hold the target is marked for deletion.
fn parent_is_going(ctx: &RequestContext, wishes: &Wishes, tree: &TreeConnect) -> bool {
    let parent = if wishes.target.stream.is_some() { Some(wishes.target.path.clone()) } else { wishes.target.path.parent() };
    let Some(parent) = parent else { return false };
    let parent = parent.to_smb();
    ctx.server.store.with_state(|state| {
        let mut files = state.opens_of_path(tree.share.share_id, &parent).filter_map(|open| open.file);
        files.any(|file| state.file(&file).is_some_and(|file| file.delete_pending))
    })
}

/// Makes the file, directory or stream.
fn make(
    wishes: &Wishes,
    tree: &TreeConnect,
    backend: &dyn Backend,
    kind: FileKind,
    descriptor: Option<Vec<u8>>,
) -> Result<Below, BackendError> {
    let attributes = match kind {
        FileKind::File => wishes.attributes.without(FileAttributes::DIRECTORY | FileAttributes::NORMAL) | FileAttributes::ARCHIVE,
        FileKind::Directory => wishes.attributes.without(FileAttributes::NORMAL),
    };
    let how = OpenHow {
        disposition: CreateDisposition::Create,
        must_be: if kind == FileKind::Directory { MustBe::Directory } else { MustBe::File },
        want: if kind == FileKind::Directory { Want::READ } else { Want::READ_WRITE },
        create: CreateArgs {
            kind,
            attributes,
            security_descriptor: descriptor,
            eas: wishes.eas.clone(),
            allocation: wishes.allocation,
            mode: None,
        },
        stability: stability(tree),
    };
    let Some(stream) = &wishes.target.stream else {
        let opened = backend.open(&wishes.target.path, &how)?;
        return Ok(Below { file: opened.file, path: opened.path, stream: None });
    };
    let base = OpenHow { disposition: CreateDisposition::OpenIf, must_be: MustBe::Either, want: Want::PATH_ONLY, ..how.clone() };
    let base = backend.open(&wishes.target.path, &base)?;
    let opened = backend.open_stream(&base.path, stream, &how)?;
    Ok(Below { file: opened.file, path: base.path, stream: Some(stream.clone()) })
}

fn stability(tree: &TreeConnect) -> Stability {
    if tree.share.is_ca { Stability::Stable } else { Stability::Cached }
}

fn open_request(
    ctx: &RequestContext,
    wishes: &Wishes,
    file: Option<FileKey>,
    path: String,
    is_directory: bool,
    granted_access: AccessMask,
    overwrites: bool,
) -> Result<OpenRequest, Refusal> {
    let session = ctx.session()?;
    let user = session.user().ok_or(Refusal::new(NtStatus::USER_SESSION_DELETED, "the session is not set up"))?;
    // MS-SMB2 3.3.5.9.6
    // Durable handles of the first version are for files; persistent ones may be directories.
    let durability = match wishes.durability {
        RequestedDurability::V1 | RequestedDurability::V2 { .. } if is_directory => RequestedDurability::None,
        other => other,
    };
    let oplock = wishes.oplock_for(is_directory);
    if let (RequestedOplock::Lease(lease), RequestedOplock::None) = (wishes.oplock, oplock) {
        // MS-SMB2 3.3.5.9.8
        // Also where no lease can be granted, a key that belongs to another file is a mistake.
        let id = LeaseId { client_guid: ctx.connection.client_guid(), key: lease.key };
        let elsewhere =
            ctx.server.store.with_state(|state| state.files_of_lease(id).any(|other| Some(other.key) != file && !other.delete_pending));
        if elsewhere {
            return Err(Refusal::invalid("the lease key belongs to another file"));
        }
    }
    Ok(OpenRequest {
        node: ctx.server.store.node(),
        incarnation: ctx.server.store.incarnation(),
        session: session.session_id,
        share: ctx.tree()?.share.share_id,
        client_guid: ctx.connection.client_guid(),
        create_guid: wishes.create_guid,
        user: user.sid.clone(),
        file,
        path,
        is_directory,
        desired_access: wishes.desired_access,
        granted_access,
        share_access: wishes.share_access,
        create_options: wishes.options,
        file_attributes: wishes.attributes,
        overwrites,
        oplock,
        durability,
        app_instance: wishes.app_instance,
        replay: ctx.header.is_replay(),
        dialect_3x: ctx.dialect().is_3x(),
    })
}
