//! SessionOpen.

use crate::arbiter::close::Loss;
use crate::command::disconnect::end_session;
use crate::effects::{Effects, Step, live, reject};
use crate::event::Event;
use crate::id::SessionId;
use crate::outcome::{Outcome, Rejection};
use crate::record::Session;
use crate::state::State;

/// No cluster has more sessions.
const SESSIONS_MAX: usize = 1 << 20;

// MS-SMB2 3.3.5.5.3
// The client names the session it had before, usually on a node that it lost. If the user is the same it ends as by LOGOFF, so that its durable handles can be
// reclaimed at once; any other id is ignored without a word.
pub(crate) fn open(state: &mut State, fx: &mut Effects, session: Session, previous: Option<SessionId>) -> Step {
    live(state, fx, session.node, session.incarnation)?;
    if state.sessions.contains_key(&session.id) {
        return reject(Rejection::Exists);
    }
    if crate::record::block::client_ip(&session.client_address).is_some_and(|ip| state.client_block(ip).is_some()) {
        return reject(Rejection::ClientBlocked);
    }
    if state.sessions.len() >= SESSIONS_MAX {
        return reject(Rejection::LimitReached);
    }
    let ended = previous.filter(|p| state.session(*p).is_some_and(|old| old.user == session.user));
    if let Some(old) = ended {
        let result = end_session(state, fx, old, Loss::Logoff);
        for delete in result.deletes {
            fx.event(Event::DeleteDue { delete });
        }
    }
    state.insert_session(session);
    Ok(Outcome::SessionOpened { ended })
}
