//! ConfirmOpen and AbortOpen: the backend has answered.

use smb_types::NtStatus;

use crate::arbiter::create::{self, Verdict, arbitrate};
use crate::arbiter::{close, grant};
use crate::command::{OpenRequest, open};
use crate::effects::{Effects, Step, refuse};
use crate::id::{FileKey, Incarnation, OpenId};
use crate::outcome::Outcome;
use crate::record::{CreateAction, OpenState};
use crate::state::State;

/// The reservation, if this incarnation made it (its session may have ended since).
fn reservation(state: &State, fx: &mut Effects, id: OpenId, by: Incarnation) -> Step<OpenRequest> {
    let request = state.open(id).filter(|o| o.state == OpenState::Reserved).and_then(|o| o.request.as_deref());
    match request {
        Some(r) if r.incarnation == by && state.node(r.node).is_some_and(|n| n.is_live() && n.incarnation == by) => {
            fx.proposed_by(r.node);
            Ok(r.clone())
        }
        _ => refuse(NtStatus::FILE_CLOSED),
    }
}

/// Makes the reservation an open and grants what it asked for.
pub(crate) fn confirm(
    state: &mut State,
    fx: &mut Effects,
    id: OpenId,
    key: FileKey,
    create_action: CreateAction,
    is_directory: bool,
    by: Incarnation,
) -> Step {
    let mut r = reservation(state, fx, id, by)?;
    let reserved = r.file;
    r.file = Some(key);
    if reserved == Some(key) {
        // Who opened since the reservation may have begun to cache what was thrown away.
        create::break_caches(state, fx, &r, key, Some(id));
    } else {
        // The file was unknown, or is another one now: the place has to be won here.
        match arbitrate(state, fx, &r, key, Some(id)) {
            Verdict::Clear => {}
            Verdict::Wait => return Err(Outcome::MustWait { file: key }),
            Verdict::Refuse(status) => {
                close::take_back(state, fx, id, r.node);
                return refuse(status);
            }
        }
        if let Some(old) = reserved {
            leave(state, fx, id, old);
        }
    }
    state.edit_open(id, |o| {
        (o.state, o.request) = (OpenState::Open, None);
        (o.create_action, o.is_directory) = (create_action, is_directory);
    });
    grant::enlist(state, id, key);
    grant::grant(state, id, &r);
    fx.changed(key);
    open::interest(state, fx, id, &r);
    Ok(Outcome::Opened(grant::answer(state, id)))
}

/// The reservation's place at a file that it turned out not to open.
fn leave(state: &mut State, fx: &mut Effects, id: OpenId, old: FileKey) {
    let empty = state.edit_file(old, |f| {
        f.opens.remove(&id);
        f.opens.is_empty() && !f.delete_pending
    });
    if empty == Some(true) {
        state.remove_file(old);
    }
    fx.changed(old);
}

/// Gives the place back.
pub(crate) fn abort(state: &mut State, fx: &mut Effects, id: OpenId, by: Incarnation) -> Step {
    let r = reservation(state, fx, id, by)?;
    close::take_back(state, fx, id, r.node);
    Ok(Outcome::Done)
}
