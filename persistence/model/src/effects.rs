//! What applying one command gives besides the new state: events, files to look at again, nodes to wait for.

use std::collections::BTreeSet;

use smb_types::NtStatus;

use crate::event::Event;
use crate::id::{FileKey, Incarnation, LogTime, NodeId, OpenId};
use crate::outcome::{Applied, Outcome, Rejection};
use crate::record::{Open, OpenState};
use crate::state::State;

/// A command's way to its outcome; the error side is an outcome too, reached early.
pub(crate) type Step<T = Outcome> = Result<T, Outcome>;

/// Ends a command with a status for the client.
pub(crate) fn refuse<T>(status: NtStatus) -> Step<T> {
    Err(Outcome::Refused(status))
}

/// Ends a command that no client sent.
pub(crate) fn reject<T>(why: Rejection) -> Step<T> {
    Err(Outcome::Rejected(why))
}

/// Collected while a command is applied.
pub(crate) struct Effects {
    /// The entry's time.
    pub(crate) now: LogTime,
    events: Vec<Event>,
    changed: BTreeSet<FileKey>,
    interested: BTreeSet<NodeId>,
    proposer: Option<NodeId>,
}

impl Effects {
    pub(crate) fn new(now: LogTime) -> Self {
        Self { now, events: Vec::new(), changed: BTreeSet::new(), interested: BTreeSet::new(), proposer: None }
    }

    pub(crate) fn event(&mut self, event: Event) {
        self.events.push(event);
    }

    pub(crate) fn changed(&mut self, file: FileKey) {
        self.changed.insert(file);
    }

    pub(crate) fn proposed_by(&mut self, node: NodeId) {
        self.proposer = Some(node);
    }

    pub(crate) fn interest(&mut self, node: NodeId) {
        self.interested.insert(node);
    }

    /// Every node with an attached open of the file must have applied this before it is acted upon.
    pub(crate) fn interest_in(&mut self, state: &State, file: FileKey) {
        let opens = state.file(&file).into_iter().flat_map(|f| &f.opens);
        self.interested.extend(opens.filter_map(|id| state.open(*id)?.owner).map(|o| o.node));
    }

    pub(crate) fn into_applied(mut self, outcome: Outcome) -> Applied {
        self.events.extend(self.changed.iter().map(|file| Event::FileChanged { file: *file }));
        self.interested.retain(|n| Some(*n) != self.proposer);
        Applied { outcome, events: self.events, interested: self.interested.into_iter().collect() }
    }
}

/// The open, if it is really this incarnation's; else FILE_CLOSED.
pub(crate) fn owned(state: &State, fx: &mut Effects, id: OpenId, by: Incarnation) -> Step<Open> {
    match state.open(id) {
        // A life that is over does nothing more, even if what it has open has not been looked at yet.
        Some(o) if o.is_owned_by(by) && o.state == OpenState::Open && !o.owner.is_some_and(|w| state.is_over(&w)) => {
            fx.proposer = o.owner.map(|w| w.node);
            Ok(o.clone())
        }
        _ => refuse(NtStatus::FILE_CLOSED),
    }
}

/// The file of an open that is not a reservation.
pub(crate) fn file_of(open: &Open) -> FileKey {
    open.file.expect("only a reservation may be without a file")
}

/// Ends a command whose proposer is not the present life of a live node.
pub(crate) fn live(state: &State, fx: &mut Effects, node: NodeId, incarnation: Incarnation) -> Step<()> {
    match state.node(node) {
        Some(n) if n.is_live() && n.incarnation == incarnation => {
            fx.proposed_by(node);
            Ok(())
        }
        _ => reject(Rejection::StaleIncarnation),
    }
}
