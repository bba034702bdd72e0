//! What can go wrong, by operation. Each message says what was wrong and, where the operator can act, what to do.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use uuid::Uuid;

/// Why a store could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The data directory cannot be created or read.
    #[error("cannot use the data directory {path}: {source}; create it, or give this user the right to write to it")]
    DataDir {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Another process works on the data directory.
    #[error("the data directory {path} is in use by another process; stop that process or choose another directory")]
    DataDirInUse {
        /// The directory.
        path: PathBuf,
    },
    /// No space left for the data directory.
    #[error("no space is left on the disk of the data directory {path}; free some and start again")]
    DiskFull {
        /// The directory.
        path: PathBuf,
    },
    /// The database cannot be opened.
    #[error(
        "cannot open the database in {path}: {because}; if a file is damaged, `holdfast store repair` on this directory says what can be done"
    )]
    Database {
        /// The directory.
        path: PathBuf,
        /// What the database said.
        because: String,
    },
    /// The directory belongs to another cluster.
    #[error("the data directory {path} belongs to cluster {found}, not to {expected}; choose the right directory")]
    WrongCluster {
        /// The directory.
        path: PathBuf,
        /// The cluster of the configuration.
        expected: Uuid,
        /// The cluster of the directory.
        found: Uuid,
    },
    /// The directory belongs to another node.
    #[error("the data directory {path} belongs to node {found}, not to node {expected}; choose the right directory")]
    WrongNode {
        /// The directory.
        path: PathBuf,
        /// The node of the configuration.
        expected: u64,
        /// The node of the directory.
        found: u64,
    },
    /// A stored value cannot be read.
    #[error("{what} in {path} is damaged: {because}; `holdfast store repair` on this directory says what can be done")]
    Damaged {
        /// The directory.
        path: PathBuf,
        /// Which value.
        what: String,
        /// How it is damaged.
        because: String,
    },
    /// The node runs already, from another copy of its directory.
    #[error(
        "node {node} runs already, at {address}: the data directory {path} is a copy of its own; stop that node first, or let this one join anew"
    )]
    RunsElsewhere {
        /// The directory.
        path: PathBuf,
        /// The node.
        node: u64,
        /// Where it answers.
        address: String,
    },
    /// The listen address is taken.
    #[error("the address {address} is in use; stop the program that listens there or configure another port")]
    AddressInUse {
        /// The address.
        address: SocketAddr,
    },
    /// The listen address cannot be bound.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The certificate, the key or the cluster's authority is not usable.
    #[error("the node's certificate is not usable: {0}")]
    Identity(#[from] crate::pki::PkiError),
    /// A setting makes no sense.
    #[error("the configuration is not usable: {0}")]
    Config(String),
    /// The machine refused the stored state.
    #[error("the stored state cannot be loaded: {0}")]
    Load(String),
    /// The Raft core did not start.
    #[error("the replication core did not start: {0}")]
    Core(String),
}

/// Why a proposal has no outcome.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProposeError {
    /// The time is over and the command may have been applied, or may still be.
    #[error("the outcome of the command is unknown: it may have been applied")]
    Unknown,
    /// The time is over and the command was certainly not applied, nor will be.
    #[error("the command was not applied: {0}")]
    NotApplied(String),
    /// No leader was found in time; the command was certainly not applied.
    #[error("no leader was found in time; the command was not applied")]
    NoLeader,
    /// The command is longer than [`crate::Limits::command_bytes_max`].
    #[error("the command has {bytes} bytes, at most {max} are allowed")]
    TooLarge {
        /// Its length.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// This store is shutting down or has stopped.
    #[error("the store is shutting down")]
    ShuttingDown,
}

/// Why a linearizable read or a wait did not happen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// No leader confirmed itself in time.
    #[error("no leader was found in time")]
    NoLeader,
    /// The state was not applied in time.
    #[error("the state was not applied in time")]
    Timeout,
    /// This store is shutting down or has stopped.
    #[error("the store is shutting down")]
    ShuttingDown,
}

/// Why a call to another node failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The node's own port refused the connection: its process is dead. This is a death certificate.
    #[error("node {node} refused the connection: its process does not run")]
    Refused {
        /// The node.
        node: u64,
    },
    /// The node did not answer in time. It may have acted.
    #[error("node {node} did not answer in time")]
    Timeout {
        /// The node.
        node: u64,
    },
    /// The node cannot be reached. It has not acted.
    #[error("node {node} cannot be reached: {because}")]
    Unreachable {
        /// The node.
        node: u64,
        /// Why.
        because: String,
    },
    /// The connection was lost while waiting. The node may have acted.
    #[error("the connection to node {node} was lost while waiting for its answer")]
    Lost {
        /// The node.
        node: u64,
    },
    /// The node answered that it cannot serve the call.
    #[error("node {node} answered: {because}")]
    Remote {
        /// The node.
        node: u64,
        /// What it said.
        because: String,
    },
    /// The node is no member, so its address is unknown.
    #[error("node {node} is not a member of the cluster")]
    UnknownNode {
        /// The node.
        node: u64,
    },
    /// The payload is too long.
    #[error("the payload has {bytes} bytes, at most {max} are allowed")]
    TooLarge {
        /// Its length.
        bytes: usize,
        /// The limit.
        max: usize,
    },
}

/// Why a change of the membership did not happen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MembershipError {
    /// The leader refused the change.
    #[error("the leader refused the change of membership: {0}")]
    Refused(String),
    /// No leader was found in time.
    #[error("no leader was found in time")]
    NoLeader,
    /// The time is over; the change may still happen.
    #[error("the change of membership was not confirmed in time; look at the status before trying again")]
    Unknown,
    /// This store is shutting down or has stopped.
    #[error("the store is shutting down")]
    ShuttingDown,
}
