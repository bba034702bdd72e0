//! `chaos failover`: nodes are killed under writing clients, and every acknowledged block is compared afterwards.
//!
//! `writer` writes, `intruder` tries to get in between, `run` is one run from start to evidence, `report` says what was seen; `drain` empties a
//! node on purpose.

pub mod drain;
pub mod intruder;
pub mod report;
pub mod run;
pub mod writer;

use std::fmt;

use crate::client::RetryPolicy;
use crate::cluster::{Cluster, ClusterOptions};
use crate::rng::Rng;

pub use report::RunReport;
pub use run::RunPlan;

/// Which nodes die.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Variant {
    /// The Raft leader's, with the writer on it.
    Leader,
    /// A follower's, with the writer on it.
    Follower,
    /// One of two, each with a writer of its own on the same file.
    TwoWriters,
    /// All of them; they are started again at once.
    All,
}

impl Variant {
    /// Every variant.
    pub const EVERY: [Self; 4] = [Self::Leader, Self::Follower, Self::TwoWriters, Self::All];
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Leader => "leader",
            Self::Follower => "follower",
            Self::TwoWriters => "two-writers",
            Self::All => "all",
        })
    }
}

/// What to do.
#[derive(Clone, Debug)]
pub struct FailoverOptions {
    /// The cluster.
    pub cluster: ClusterOptions,
    /// Runs of each variant.
    pub runs: u32,
    /// The variants.
    pub variants: Vec<Variant>,
    /// Decides everything random.
    pub seed: u64,
    /// The pace of further tries.
    pub retry: RetryPolicy,
    /// Register with the witness.
    pub witness: bool,
    /// Print JSON lines instead of stories.
    pub json: bool,
}

/// Runs everything; returns the reports. `say` gets each story as it ends.
pub async fn failover(options: &FailoverOptions, mut say: impl FnMut(&str)) -> anyhow::Result<Vec<RunReport>> {
    let mut cluster = Cluster::start(&options.cluster).await?;
    let mut rng = Rng::new(options.seed);
    let mut reports = Vec::new();
    for variant in &options.variants {
        for _ in 0..options.runs {
            let plan = RunPlan { variant: *variant, seed: rng.next(), retry: options.retry, witness: options.witness };
            let report = run::run(&mut cluster, plan).await?;
            say(&if options.json { report::json(&report).to_string() } else { report.story() });
            reports.push(report);
        }
    }
    cluster.stop().await?;
    Ok(reports)
}
