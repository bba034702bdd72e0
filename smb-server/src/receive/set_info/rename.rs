//! FileRenameInformation(Ex): announces the new name to the records, renames, tells the records (MS-FSA 2.1.5.15.12).
//!
//! The announcement outlives this node: whoever serves the open next looks which of the two names exists.

use std::sync::Arc;

use persistence_model::Command;
use smb_backend::{FileKey, RelPath};
use smb_proto::{
    info::{FileClass, FileRenameInformation, NotifyAction, RenameFlags},
    message::change_notify::CompletionFilter,
};
use smb_types::{AccessMask, FileAttributes, NtStatus};

use super::{
    place::{self, NewName},
    stream_rename,
};
use crate::{
    access::Asker,
    blocking::blocking,
    deletion::backend_key,
    error::Refusal,
    notify::{self, Change},
    receive::{RequestContext, create::target::Target, io, parent_lease, wait::propose_and_wait},
    state::Open,
    store::StoreExt as _,
};

/// Renames the open's file.
pub(super) async fn set(ctx: &mut RequestContext, open: &Arc<Open>, class: FileClass, buffer: &[u8]) -> Result<(), Refusal> {
    open.require_any(AccessMask::DELETE)?;
    let wish = match class {
        FileClass::RenameEx => FileRenameInformation::decode_ex(buffer)?,
        _ => FileRenameInformation::decode(buffer)?,
    };
    if wish.file_name.is_empty() {
        return Err(Refusal::invalid("no new name"));
    }
    if open.stream.is_some() || wish.file_name.starts_with(':') {
        return stream_rename::rename(ctx, open, &wish).await;
    }
    let target = place::parse(&wish.file_name)?;
    if target.stream.is_some() {
        return Err(Refusal::new(NtStatus::OBJECT_NAME_INVALID, "a file does not become a stream"));
    }
    let asker = ctx.asker()?;
    if finish_earlier(ctx, open, &asker, &target.path).await? {
        return Ok(());
    }
    let from = io::current_path(&ctx.server, open);
    if from.is_root() {
        return Err(Refusal::invalid("the root of a share keeps its name"));
    }
    if from == target.path {
        return Ok(());
    }
    if open.is_directory && target.path.starts_with(&from) && !target.path.eq_ignore_case(&from) {
        return Err(Refusal::invalid("a directory cannot move into itself"));
    }
    let new_name = place::look(&asker, &target.path)?;
    let occupant = new_name.replaced(backend_key(open.file), wish.replaces());
    let may = asker.may_rename(open.granted_access, &from, &new_name.at, open.is_directory, occupant)?;
    let replaced = check_occupant(open, &new_name, wish.flags)?;
    place::check_directory_sharing(ctx, open, &target.path).await?;
    announce(ctx, open, &target.path, wish.replaces(), replaced).await?;
    let result = match io::still_ours(ctx, open) {
        Ok(()) => blocking(|| asker.names().rename(&may, open.stability())).map_err(Refusal::from),
        Err(refusal) => Err(refusal),
    };
    conclude(ctx, open, result.is_ok()).await?;
    result?;
    renamed(ctx, open, &from, &target.path);
    Ok(())
}

/// What is at the new name must be replaceable; tells its key.
// MS-FSA 2.1.5.15.12
fn check_occupant(open: &Open, new_name: &NewName, flags: RenameFlags) -> Result<Option<persistence_model::FileKey>, Refusal> {
    let Some(occupant) = &new_name.occupant else { return Ok(None) };
    // The same file in another spelling, or another name of it.
    if occupant.key == backend_key(open.file) {
        return Ok(None);
    }
    if !flags.contains(RenameFlags::REPLACE_IF_EXISTS) {
        return Err(Refusal::new(NtStatus::OBJECT_NAME_COLLISION, "the new name is taken"));
    }
    if occupant.is_directory() {
        return Err(Refusal::new(NtStatus::ACCESS_DENIED, "a directory is not replaced"));
    }
    let ignore_readonly = flags.contains(RenameFlags::IGNORE_READONLY_ATTRIBUTE);
    if open.is_directory || (occupant.attributes.contains(FileAttributes::READONLY) && !ignore_readonly) {
        return Err(Refusal::new(NtStatus::ACCESS_DENIED, "what has the new name cannot be replaced"));
    }
    Ok(Some(open.tree.share.file_key(occupant.key)))
}

