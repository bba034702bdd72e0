//! Counts what a node sends to other nodes: frames as the protocol knows them, before TLS.

use std::sync::atomic::{AtomicU64, Ordering};

use super::peers::Lane;

/// What was sent on one kind of connection since the node started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sent {
    /// Frames.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What a node has sent to other nodes since it started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Entries, votes and heartbeats.
    pub raft: Sent,
    /// Snapshots.
    pub bulk: Sent,
    /// Proposals, reads, barriers and calls.
    pub requests: Sent,
    /// Answers to all of these.
    pub answers: Sent,
}

#[derive(Debug, Default)]
pub(crate) struct Counter {
    messages: AtomicU64,
    bytes: AtomicU64,
}

impl Counter {
    pub(crate) fn add(&self, messages: usize, bytes: usize) {
        self.messages.fetch_add(messages as u64, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn sent(&self) -> Sent {
        Sent { messages: self.messages.load(Ordering::Relaxed), bytes: self.bytes.load(Ordering::Relaxed) }
    }
}

/// The counters of a node.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    raft: Counter,
    bulk: Counter,
    requests: Counter,
    pub(crate) answers: Counter,
}

impl Counters {
    pub(crate) fn of(&self, lane: Lane) -> &Counter {
        match lane {
            Lane::Raft => &self.raft,
            Lane::Bulk => &self.bulk,
            Lane::Requests => &self.requests,
        }
    }

    pub(crate) fn traffic(&self) -> Traffic {
        Traffic { raft: self.raft.sent(), bulk: self.bulk.sent(), requests: self.requests.sent(), answers: self.answers.sent() }
    }
}
