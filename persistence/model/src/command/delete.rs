//! SetDeletePending and DeleteDone: a file on its way out.

use crate::arbiter::breaks;
use crate::command::IoKind;
use crate::effects::{Effects, Step, file_of, owned, reject};
use crate::id::{FileKey, Incarnation, OpenId};
use crate::outcome::{Outcome, Rejection};
use crate::state::{RecordKey, State};

// MS-FSA 2.1.5.15.3
// Whoever keeps the file open just in case is asked to let go first; afterwards nobody can open it.
pub(crate) fn set_pending(state: &mut State, fx: &mut Effects, id: OpenId, on: bool, by: Incarnation) -> Step {
    let key = file_of(&owned(state, fx, id, by)?);
    if on && breaks::break_for(state, fx, key, Some(id), IoKind::Delete) {
        return Err(Outcome::MustWait { file: key });
    }
    state.edit_file(key, |f| f.delete_pending = on);
    fx.changed(key);
    fx.interest_in(state, key);
    Ok(Outcome::Done)
}

pub(crate) fn done(state: &mut State, fx: &mut Effects, file: FileKey) -> Step {
    if state.pending_deletes.remove(&file).is_none() {
        return reject(Rejection::NoSuchRecord);
    }
    state.touch(RecordKey::PendingDelete(file));
    fx.changed(file);
    Ok(Outcome::Done)
}
