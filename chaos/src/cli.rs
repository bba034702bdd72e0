//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::bench::Section;
use crate::client::RetryPolicy;
use crate::cluster::ClusterOptions;
use crate::failover::Variant;
use crate::garbage::Attack;

/// Breaks Holdfast clusters and checks that nothing is lost.
#[derive(Debug, Parser)]
#[command(name = "chaos", version, about)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Kills nodes under writing clients and compares every acknowledged block
    Failover(FailoverArgs),
    /// Runs a foreign test suite (smbtorture) and compares with what is known to pass
    Conformance(ConformanceArgs),
    /// Attacks nodes as strangers do, with floods, long messages and garbage, beside an honest client
    Garbage(GarbageArgs),
    /// Measures the store and the server, beside a flush of the disk and beside peers
    Bench(BenchArgs),
    /// Puts a load on etcd, as the bench tells it
    #[cfg(feature = "etcd")]
    #[command(hide = true)]
    EtcdLoad,
    /// Makes random faults under several writers
    Storm(StormArgs),
    /// Runs whole clusters on simulated machines, each decided by one seed
    Simulate(SimulateArgs),
    /// Holds a short conversation with any server that grants persistent handles
    Probe(ProbeArgs),
}

/// The cluster to start.
#[derive(Clone, Debug, Args)]
pub struct ClusterArgs {
    /// The program; default: the one beside this
    #[arg(long, value_name = "PATH")]
    pub holdfast: Option<PathBuf>,
    /// First three numbers of the loopback addresses
    #[arg(long, value_name = "A.B.C")]
    pub loopback: Option<String>,
}

impl ClusterArgs {
    /// A cluster of `nodes` nodes.
    #[must_use]
    pub fn options(&self, nodes: usize) -> ClusterOptions {
        ClusterOptions { program: self.holdfast.clone(), loopback: self.loopback.clone(), nodes, ..ClusterOptions::default() }
    }
}

/// Which runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum VariantWord {
    /// Kill the Raft leader's node
    Leader,
    /// Kill a follower's node
    Follower,
    /// Two writers on one file; kill the node of one of them
    TwoWriters,
    /// Kill all nodes and start them again
    All,
    /// Each of them
    AllVariants,
}

impl VariantWord {
    /// The variants it means.
    #[must_use]
    pub fn variants(self) -> Vec<Variant> {
        match self {
            Self::Leader => vec![Variant::Leader],
            Self::Follower => vec![Variant::Follower],
            Self::TwoWriters => vec![Variant::TwoWriters],
            Self::All => vec![Variant::All],
            Self::AllVariants => Variant::EVERY.to_vec(),
        }
    }
}

/// How soon a client asks again.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum RetryWord {
    /// After short waits that grow
    Eager,
    /// As Windows does: three times soon, then every five seconds
    Windows,
}

impl From<RetryWord> for RetryPolicy {
    fn from(word: RetryWord) -> Self {
        match word {
            RetryWord::Eager => Self::Eager,
            RetryWord::Windows => Self::Windows,
        }
    }
}

/// `failover`.
#[derive(Debug, Args)]
pub struct FailoverArgs {
    /// The cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
    /// Runs of each variant
    #[arg(long, default_value_t = 20)]
    pub runs: u32,
    /// Which runs
    #[arg(long, value_enum, default_value_t = VariantWord::AllVariants)]
    pub variant: VariantWord,
    /// Decides everything random
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// How soon the client asks again
    #[arg(long, value_enum, default_value_t = RetryWord::Eager)]
    pub retry: RetryWord,
    /// Do without the witness: only the lost connection tells
    #[arg(long)]
    pub no_witness: bool,
    /// Print JSON lines
    #[arg(long)]
    pub json: bool,
}

/// `probe`.
#[derive(Debug, Args)]
pub struct ProbeArgs {
    /// Address and port of the server
    pub server: SocketAddr,
    /// A continuously available share
    pub share: String,
    /// A file with the user: one line of NAME:PASSWORD
    #[arg(long, value_name = "FILE")]
    pub user_file: PathBuf,
    /// Encrypt everything
    #[arg(long)]
    pub encrypt: bool,
}

