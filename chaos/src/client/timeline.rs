//! What happened when: the story of one failover, told by everybody who took part.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A node was killed.
    Kill {
        /// The node.
        node: u64,
    },
    /// A node was started again.
    Restart {
        /// The node.
        node: u64,
    },
    /// The witness said that our node is gone.
    WitnessNotice {
        /// The node that it spoke of.
        node: u64,
        /// The node that said so.
        from: u64,
    },
    /// Registered with the witness of another node.
    WitnessRegistered {
        /// The node that watches.
        at: u64,
    },
    /// The connection to a node ended.
    ConnectionLost {
        /// The node.
        node: u64,
    },
    /// TCP connection, negotiation and logon are done.
    Session {
        /// The node.
        node: u64,
    },
    /// A persistent handle is ours again.
    Reclaimed {
        /// The node that serves it now.
        node: u64,
    },
    /// The first write acknowledged after a reclaim.
    FirstWrite {
        /// The node that acknowledged it.
        node: u64,
    },
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill { node } => write!(f, "kill           node {node} (SIGKILL)"),
            Self::Restart { node } => write!(f, "restart        node {node}"),
            Self::WitnessNotice { node, from } => write!(f, "witness        node {from} says: node {node} is unavailable"),
            Self::WitnessRegistered { at } => write!(f, "registered     with the witness of node {at}"),
            Self::ConnectionLost { node } => write!(f, "connection     to node {node} is gone"),
            Self::Session { node } => write!(f, "session        on node {node}"),
            Self::Reclaimed { node } => write!(f, "reclaim        the same handle, on node {node}"),
            Self::FirstWrite { node } => write!(f, "first write    acknowledged by node {node}"),
        }
    }
}

/// An event with its time and who tells of it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// When.
    pub at: Instant,
    /// Who.
    pub who: String,
    /// What.
    pub event: Event,
}

/// A shared record of events.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    entries: Arc<Mutex<Vec<Entry>>>,
    who: String,
}

impl Timeline {
    /// The same record, written to under another name.
    #[must_use]
    pub fn named(&self, who: &str) -> Self {
        Self { entries: Arc::clone(&self.entries), who: who.to_owned() }
    }

    /// Notes what happens now.
    pub fn note(&self, event: Event) {
        self.note_at(Instant::now(), event);
    }

    /// Notes what happened at `at`.
    pub fn note_at(&self, at: Instant, event: Event) {
        tracing::debug!(who = self.who, %event, "event");
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).push(Entry { at, who: self.who.clone(), event });
    }

    /// Everything so far, in order of time.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        let mut all = self.entries.lock().unwrap_or_else(PoisonError::into_inner).clone();
        all.sort_by_key(|e| e.at);
        all
    }
}
