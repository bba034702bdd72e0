//! Opening, creating and overwriting by name: look, decide, ask the records, change the file system, confirm (MS-SMB2 3.3.5.9).
//!
//! Names may change between any two steps, by other nodes too: whoever finds another file than it looked at begins anew. What changes the
//! file system is reserved before and confirmed after; a node that dies in between leaves a reservation which the replay takes up.

use std::{sync::Arc, time::Duration};

use persistence_model::{
    Command, CreateAction, FileKey, Grant, LeaseId, Open as OpenRecord, OpenId, OpenRequest, OpenState, Outcome, RequestedDurability,
    RequestedOplock, State,
};
use smb_backend::{BackendError, CreateArgs, FileKind, Overwrite, Stability, Want};
use smb_proto::{info::NotifyAction, message::change_notify::CompletionFilter};
use smb_types::{AccessMask, CreateDisposition, CreateOptions, FileAttributes, NtStatus, ShareAccess};

use super::{
    attach::{self, Below},
    plan::{self, Plan},
    reconnect::settle_rename,
    reply::{self, Reply},
    target::{self, Found, record_path},
    wishes::Wishes,
};
use crate::{
    access::{Allowed, Asker, Intent, MayCreate, New, Reached, Unproven},
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
    let asker = ctx.asker()?;
    let reached = asker.reach(&wishes.target.path);
    let found = reached.and_then(|at| Ok((blocking(|| target::find(asker.names(), &at, wishes.target.stream.as_deref()))?, at)));
    let (found, at) = match found {
        Ok((found, at)) => (found, Some(at)),
        Err(_) if replay_known => (None, None),
        Err(refusal) => return Err(refusal),
    };
    let plan = match plan::decide(wishes, found.as_ref(), replay_known) {
        Ok(plan) => plan,
        Err(refusal) if replay_known && found.is_none() => return ask_for_replay(ctx, wishes, refusal).await,
        Err(refusal) if refusal.status == NtStatus::OBJECT_NAME_COLLISION && ctx.header.is_replay() && wishes.create_guid.is_some() => {
            return ask_for_replay(ctx, wishes, refusal).await;
        }
        Err(refusal) => return Err(refusal),
    };
    let Some(at) = at else {
        return ask_for_replay(ctx, wishes, Refusal::new(NtStatus::OBJECT_PATH_NOT_FOUND, "a directory on the way is missing")).await;
    };
    let attempt = Attempt { tree, asker, at };
    match (plan, found) {
        (Plan::Create(kind), _) => create(ctx, wishes, &attempt, kind).await,
        (Plan::Open, Some(found)) => open_found(ctx, wishes, &attempt, &found, false, replay_known).await,
        (Plan::Overwrite, Some(found)) => open_found(ctx, wishes, &attempt, &found, true, replay_known).await,
        (Plan::Open | Plan::Overwrite, None) => Err(Refusal::new(NtStatus::INTERNAL_ERROR, "a plan for a file that is not there")),
    }
}

/// One try: where the CREATE goes, and who asks.
struct Attempt {
    tree: Arc<TreeConnect>,
    asker: Asker,
    at: Reached,
}

impl Attempt {
    /// A try that begins now.
    fn of(ctx: &RequestContext, wishes: &Wishes) -> Result<Self, Refusal> {
        let asker = ctx.asker()?;
        let at = asker.reach(&wishes.target.path)?;
        Ok(Self { tree: Arc::clone(ctx.tree()?), asker, at })
    }

    fn find(&self, wishes: &Wishes) -> Result<Option<Found>, BackendError> {
        blocking(|| target::find(self.asker.names(), &self.at, wishes.target.stream.as_deref()))
    }
}

