//! The seeded simulation: whole clusters of the store on simulated machines, in one thread, with everything random drawn from one seed.
//!
//! A run has two phases. First the cluster suffers: links, processes, machines, disks and clocks fail, at random moments and at the named
//! points of [`raftstore::Point`], while clients on every node work. Then everything is mended, and the cluster must heal completely in
//! bounded time. What must hold then is in [`verdict`]; the same seed gives the same run, to the last line of its trace.
//!
//! Reading order: [`world`] (what everybody sees), [`process`] (what runs on a machine), [`plan`] (which fault comes), [`driver`] (the
//! two phases), [`verdict`].

mod client;
mod driver;
mod ledger;
mod network;
mod order;
mod plan;
mod process;
mod record;
pub mod table;
mod verdict;
mod watch;
mod world;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use raftstore::environment::runtime::seed_thread;

use self::driver::Driver;
pub use self::plan::Scenario;
pub use self::watch::PointCounts;
pub use self::world::digest;

/// A run to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// How many nodes.
    pub nodes: u64,
    /// What decides everything.
    pub seed: u64,
    /// Keep the lines of the trace.
    pub keep_trace: bool,
    /// These faults instead of drawn ones.
    pub scenario: Option<Scenario>,
}

/// What came of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Operations that clients got an answer to.
    pub acknowledged: u64,
    /// Faults that were made, by kind.
    pub faults: BTreeMap<String, u64>,
    /// What happened at the named points.
    pub points: PointCounts,
    /// Losses of power that left a majority in doubt.
    pub majority_losses: u64,
    /// Acknowledged operations that had to survive, and did.
    pub bound: u64,
    /// Acknowledged operations that a loss of power excused, and how many of them are gone.
    pub excused: (u64, u64),
    /// Simulated time.
    pub simulated: Duration,
    /// Simulated time from mending to a healthy cluster.
    pub healing: Duration,
    /// Digest of the trace.
    pub trace: u64,
    /// The lines of the trace, if they were kept.
    pub lines: Vec<String>,
    /// Broken promises. Empty: a good run.
    pub broken: Vec<String>,
}

impl Run {
    /// The command that makes this run again and shows its trace.
    #[must_use]
    pub fn command(&self) -> String {
        format!("chaos simulate --nodes {} --seed {}", self.nodes, self.seed)
    }

    /// Makes the run, in this thread.
    #[must_use]
    pub fn make(&self) -> Report {
        seed_thread(Some(digest(self.seed, b"raft")));
        let mut driver = Driver::new(self);
        // An invariant that breaks inside of a node is a panic there.
        let ran = catch_unwind(AssertUnwindSafe(|| driver.run()));
        seed_thread(None);
        let mut report = driver.report();
        match ran {
            Ok(Ok(())) => {}
            Ok(Err(because)) => report.broken.push(because),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                report.broken.push(format!("panic: {}", text.unwrap_or_default()));
            }
        }
        // A broken simulation may not end cleanly either.
        if !report.broken.is_empty() {
            drop(catch_unwind(AssertUnwindSafe(|| drop(driver))));
        }
        report
    }
}
