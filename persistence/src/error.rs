//! What can go wrong between a caller and the records.

use raftstore::{MembershipError, ProposeError, ReadError, StartError};

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The replication did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A setting makes no sense.
    #[error("the configuration is not usable: {0}")]
    Config(String),
    /// The watchdog device cannot be used.
    #[error("the watchdog {device} cannot be opened: {source}; name a device that this user may write to, or choose another fence")]
    Watchdog {
        /// The device.
        device: std::path::PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

/// Why a command has no outcome, or a read no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Nobody leads, or the leader cannot be reached. Nothing was done.
    #[error("no leader is known, nothing was done")]
    NoLeader,
    /// The time was over before the command could be taken. Nothing was done.
    #[error("the command was not applied: {0}")]
    NotApplied(String),
    /// The command may have been applied, or may still be; or it was, and a node that it concerns is neither answering nor dead.
    #[error("the outcome of the command is unknown")]
    Unknown,
    /// The command is too long. Nothing was done.
    #[error("the command has {bytes} bytes, at most {max} are allowed")]
    TooLarge {
        /// Its length.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// This node is stopping.
    #[error("the node is stopping")]
    Stopping,
    /// The change was not made.
    #[error("{0}")]
    Refused(String),
}

impl From<ProposeError> for StoreError {
    fn from(error: ProposeError) -> Self {
        match error {
            ProposeError::Unknown => Self::Unknown,
            ProposeError::NoLeader => Self::NoLeader,
            ProposeError::TooLarge { bytes, max } => Self::TooLarge { bytes, max },
            ProposeError::ShuttingDown => Self::Stopping,
            ProposeError::NotApplied(because) => Self::NotApplied(because),
            other => Self::NotApplied(other.to_string()),
        }
    }
}

impl From<ReadError> for StoreError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::ShuttingDown => Self::Stopping,
            _ => Self::NoLeader,
        }
    }
}

impl From<MembershipError> for StoreError {
    fn from(error: MembershipError) -> Self {
        match error {
            MembershipError::NoLeader => Self::NoLeader,
            MembershipError::Unknown => Self::Unknown,
            MembershipError::ShuttingDown => Self::Stopping,
            other => Self::Refused(other.to_string()),
        }
    }
}
