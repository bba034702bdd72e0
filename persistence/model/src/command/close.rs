//! CloseOpen (MS-SMB2 3.3.5.10) and OpenClose (3.3.4.13): final, whatever the open was promised.

use crate::arbiter::close;
use crate::effects::{Effects, Step, owned, reject};
use crate::id::{Incarnation, OpenId};
use crate::outcome::{Outcome, Rejection};
use crate::state::State;

pub(crate) fn close(state: &mut State, fx: &mut Effects, id: OpenId, by: Incarnation) -> Step {
    let open = owned(state, fx, id, by)?;
    Ok(Outcome::Closed { delete: close::close(state, fx, id, open.owner.map(|o| o.node)) })
}

/// An operator closes an open, whoever has it and wherever its client is.
// MS-SMB2 3.3.4.13
pub(crate) fn by_operator(state: &mut State, fx: &mut Effects, id: OpenId) -> Step {
    if state.open(id).is_none() {
        return reject(Rejection::NoSuchRecord);
    }
    close::take(state, fx, id);
    Ok(Outcome::Done)
}
