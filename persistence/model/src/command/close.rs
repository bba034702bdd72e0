//! CloseOpen (MS-SMB2 3.3.5.10): final, whatever the open was promised.

use crate::arbiter::close;
use crate::effects::{Effects, Step, owned};
use crate::id::{Incarnation, OpenId};
use crate::outcome::Outcome;
use crate::state::State;

pub(crate) fn close(state: &mut State, fx: &mut Effects, id: OpenId, by: Incarnation) -> Step {
    let open = owned(state, fx, id, by)?;
    Ok(Outcome::Closed { delete: close::close(state, fx, id, open.owner.map(|o| o.node)) })
}
