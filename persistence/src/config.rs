//! What a store is opened with. Knows nothing of files or arguments: the program fills this in.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use raftstore::pki::{ClusterCa, NodeIdentity};
use raftstore::{Environment, Faults, Limits, Timing, Versions};

use crate::certificates::Keeper;

/// How long a node may answer clients after it last heard that it may.
const LEASE_DEFAULT: Duration = Duration::from_millis(2000);

/// What closes the window that lease checks cannot close: a process that was stopped in the middle of an I/O and goes on later.
///
/// It matters only for nodes that fell silent. A node whose port refuses connections has no process that could go on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Fence {
    /// Nothing: an I/O that was under way when its host froze may still reach the disk after another node took over.
    #[default]
    None,
    /// A command must succeed before a silent node is declared dead. It finds the node in `HOLDFAST_NODE_ID`, `HOLDFAST_NODE_NAME`
    /// and `HOLDFAST_NODE_ADDRESS`.
    Command {
        /// The program.
        program: PathBuf,
        /// Its arguments.
        args: Vec<String>,
        /// It is killed and counted as failed after this time.
        timeout: Duration,
    },
    /// Each node feeds a hardware watchdog while it holds its lease; a silent node counts as reset after the device's timeout.
    Watchdog {
        /// The device, as `/dev/watchdog`.
        device: PathBuf,
        /// After this time without food the device resets the machine. Must be what the device is set to.
        timeout: Duration,
    },
}

/// Everything that a store is opened with.
#[derive(Clone)]
pub struct StoreConfig {
    /// Who this node is.
    pub identity: NodeIdentity,
    /// The cluster's authority, where no keeper keeps one.
    pub ca: Option<ClusterCa>,
    /// Keeps certificates and the authority where they survive this process.
    pub keeper: Option<Arc<dyn Keeper>>,
    /// Name of the node, for people.
    pub name: String,
    /// Where log and records are kept.
    pub data_dir: PathBuf,
    /// Where other nodes connect to.
    pub listen: SocketAddr,
    /// What other nodes are told to connect to; the bound address when `None`.
    pub advertise: Option<String>,
    /// How long a node may answer clients after it asked for the renewal that it got.
    pub lease: Duration,
    /// How much longer than the lease a silent node is waited for, against clocks that run at different speeds.
    pub margin: Duration,
    /// What must have happened to a silent node before its handles may be taken.
    pub fence: Fence,
    /// Differs after a reboot; the kernel's boot id when `None`.
    pub boot_id: Option<String>,
    /// A proposal that has no outcome after this time is given up as unknown.
    pub proposal_timeout: Duration,
    /// How fast nodes notice each other's silence.
    pub timing: Timing,
    /// Limits of the replication.
    pub limits: Limits,
    /// The versions that this node says it knows: those of this program, unless a test plays an older or a newer one.
    pub versions: Versions,
    /// Broken links, for tests and chaos runs.
    pub faults: Faults,
    /// Disk, network and clock; those of the operating system unless a simulation brings its own.
    pub environment: Environment,
}

impl StoreConfig {
    /// Makes a configuration with defaults.
    pub fn new(identity: NodeIdentity, data_dir: impl Into<PathBuf>, listen: SocketAddr) -> Self {
        Self {
            name: format!("node-{}", identity.node_id),
            identity,
            ca: None,
            keeper: None,
            data_dir: data_dir.into(),
            listen,
            advertise: None,
            lease: LEASE_DEFAULT,
            margin: LEASE_DEFAULT / 10,
            fence: Fence::None,
            boot_id: None,
            proposal_timeout: Duration::from_secs(20),
            timing: Timing::default(),
            limits: Limits::default(),
            versions: Versions::default(),
            faults: Faults::default(),
            environment: Environment::default(),
        }
    }
}
