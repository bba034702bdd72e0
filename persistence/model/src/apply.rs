//! The door: one command in, one outcome and its events out.

use crate::command::Command;
use crate::id::LogTime;
use crate::outcome::{Applied, Outcome, Rejection};
use crate::state::State;

impl State {
    /// Applies a command at a time that the leader stamped.
    pub fn apply(&mut self, _now: LogTime, _command: &Command) -> Applied {
        Applied { outcome: Outcome::Rejected(Rejection::NotInitialised), events: Vec::new(), interested: Vec::new() }
    }
}