/// Asks everybody who is in the way; the record carries both names afterwards.
async fn announce(
    ctx: &mut RequestContext,
    open: &Arc<Open>,
    to: &RelPath,
    replace: bool,
    target: Option<persistence_model::FileKey>,
) -> Result<(), Refusal> {
    let (id, by, new_path) = (open.open_id, ctx.server.store.incarnation(), to.to_smb());
    let ended = Some((open.ended.clone(), NtStatus::FILE_CLOSED));
    let intent = || Command::RenameIntent { open: id, new_path: new_path.clone(), replace, target, by };
    let outcome = propose_and_wait(ctx, intent, ended).await?;
    io::done(&outcome)
}

async fn conclude(ctx: &RequestContext, open: &Open, done: bool) -> Result<(), Refusal> {
    let by = ctx.server.store.incarnation();
    let outcome = ctx.server.propose(Command::RenameDone { open: open.open_id, done, by }).await?;
    io::done(&outcome)
}

/// A rename that was announced and never concluded (its store or its node failed in between) is concluded first. True if it was this one, and it
/// had been done: the request is a replay.
async fn finish_earlier(ctx: &RequestContext, open: &Open, asker: &Asker, wanted: &RelPath) -> Result<bool, Refusal> {
    let pending = ctx.server.store.with_state(|state| state.open(open.open_id).and_then(|record| record.pending_path.clone()));
    let Some(pending) = pending.and_then(|path| Target::of_record(&path)) else { return Ok(false) };
    let is_there = |key: FileKey| {
        let entry = asker.reach(&pending.path).ok().and_then(|at| blocking(|| asker.names().lookup(&at)).ok());
        entry.is_some_and(|entry| entry.metadata.key == key)
    };
    let done = is_there(backend_key(open.file));
    conclude(ctx, open, done).await?;
    if done {
        *open.path.write() = pending.path.clone();
    }
    Ok(done && pending.path == *wanted)
}

/// Tells everybody on this node.
fn renamed(ctx: &RequestContext, open: &Open, from: &RelPath, to: &RelPath) {
    let server = &ctx.server;
    let share = open.tree.share.share_id;
    let moved = server.store.with_state(|state| state.opens_moved_to(share, open.file, &to.to_smb()));
    moved.into_iter().filter_map(|id| server.open(id)).for_each(|other| drop(io::current_path(server, &other)));
    *open.path.write() = to.clone();
    let filter = if open.is_directory { CompletionFilter::DIR_NAME } else { CompletionFilter::FILE_NAME };
    let same_directory = match (from.parent(), to.parent()) {
        (Some(from), Some(to)) => from.eq_ignore_case(&to),
        _ => false,
    };
    // MS-FSA 2.1.5.15.12
    // Within a directory a file changes its name; to another one it goes, and comes there.
    let (old, new) = if same_directory {
        (NotifyAction::RenamedOldName, NotifyAction::RenamedNewName)
    } else {
        (NotifyAction::Removed, NotifyAction::Added)
    };
    let change = |path, action, filter| Change { path, stream: None, action, filter };
    notify::report_all(server, share, &[change(from, old, filter), change(to, new, filter)]);
    if !open.is_directory {
        // windows: a file that gets a new name also counts as modified.
        notify::report(server, share, to, NotifyAction::Modified, CompletionFilter::ATTRIBUTES | CompletionFilter::CREATION);
    }
    parent_lease::entries_changed(server, &open.tree.share, &[from, to], open.parent_lease());
}
