//! Many runs, their totals, and the tables that show them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use raftstore::Point;

use super::{PointCounts, Report, Run};

/// How often progress is told.
const PROGRESS_PAUSE: Duration = Duration::from_secs(5);

/// Seeds to run through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Series {
    /// The first one.
    pub from: u64,
    /// How many.
    pub seeds: u64,
    /// Sizes of clusters, which take turns.
    pub nodes: Vec<u64>,
    /// Runs at the same time.
    pub jobs: usize,
    /// The program `chaos`, which makes each run in a process of its own, as the command does that makes a run again: what a process has
    /// done before shows in the order in which tokio drops the tasks of a node that dies.
    pub program: PathBuf,
}

impl Series {
    /// The run of this number.
    #[must_use]
    pub fn run(&self, number: u64) -> Run {
        let turn = usize::try_from(number % self.nodes.len().max(1) as u64).unwrap_or(0);
        Run { nodes: self.nodes.get(turn).copied().unwrap_or(3), seed: self.from + number, keep_trace: false, scenario: None }
    }
}

/// Makes all runs of a series and tells how it goes.
pub fn run_series(series: &Series, mut tell: impl FnMut(String)) -> Totals {
    let (next, mut totals) = (AtomicU64::new(0), Totals::default());
    let (done, reports) = mpsc::channel();
    let (start, mut told) = (Instant::now(), Instant::now());
    std::thread::scope(|scope| {
        for _ in 0..series.jobs.max(1) {
            let (next, done) = (&next, done.clone());
            scope.spawn(move || {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let run = series.run(number);
                    if number >= series.seeds || done.send((run, run.make_in_process(&series.program))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(done);
        for (run, report) in reports {
            if !report.broken.is_empty() {
                tell(format!("seed {} of {} nodes FAILED; again with: {}", run.seed, run.nodes, run.command()));
            }
            totals.add(run, &report);
            if told.elapsed() >= PROGRESS_PAUSE || totals.runs == series.seeds {
                told = Instant::now();
                let (failed, seconds) = (totals.failed.len(), start.elapsed().as_secs());
                tell(format!(
                    "{} of {} seeds, {failed} failed, {} operations, {seconds} s",
                    totals.runs, series.seeds, totals.acknowledged
                ));
            }
        }
    });
    totals
}

/// The totals of many runs.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// Runs.
    pub runs: u64,
    /// Runs in which at least one fault was made.
    pub counted: u64,
    /// Operations that clients got an answer to.
    pub acknowledged: u64,
    /// Acknowledged operations that had to survive, and did.
    pub bound: u64,
    /// Acknowledged operations that a loss of power excused, and how many of them are gone.
    pub excused: (u64, u64),
    /// Losses of power that left a majority in doubt.
    pub majority_losses: u64,
    /// Simulated time.
    pub simulated: Duration,
    /// Longest healing.
    pub healing_max: Duration,
    /// Faults by kind.
    pub faults: BTreeMap<String, u64>,
    /// What happened at the points.
    pub points: PointCounts,
    /// Runs that broke a promise.
    pub failed: Vec<(Run, Vec<String>)>,
}

impl Totals {
    /// Adds a run.
    pub fn add(&mut self, run: Run, report: &Report) {
        self.runs += 1;
        self.counted += u64::from(!report.faults.is_empty());
        self.acknowledged += report.acknowledged;
        self.bound += report.bound;
        self.excused.0 += report.excused.0;
        self.excused.1 += report.excused.1;
        self.majority_losses += report.majority_losses;
        self.simulated += report.simulated;
        self.healing_max = self.healing_max.max(report.healing);
        for (kind, count) in &report.faults {
            *self.faults.entry(kind.clone()).or_default() += count;
        }
        for (all, of_run) in [(&mut self.points.passed, &report.points.passed), (&mut self.points.sprung, &report.points.sprung)] {
            for (point, count) in of_run {
                *all.entry(*point).or_default() += count;
            }
        }
        if !report.broken.is_empty() {
            self.failed.push((run, report.broken.clone()));
        }
    }

    /// Points that were passed less often than this.
    #[must_use]
    pub fn rare_points(&self, least: u64) -> Vec<Point> {
        let rare = |point: &&Point| self.points.passed.get(point).copied().unwrap_or(0) < least;
        Point::ALL.iter().filter(rare).copied().collect()
    }

    /// The tables, as text.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = format!(
            "{} runs, {} with faults; {} operations acknowledged in {:.0} simulated seconds; longest healing {:.1} s\n\
             class table: {} acknowledged operations had to survive, {} were excused by {} losses of power of a majority ({} of them are gone)\n\n",
            self.runs,
            self.counted,
            self.acknowledged,
            self.simulated.as_secs_f64(),
            self.healing_max.as_secs_f64(),
            self.bound,
            self.excused.0,
            self.majority_losses,
            self.excused.1,
        );
        writeln!(out, "{:<32} {:>10}", "fault", "made").expect("writing to a string");
        for (kind, count) in &self.faults {
            writeln!(out, "{kind:<32} {count:>10}").expect("writing to a string");
        }
        writeln!(out, "\n{:<32} {:>10} {:>10}", "point", "passed", "faults").expect("writing to a string");
        for point in Point::ALL {
            let count = |counts: &BTreeMap<Point, u64>| counts.get(point).copied().unwrap_or(0);
            let (passed, sprung) = (count(&self.points.passed), count(&self.points.sprung));
            writeln!(out, "{:<32} {passed:>10} {sprung:>10}", point.name()).expect("writing to a string");
        }
        out
    }
}
