//! RenameIntent and RenameDone: a path changes under its opens (MS-FSA 2.1.5.15.12).

use std::sync::Arc;

use smb_types::{LeaseState, NtStatus};

use crate::arbiter::breaks::{self, Broken, break_lease};
use crate::command::{IoKind, open::PATH_BYTES_MAX};
use crate::effects::{Effects, Step, file_of, owned, refuse};
use crate::id::{FileKey, Incarnation, LeaseId, OpenId, ShareId};
use crate::outcome::Outcome;
use crate::record::Open;
use crate::state::State;

/// Asks everybody who is in the way, then announces the new path.
pub(crate) fn intent(
    state: &mut State,
    fx: &mut Effects,
    id: OpenId,
    new_path: &str,
    replace: bool,
    target: Option<FileKey>,
    by: Incarnation,
) -> Step {
    let open = owned(state, fx, id, by)?;
    let key = file_of(&open);
    if new_path.is_empty() || new_path.len() > PATH_BYTES_MAX {
        return refuse(NtStatus::OBJECT_NAME_INVALID);
    }
    if state.is_delete_pending(&key) {
        return refuse(NtStatus::DELETE_PENDING);
    }
    half_done(state, id, key)?;
    if let Some(target) = target.filter(|t| *t != key) {
        settle_target(state, fx, target, replace)?;
    }
    if open.is_directory {
        settle_children(state, fx, &open)?;
    }
    if breaks::break_for(state, fx, key, Some(id), IoKind::Rename) {
        return Err(Outcome::MustWait { file: key });
    }
    state.edit_open(id, |o| o.pending_path = Some(new_path.into()));
    fx.changed(key);
    fx.interest_in(state, key);
    Ok(Outcome::Done)
}

/// Another open of the file that has announced a rename and not finished it.
fn half_done(state: &State, id: OpenId, key: FileKey) -> Step<()> {
    let opens = state.file(&key).into_iter().flat_map(|f| &f.opens).filter(|o| **o != id);
    match opens.filter_map(|o| state.open(*o)).find(|o| o.pending_path.is_some()) {
        Some(o) if o.is_detached() => refuse(NtStatus::SHARING_VIOLATION),
        Some(_) => Err(Outcome::MustWait { file: key }),
        None => Ok(()),
    }
}

// MS-FSA 2.1.5.15.12
// A file that is open is not replaced; who only keeps it open just in case is asked to close it.
fn settle_target(state: &mut State, fx: &mut Effects, target: FileKey, replace: bool) -> Step<()> {
    if state.is_delete_pending(&target) {
        return refuse(NtStatus::DELETE_PENDING);
    }
    if !replace {
        return refuse(NtStatus::OBJECT_NAME_COLLISION);
    }
    let opens = breaks::open_ids(state, target);
    ask_to_close(state, fx, &opens)
}

// MS-FSA 2.1.5.15.12
// A directory with open files beneath it does not move. Those of disconnected persistent clients count like any other.
fn settle_children(state: &mut State, fx: &mut Effects, directory: &Open) -> Step<()> {
    let children = state.opens_beneath(directory.share, &directory.path);
    ask_to_close(state, fx, &children)
}

/// Ok when the opens are gone; waits while those that can be asked have not answered; else ACCESS_DENIED.
fn ask_to_close(state: &mut State, fx: &mut Effects, opens: &[OpenId]) -> Step<()> {
    let held = |state: &State, id: &OpenId| -> Option<(FileKey, LeaseId)> {
        let o = state.open(*id).filter(|o| !(o.is_detached() && o.is_persistent()))?;
        let (file, lease) = (o.file?, o.lease?);
        state.lease(&file, lease).is_some_and(|l| l.state.contains(LeaseState::HANDLE)).then_some((file, lease))
    };
    if opens.iter().any(|id| state.open(*id).is_some() && held(state, id).is_none()) {
        return refuse(NtStatus::ACCESS_DENIED);
    }
    // One after the other: the first that keeps its handle spares the others the question.
    let mut wait = None;
    for id in opens {
        if let Some((file, lease)) = held(state, id)
            && break_lease(state, fx, file, lease, LeaseState::RW) == Broken::Pending
        {
            wait = Some(file);
            break;
        }
    }
    match wait {
        Some(file) => Err(Outcome::MustWait { file }),
        None if opens.iter().all(|id| state.open(*id).is_none()) => Ok(()),
        None => refuse(NtStatus::ACCESS_DENIED),
    }
}

/// Gives the new path to all that knew the file, or the directory above them, by the old one; or forgets the announcement.
pub(crate) fn done(state: &mut State, fx: &mut Effects, id: OpenId, done: bool, by: Incarnation) -> Step {
    let open = owned(state, fx, id, by)?;
    let Some(new_path) = open.pending_path.clone() else { return refuse(NtStatus::INVALID_PARAMETER) };
    let key = file_of(&open);
    state.edit_open(id, |o| o.pending_path = None);
    fx.changed(key);
    if !done {
        return Ok(Outcome::Done);
    }
    let same: Vec<OpenId> = state.opens_of_path(open.share, &open.path).filter(|o| o.file == Some(key)).map(|o| o.id).collect();
    for other in same {
        move_open(state, fx, other, &new_path);
    }
    move_prefixed(state, fx, open.share, &open.path, &new_path);
    fx.interest_in(state, key);
    Ok(Outcome::Done)
}

/// Opens beneath a moved directory, and streams of a moved file.
fn move_prefixed(state: &mut State, fx: &mut Effects, share: ShareId, old: &str, new: &str) {
    let streams = state.opens_of_streams(share, old);
    let beneath = state.opens_beneath(share, old);
    for id in streams.into_iter().chain(beneath) {
        let Some(path) = state.open(id).map(|o| o.path.clone()) else { continue };
        // Both paths fold to the same prefix; folding may change lengths, so characters are counted, not bytes.
        let trimmed = path.trim_matches(['\\', '/']);
        let rest: String = trimmed.chars().skip(old.trim_matches(['\\', '/']).chars().count()).collect();
        let path: Arc<str> = format!("{}{rest}", new.trim_end_matches(['\\', '/'])).into();
        move_open(state, fx, id, &path);
    }
}

fn move_open(state: &mut State, fx: &mut Effects, id: OpenId, path: &Arc<str>) {
    let Some((file, lease, owner)) = state.open(id).map(|o| (o.file, o.lease, o.owner)) else { return };
    // Until it knows, its node would look for the file under a name that may be another's by now.
    owner.into_iter().for_each(|o| fx.interest(o.node));
    state.edit_open(id, |o| {
        o.path = Arc::clone(path);
        if let Some(r) = &mut o.request {
            r.path = path.to_string();
        }
    });
    let Some(file) = file else { return };
    fx.changed(file);
    if let Some(lease) = lease {
        state.edit_file(file, |f| f.leases.get_mut(&lease).map(|l| l.path = Arc::clone(path)));
    }
}
