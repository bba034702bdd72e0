//! DisconnectOpens: the ends of sessions and trees (MS-SMB2 3.3.7.1, 3.3.5.6, 3.3.5.8).

use crate::arbiter::close::{self, Loss, Lost};
use crate::command::DisconnectReason;
use crate::effects::{Effects, Step, reject};
use crate::event::Event;
use crate::id::{OpenId, SessionId};
use crate::outcome::{Outcome, Rejection};
use crate::record::PendingDelete;
use crate::state::State;

/// What became of a session's opens.
#[derive(Default)]
pub(crate) struct Ended {
    pub(crate) closed: Vec<OpenId>,
    pub(crate) detached: Vec<OpenId>,
    pub(crate) deletes: Vec<PendingDelete>,
}

impl From<Ended> for Outcome {
    fn from(e: Ended) -> Self {
        Self::Disconnected { closed: e.closed, detached: e.detached, deletes: e.deletes }
    }
}

pub(crate) fn disconnect(state: &mut State, fx: &mut Effects, session: SessionId, why: &DisconnectReason) -> Step {
    let Some(node) = state.session(session).map(|s| s.node) else { return reject(Rejection::NoSuchSession) };
    fx.proposed_by(node);
    match why {
        DisconnectReason::ConnectionLost => Ok(end_session(state, fx, session, Loss::Connection).into()),
        DisconnectReason::Logoff => Ok(end_session(state, fx, session, Loss::Logoff).into()),
        // MS-SMB2 3.3.5.8
        // A tree that is left on purpose takes its opens with it, whatever they were promised.
        DisconnectReason::TreeDisconnect(opens) => {
            let mut ended = Ended::default();
            for id in opens {
                if state.open(*id).is_some_and(|o| o.owner.is_some_and(|w| w.session == session)) {
                    ended.deletes.extend(close::close(state, fx, *id, Some(node)));
                    ended.closed.push(*id);
                }
            }
            Ok(ended.into())
        }
    }
}

/// An operator ends a session: all its opens are closed.
// MS-SMB2 3.3.4.12
pub(crate) fn end_by_operator(state: &mut State, fx: &mut Effects, session: SessionId) -> Step {
    if state.session(session).is_none() {
        return reject(Rejection::NoSuchSession);
    }
    let mut ended = end_session(state, fx, session, Loss::Operator);
    for delete in ended.deletes.drain(..) {
        fx.event(Event::DeleteDue { delete });
    }
    Ok(ended.into())
}

/// Ends a session: its opens are detached or closed by what they were promised.
pub(crate) fn end_session(state: &mut State, fx: &mut Effects, session: SessionId, loss: Loss) -> Ended {
    let mut ended = Ended::default();
    let Some(node) = state.session(session).map(|record| record.node) else { return ended };
    fx.event(Event::SessionEnded { session, node });
    fx.interest(node);
    let opens: Vec<OpenId> = state.opens_of_session(session).map(|o| o.id).collect();
    for id in opens {
        match close::lose(state, fx, id, loss, Some(node)) {
            Lost::Detached => ended.detached.push(id),
            Lost::Closed(delete) => {
                ended.closed.push(id);
                ended.deletes.extend(delete);
            }
        }
    }
    assert!(state.opens_of_session(session).next().is_none(), "no open is left with a dead session");
    state.remove_session(session);
    ended
}
