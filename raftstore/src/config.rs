//! What a store is started with.
//!
//! Knows nothing of files or arguments: the program reads its configuration and fills this in.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;

use crate::environment::Environment;
use crate::faults::Faults;
use crate::pki::NodeIdentity;
use crate::wire::{PROTOCOL_NEWEST, PROTOCOL_OLDEST};

/// Answers application calls of other nodes: `(from node, payload) -> answer`.
pub type CallHandler = Arc<dyn Fn(u64, Vec<u8>) -> BoxFuture<'static, Vec<u8>> + Send + Sync>;

/// What a joining node asks for.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinRequest {
    /// The secret part of its one-time token.
    pub secret: [u8; 32],
    /// The node id that it would like to have, if it has a wish.
    pub node_id: Option<u64>,
    /// The address under which other nodes shall reach it.
    pub address: String,
    /// The public half of its key, for [`crate::pki::ClusterCa::certify`].
    pub public_key: Vec<u8>,
}

impl fmt::Debug for JoinRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinRequest").field("node_id", &self.node_id).field("address", &self.address).finish_non_exhaustive()
    }
}

/// What a joining node is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admitted {
    /// Its id.
    pub node_id: u64,
    /// Its certificate.
    pub certificate_pem: String,
    /// The authorities that it shall trust; the one that issued its certificate comes first.
    pub authorities_pem: String,
}

/// Decides about join tokens and has certificates made. The caller keeps the tokens, so that each is used once in the whole cluster, and
/// knows who holds the authority.
pub trait Admission: Send + Sync + 'static {
    /// Redeems a token: returns what the new node is given, or why it is refused.
    fn admit(&self, request: JoinRequest) -> BoxFuture<'static, Result<Admitted, String>>;
}

/// Which versions of the conversation between nodes, and of what they write, a program knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions {
    /// The oldest.
    pub oldest: u16,
    /// The newest.
    pub newest: u16,
}

impl Default for Versions {
    fn default() -> Self {
        Self { oldest: PROTOCOL_OLDEST, newest: PROTOCOL_NEWEST }
    }
}

/// How fast nodes notice each other's silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Pause between two heartbeats of the leader.
    pub heartbeat: Duration,
    /// Shortest silence of a leader after which a node wants an election.
    pub election_min: Duration,
    /// Longest silence of a leader after which a node wants an election; also the leader's lease at its voters.
    pub election_max: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self { heartbeat: Duration::from_millis(50), election_min: Duration::from_millis(200), election_max: Duration::from_millis(400) }
    }
}

/// Limits of memory and of what a peer may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest command.
    pub command_bytes_max: usize,
    /// Longest frame between nodes.
    pub frame_bytes_max: usize,
    /// Longest payload or answer of [`crate::RaftStore::call`].
    pub call_bytes_max: usize,
    /// Connections of members served at once; more are closed at once.
    pub connections_max: usize,
    /// Requests of one connection served at once.
    pub requests_per_connection_max: usize,
    /// Proposals of this node that wait at once; more wait for a place.
    pub proposals_max: usize,
    /// A connection must have said who it is after this time.
    pub handshake: Duration,
    /// Entries between two snapshots.
    pub snapshot_entries: u64,
    /// Entries kept in the log although a snapshot holds them.
    pub log_entries_kept: u64,
    /// Length of a file of the log. Files that exist keep theirs.
    pub log_file_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            command_bytes_max: 128 << 10,
            frame_bytes_max: 64 << 20,
            call_bytes_max: 4 << 20,
            connections_max: 512,
            requests_per_connection_max: 4096,
            proposals_max: 65_536,
            handshake: Duration::from_secs(3),
            snapshot_entries: 50_000,
            log_entries_kept: 10_000,
            log_file_bytes: 8 << 20,
        }
    }
}

/// Everything that a store is started with.
#[derive(Clone)]
pub struct Config {
    /// Who this node is: cluster, node id, certificate and key.
    pub identity: NodeIdentity,
    /// Where log, state and snapshots are kept.
    pub data_dir: PathBuf,
    /// Where other nodes connect to.
    pub listen: SocketAddr,
    /// What other nodes are told to connect to; the bound address when `None`.
    pub advertise: Option<String>,
    /// How fast silence is noticed.
    pub timing: Timing,
    /// Limits.
    pub limits: Limits,
    /// Answers [`crate::RaftStore::call`] of other nodes.
    pub call_handler: Option<CallHandler>,
    /// Decides about joining nodes; without it nobody joins through this node.
    pub admission: Option<Arc<dyn Admission>>,
    /// The versions that this node says it knows: those of this program, unless a test plays an older or a newer one.
    pub versions: Versions,
    /// Broken links, for tests and chaos runs.
    pub faults: Faults,
    /// Names this boot of the machine; `None`: the kernel's own id. A node that finds another one than it left behind lost power.
    pub boot_id: Option<String>,
    /// Disk, network, clock and threads; those of the operating system unless a simulation brings its own.
    pub environment: Environment,
}

impl Config {
    /// Makes a configuration with defaults.
    pub fn new(identity: NodeIdentity, data_dir: impl Into<PathBuf>, listen: SocketAddr) -> Self {
        Self {
            identity,
            data_dir: data_dir.into(),
            listen,
            advertise: None,
            timing: Timing::default(),
            limits: Limits::default(),
            call_handler: None,
            admission: None,
            versions: Versions::default(),
            faults: Faults::default(),
            boot_id: None,
            environment: Environment::default(),
        }
    }
}