/// `conformance`.
#[derive(Debug, Args)]
pub struct ConformanceArgs {
    /// The cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
    /// How many nodes; several numbers are several runs, one after the other
    #[arg(long, value_delimiter = ',', default_value = "1,3")]
    pub nodes: Vec<usize>,
    /// Only tests whose name contains this (may be given several times)
    #[arg(long, value_name = "WORD")]
    pub only: Vec<String>,
    /// Write the list anew
    #[arg(long)]
    pub update: bool,
    /// The list of tests that pass; default: the one in the tree
    #[arg(long, value_name = "FILE")]
    pub list: Option<PathBuf>,
    /// The suite's program
    #[arg(long, value_name = "PATH", default_value = "smbtorture")]
    pub smbtorture: PathBuf,
}

/// `garbage`.
#[derive(Debug, Args)]
pub struct GarbageArgs {
    /// The cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
    /// How many nodes; each is attacked
    #[arg(long, default_value_t = 1)]
    pub nodes: usize,
    /// A short run, to see that all of it works
    #[arg(long)]
    pub quick: bool,
    /// Only these attacks on the SMB service
    #[arg(long, value_enum, value_delimiter = ',')]
    pub only: Vec<Attack>,
    /// Idle sessions; default: 10000, quick 200
    #[arg(long)]
    pub idle: Option<usize>,
    /// Most milliseconds that 99 of 100 ECHOs of the honest client may take; default: 500, quick any
    #[arg(long, value_name = "MS")]
    pub echo_max_ms: Option<u64>,
    /// Half-open connections per port
    #[arg(long, default_value_t = 1000)]
    pub half_open: usize,
    /// Decides everything random
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// `bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// The cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
    /// How many nodes
    #[arg(long, default_value_t = 3)]
    pub nodes: usize,
    /// A short run, to see that all of it works
    #[arg(long)]
    pub quick: bool,
    /// Print JSON lines
    #[arg(long)]
    pub json: bool,
    /// Only these sections
    #[arg(long, value_enum, value_delimiter = ',')]
    pub only: Vec<Section>,
    /// Seconds of one round of a row; default: 2, quick 1
    #[arg(long)]
    pub seconds: Option<f64>,
    /// Rounds of a row; default: 3, quick 1
    #[arg(long)]
    pub rounds: Option<usize>,
    /// Another server to measure beside ours
    #[arg(long, value_name = "HOST:PORT", requires_all = ["peer_share", "peer_user_file"])]
    pub peer: Option<SocketAddr>,
    /// A continuously available share of it
    #[arg(long, value_name = "SHARE")]
    pub peer_share: Option<String>,
    /// A file with the user there: one line of NAME:PASSWORD
    #[arg(long, value_name = "FILE")]
    pub peer_user_file: Option<PathBuf>,
}

/// `storm`.
#[derive(Debug, Args)]
pub struct StormArgs {
    /// The cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
    /// How many nodes
    #[arg(long, default_value_t = 3)]
    pub nodes: usize,
    /// How long faults go on
    #[arg(long, default_value_t = 10)]
    pub minutes: u64,
    /// Writers
    #[arg(long, default_value_t = 3)]
    pub writers: u32,
    /// Decides everything random
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// `simulate`.
#[derive(Debug, Args)]
pub struct SimulateArgs {
    /// How many seeds
    #[arg(long, default_value_t = 100)]
    pub seeds: u64,
    /// The first seed
    #[arg(long, default_value_t = 1)]
    pub from: u64,
    /// How many nodes; several numbers take turns
    #[arg(long, value_delimiter = ',', default_value = "3,5")]
    pub nodes: Vec<u64>,
    /// Only this seed, and show all that happens
    #[arg(long, value_name = "SEED")]
    pub seed: Option<u64>,
    /// Runs at the same time; default: one per processor
    #[arg(long)]
    pub jobs: Option<usize>,
    /// With --seed: print one line of JSON instead of all that happens
    #[arg(long, requires = "seed")]
    pub json: bool,
}
