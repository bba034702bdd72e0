//! Watching what happens, from any place in the history that is still known.
//!
//! A watcher remembers the position of the last event that it has seen. Whatever becomes of its node, it goes on behind that position at
//! another one, and misses nothing and sees nothing twice. If the history does not reach back so far, it is told so once; then it looks at
//! the state ([`Store::with_state_at`]) and goes on from the position that came with it.

use std::collections::VecDeque;
use std::sync::Arc;

use persistence_model::State;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::engine::Engine;
use crate::history::{EventPosition, Gap, PlacedEvent, Scope};
use crate::store::Store;

/// Events that are taken out of the history at once.
const PIECE_EVENTS: usize = 256;

/// Why a watcher gets no event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WatchError {
    /// The events between the watcher's position and `oldest` are not known here. The stream goes on from `oldest`; what the watcher knows
    /// of the state is out of date.
    #[error("the history before {oldest} is no longer there; read the state, then go on from there")]
    Gap {
        /// From here on everything is known.
        oldest: EventPosition,
    },
    /// The node has stopped: go on at another.
    #[error("the node has stopped; go on at another")]
    Stopped,
}

/// The events behind a position, in the order of the log, without end.
pub struct EventStream {
    engine: Arc<Engine>,
    stop: CancellationToken,
    scope: Scope,
    added: watch::Receiver<()>,
    /// Everything up to here was returned, or is not wanted.
    position: EventPosition,
    /// Taken out of the history already.
    ready: VecDeque<PlacedEvent>,
    /// The position when `ready` is empty.
    until: EventPosition,
}

impl Store {
    /// The events behind a position: at once those that this node remembers, then each as it is applied here.
    ///
    /// A position that this node has not reached yet is waited for: it was got from a node that was ahead.
    #[must_use]
    pub fn watch(&self, from: EventPosition, scope: Scope) -> EventStream {
        let engine = self.inner.engine.clone();
        let (stop, added) = (self.inner.stop.clone(), engine.history.follow(scope));
        EventStream { engine, stop, scope, added, position: from, ready: VecDeque::new(), until: from }
    }

    /// Shows the local replica together with the position up to which it holds what the events tell: a watch from there continues it.
    ///
    /// The closure must be quick: it holds up the apply task.
    pub fn with_state_at<R>(&self, look: impl FnOnce(&State, EventPosition) -> R) -> R {
        self.inner.engine.with_state_at(look)
    }

    /// Behind everything that was applied here: a watch from there gets what happens from now on.
    #[must_use]
    pub fn events_end(&self) -> EventPosition {
        self.inner.engine.history.until()
    }

    /// The oldest position that can be watched from here without a gap.
    #[must_use]
    pub fn oldest_event(&self, scope: Scope) -> EventPosition {
        self.inner.engine.history.oldest(scope)
    }
}

impl EventStream {
    /// The next event. Nothing is lost when the call is given up.
    pub async fn next(&mut self) -> Result<PlacedEvent, WatchError> {
        loop {
            if let Some(event) = self.next_ready()? {
                return Ok(event);
            }
            self.changed().await?;
        }
    }

    /// Waits until [`EventStream::next_ready`] may have something new to say.
    pub async fn changed(&mut self) -> Result<(), WatchError> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(WatchError::Stopped),
            changed = self.added.changed() => changed.map_err(|_| WatchError::Stopped),
        }
    }

    /// The next event if there is one already.
    pub fn next_ready(&mut self) -> Result<Option<PlacedEvent>, WatchError> {
        if self.ready.is_empty() {
            let piece = self.engine.history.read(self.position, self.scope, PIECE_EVENTS);
            let piece = piece.map_err(|Gap { oldest }| {
                (self.position, self.until) = (self.position.max(oldest), self.until.max(oldest));
                WatchError::Gap { oldest }
            })?;
            (self.ready, self.until) = (piece.events.into(), piece.until);
        }
        let next = self.ready.pop_front();
        self.position = match &next {
            Some(placed) if !self.ready.is_empty() => placed.position,
            _ => self.until,
        };
        Ok(next)
    }

    /// Everything up to here was returned or is not wanted: where to go on, on whichever node.
    #[must_use]
    pub fn position(&self) -> EventPosition {
        self.position
    }
}

impl std::fmt::Debug for EventStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventStream").field("scope", &self.scope).field("position", &self.position).finish_non_exhaustive()
    }
}