/// What a CREATE of a file that exists asks for.
fn intent(wishes: &Wishes, overwrites: bool) -> Intent {
    let mut needed = AccessMask::NONE;
    if overwrites {
        // MS-FSA 2.1.5.1.2
        // Throwing data away is writing; replacing the file is deleting it, too.
        needed |= AccessMask::WRITE_DATA;
        if wishes.disposition == CreateDisposition::Supersede {
            needed |= AccessMask::DELETE;
        }
    }
    if wishes.options.contains(CreateOptions::DELETE_ON_CLOSE) {
        needed |= AccessMask::DELETE;
    }
    Intent { asked: wishes.access, needed, for_backup: wishes.options.contains(CreateOptions::OPEN_FOR_BACKUP_INTENT) }
}

/// What looks like a refusal may be the second try of what has succeeded, on a node that has not heard of it: a reservation asks everybody.
async fn ask_for_replay(ctx: &mut RequestContext, wishes: &Wishes, otherwise: Refusal) -> Result<Step, Refusal> {
    let is_directory = wishes.options.contains(CreateOptions::DIRECTORY_FILE);
    let path = record_path(&wishes.target.path, wishes.target.stream.as_deref());
    let request = open_request(ctx, wishes, None, path, is_directory, wishes.access.without(AccessMask::MAXIMUM_ALLOWED), false)?;
    match propose_and_wait(ctx, || Command::ReserveOpen(Box::new(request.clone())), None).await? {
        Outcome::Replayed(grant) => replayed(ctx, wishes, grant).await,
        Outcome::Reserved { open, resumed } => {
            if resumed {
                let attempt = Attempt::of(ctx, wishes)?;
                return resume(ctx, wishes, &attempt, open).await;
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
    attempt: &Attempt,
    found: &Found,
    overwrites: bool,
    replay_known: bool,
) -> Result<Step, Refusal> {
    let is_directory = found.metadata.is_directory();
    let tree = &attempt.tree;
    let Some(unproven) = open_below(wishes, attempt, found, is_directory, overwrites)? else { return Ok(Step::Again) };
    let below = match attempt.asker.prove(&attempt.at, unproven, &found.metadata, intent(wishes, overwrites)) {
        Ok(allowed) => Below::new(allowed, found.stream.clone()),
        // What the first try had made, and given a descriptor that lets its creator do less than the CREATE itself.
        Err(refusal) if replay_known => return ask_for_replay(ctx, wishes, refusal).await,
        Err(refusal) => return Err(refusal),
    };
    let (granted, maximal) = (below.granted, below.maximal);
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
            let Some(metadata) = still_there(attempt, found, &below)? else {
                attach::close(&ctx.server, grant.open).await;
                return Ok(Step::Again);
            };
            let open = attach::attach(ctx, &grant, below).await?;
            let reply = Reply { grant: &grant, file_id: open.file_id, metadata: &metadata, tree, maximal_access: maximal };
            Ok(Step::Done(reply::created(wishes, &reply)))
        }
        Outcome::Replayed(grant) => replayed(ctx, wishes, grant).await,
        Outcome::Reserved { open, resumed: true } => resume(ctx, wishes, attempt, open).await,
        Outcome::Reserved { open, resumed: false } if overwrites => overwrite(ctx, wishes, attempt, found, below, open).await,
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
    attempt: &Attempt,
    found: &Found,
    below: Below,
    reservation: OpenId,
) -> Result<Step, Refusal> {
    match still_there(attempt, found, &below) {
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
    let tree = &attempt.tree;
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
    confirm(ctx, wishes, attempt, reservation, below, action, false).await
}

/// Creates a file, directory or stream.
async fn create(ctx: &mut RequestContext, wishes: &Wishes, attempt: &Attempt, kind: FileKind) -> Result<Step, Refusal> {
    let is_directory = kind == FileKind::Directory;
    let may = may_create(wishes, attempt, kind)?;
    if parent_is_going(ctx, wishes, &attempt.tree) {
        return Err(Refusal::new(NtStatus::DELETE_PENDING, "the directory is being deleted"));
    }
    let path = record_path(&wishes.target.path, wishes.target.stream.as_deref());
    let request = open_request(ctx, wishes, None, path, is_directory, may.granted(), false)?;
    match propose_and_wait(ctx, || Command::ReserveOpen(Box::new(request.clone())), None).await? {
        Outcome::Reserved { open, resumed } => match make(wishes, attempt, &may) {
            Ok(below) => {
                parent_lease::entry_changed(&ctx.server, &attempt.tree.share, &below.path, parent_lease_of(ctx, wishes));
                report_created(ctx, &attempt.tree, &below, is_directory);
                confirm(ctx, wishes, attempt, open, below, CreateAction::Created, is_directory).await
            }
            // The first try of this CREATE has come as far as the file system.
            Err(BackendError::Exists { .. }) if resumed => resume(ctx, wishes, attempt, open).await,
            Err(BackendError::Exists { .. }) => {
                abort(ctx, open).await;
                Ok(Step::Again)
            }
            Err(error) => {
                abort(ctx, open).await;
                Err(error.into())
            }
        },
        Outcome::Replayed(grant) => replayed(ctx, wishes, grant).await,
        other => unexpected(ctx, None, other).await,
    }
}

/// Asks whether the file, directory or stream may be made.
fn may_create(wishes: &Wishes, attempt: &Attempt, kind: FileKind) -> Result<MayCreate, Refusal> {
    let new = New { kind, stream: wishes.target.stream.as_deref(), descriptor: wishes.security_descriptor.as_deref() };
    attempt.asker.may_create(&attempt.at, &new, intent(wishes, false))
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
async fn resume(ctx: &mut RequestContext, wishes: &Wishes, attempt: &Attempt, reservation: OpenId) -> Result<Step, Refusal> {
    let record = ctx.server.store.with_state(|state| state.open(reservation).cloned());
    let Some(record) = record else { return Ok(Step::Again) };
    // The reservation stays for the next replay if this fails: a file system that fails now may work then.
    let found = attempt.find(wishes)?;
    let directory = wishes.options.contains(CreateOptions::DIRECTORY_FILE);
    let kind = if directory { FileKind::Directory } else { FileKind::File };
    let Some(found) = found else {
        let made = may_create(wishes, attempt, kind).and_then(|may| make(wishes, attempt, &may).map_err(Refusal::from));
        return match made {
            Ok(below) => confirm(ctx, wishes, attempt, reservation, below, CreateAction::Created, directory).await,
            Err(refusal) => {
                abort(ctx, reservation).await;
                Err(refusal)
            }
        };
    };
    let below = match take_up(wishes, attempt, &found, &record) {
        Ok(Some(below)) => below,
        Ok(None) => return Err(Refusal::new(NtStatus::FILE_NOT_AVAILABLE, "the name changes while a CREATE is taken up")),
        Err(refusal) => {
            abort(ctx, reservation).await;
            return Err(refusal);
        }
    };
    match record.file {
        Some(key) if key == attempt.tree.share.file_key(found.metadata.key) => {
            overwrite(ctx, wishes, attempt, &found, below, reservation).await
        }
        Some(_) => {
            abort(ctx, reservation).await;
            Ok(Step::Again)
        }
        None => confirm(ctx, wishes, attempt, reservation, below, CreateAction::Created, found.metadata.is_directory()).await,
    }
}

/// Opens what a CREATE that is taken up has left. A file that it had begun to make, and that lets nobody in yet, gets first what it would
/// have been given: its directory's descriptor among it.
fn take_up(wishes: &Wishes, attempt: &Attempt, found: &Found, record: &OpenRecord) -> Result<Option<Below>, Refusal> {
    let is_directory = found.metadata.is_directory();
    let overwrites = record.file.is_some();
    let Some(unproven) = open_below(wishes, attempt, found, is_directory, overwrites)? else { return Ok(None) };
    let intent = intent(wishes, overwrites);
    if overwrites {
        let allowed = attempt.asker.prove(&attempt.at, unproven, &found.metadata, intent)?;
        return Ok(Some(Below::new(allowed, found.stream.clone())));
    }
    if found.stream.is_none() && blocking(|| unproven.is_unfinished())? {
        let kind = if is_directory { FileKind::Directory } else { FileKind::File };
        let may = may_create(wishes, attempt, kind)?;
        blocking(|| attempt.asker.names().finish_creation(&may, &unproven))?;
    }
    let allowed = attempt.asker.prove_made(&attempt.at, unproven, &found.metadata, record, intent)?;
    Ok(Some(Below::new(allowed, found.stream.clone())))
}

/// Tells the records that the file system has done it; the client has its open then.
async fn confirm(
    ctx: &mut RequestContext,
    wishes: &Wishes,
    attempt: &Attempt,
    reservation: OpenId,
    below: Below,
    create_action: CreateAction,
    is_directory: bool,
) -> Result<Step, Refusal> {
    let tree = &attempt.tree;
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
    let metadata = with_file_attributes(attempt, &below, metadata);
    let maximal_access = below.maximal;
    let open = attach::attach(ctx, &grant, below).await?;
    let reply = Reply { grant: &grant, file_id: open.file_id, metadata: &metadata, tree, maximal_access };
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
    let file = open.file_for_any()?;
    let metadata = blocking(|| file.metadata())?;
    let reply = Reply { grant: &grant, file_id: open.file_id, metadata: &metadata, tree: &tree, maximal_access: open.granted_access };
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

/// Opens what was found, to be asked about; None when the name has become another file's.
fn open_below(
    wishes: &Wishes,
    attempt: &Attempt,
    found: &Found,
    is_directory: bool,
    overwrites: bool,
) -> Result<Option<Unproven>, Refusal> {
    let want = plan::want(wishes.access, is_directory, overwrites);
    let stream = wishes.target.stream.as_deref();
    let best = wishes.access.contains(AccessMask::MAXIMUM_ALLOWED) && !is_directory;
    let names = attempt.asker.names();
    let opened = blocking(|| {
        // MAXIMUM_ALLOWED: as much as the file system gives.
        if best {
            for more in [Want::READ_WRITE, Want { read: true, ..want }, want] {
                match names.open(&attempt.at, stream, more) {
                    Err(BackendError::AccessDenied { .. } | BackendError::ReadOnly { .. }) => {}
                    other => return other,
                }
            }
        }
        names.open(&attempt.at, stream, want)
    });
    match opened {
        Ok(unproven) if unproven.key() == found.metadata.key => Ok(Some(unproven)),
        Ok(_) | Err(BackendError::NotFound { .. } | BackendError::ParentNotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// After the records' consent: is the name still this file's? Gives its metadata then.
fn still_there(attempt: &Attempt, found: &Found, below: &Below) -> Result<Option<smb_backend::Metadata>, Refusal> {
    let entry = match blocking(|| attempt.asker.names().lookup(&attempt.at)) {
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
fn with_file_attributes(attempt: &Attempt, below: &Below, metadata: smb_backend::Metadata) -> smb_backend::Metadata {
    if below.stream.is_none() {
        return metadata;
    }
    match blocking(|| attempt.asker.names().lookup(&attempt.at)) {
        Ok(entry) if !entry.metadata.is_directory() => smb_backend::Metadata { attributes: entry.metadata.attributes, ..metadata },
        Ok(_) | Err(_) => metadata,
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
fn make(wishes: &Wishes, attempt: &Attempt, may: &MayCreate) -> Result<Below, BackendError> {
    let attributes = match may.kind() {
        FileKind::File => wishes.attributes.without(FileAttributes::DIRECTORY | FileAttributes::NORMAL) | FileAttributes::ARCHIVE,
        FileKind::Directory => wishes.attributes.without(FileAttributes::NORMAL),
    };
    let args = CreateArgs { attributes, eas: wishes.eas.clone(), allocation: wishes.allocation, ..CreateArgs::default() };
    let allowed: Allowed = blocking(|| attempt.asker.names().create(may, &args, stability(&attempt.tree)))?;
    Ok(Below::new(allowed, wishes.target.stream.clone()))
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
