//! The record that simulated clients work on: a number with a version. Every answer tells both, so that an operation that was applied
//! twice, or not at all, cannot hide.

use serde::{Deserialize, Serialize};

use super::Model;

/// What a client asks of a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Input {
    /// Nothing: an operation that certainly had no effect.
    #[default]
    Nothing,
    /// Tell version and value.
    Read,
    /// Set the value.
    Write(u64),
    /// Set the value to the second if it is the first.
    CompareAndSet(u64, u64),
    /// Add to the value.
    Add(u64),
}

/// A record, and the answer to every operation: how the record is after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Record {
    /// How often it was changed.
    pub version: u64,
    /// Its value.
    pub value: u64,
}

impl Record {
    /// The record after an operation.
    #[must_use]
    pub fn after(self, input: Input) -> Self {
        let changed = |value| Self { version: self.version + 1, value };
        match input {
            Input::Nothing | Input::Read => self,
            Input::Write(value) => changed(value),
            Input::CompareAndSet(from, to) if self.value == from => changed(to),
            Input::CompareAndSet(..) => self,
            Input::Add(more) => changed(self.value.wrapping_add(more)),
        }
    }
}

/// What operations on one record mean. `None` is a record of which nothing is known yet: the first answer tells.
#[derive(Clone, Copy, Debug, Default)]
pub struct Records;

impl Model for Records {
    type State = Option<Record>;
    type Input = Input;
    type Output = Record;

    fn step(&self, state: &Self::State, input: &Input, output: Option<&Record>) -> Option<Self::State> {
        match (state.map(|record| record.after(*input)), output) {
            (Some(after), Some(output)) => (after == *output).then_some(Some(after)),
            (after, None) => Some(after),
            (None, Some(output)) => Some(Some(*output)),
        }
    }

    fn is_past(&self, state: &Self::State, output: &Record) -> bool {
        state.is_some_and(|record| record.version > output.version)
    }
}
