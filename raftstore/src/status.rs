//! What a node tells about itself and its cluster.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What a node does in the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// It receives the log and does not vote.
    Learner,
    /// It follows a leader.
    Follower,
    /// It wants to become leader.
    Candidate,
    /// It believes that it leads. A leader cut off from its cluster believes so too.
    Leader,
    /// It has stopped.
    Stopped,
}

/// One member of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Where other nodes reach it.
    pub address: String,
    /// Whether it votes; learners do not.
    pub voter: bool,
    /// The last entry that it is known to hold, told by the leader only.
    pub matched: Option<u64>,
    /// The newest version that it is known to speak, as far as it has spoken with this node.
    pub newest_version: Option<u16>,
}

/// The leader that a node knows of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Leader {
    /// The term in which it was elected.
    pub term: u64,
    /// The node.
    pub node_id: u64,
}

/// A node's view of itself and its cluster. For display and routing; it proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// This node.
    pub node_id: u64,
    /// What it does.
    pub role: Role,
    /// Its term.
    pub term: u64,
    /// The leader that it knows.
    pub leader: Option<Leader>,
    /// The last entry of its log.
    pub last_log: u64,
    /// The last entry that it knows to be committed.
    pub committed: u64,
    /// The last entry that it has applied.
    pub applied: u64,
    /// The last entry covered by its snapshot.
    pub snapshot: u64,
    /// The last entry that it has purged from its log.
    pub purged: u64,
    /// Log time of the last applied entry.
    pub time_ms: u64,
    /// The members.
    pub members: BTreeMap<u64, Member>,
    /// Whether the node may have lost something with its machine's power, and has not caught up yet: until then it does not vote.
    pub in_doubt: bool,
    /// Why the node has stopped, if it has.
    pub stopped: Option<String>,
}

/// What a connection to a node's own port says about its process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probe {
    /// The port accepts connections.
    Alive,
    /// The port refuses connections: the process is dead.
    Refused,
    /// Nothing answers, or the address is unknown: nobody can tell.
    Silent,
}
