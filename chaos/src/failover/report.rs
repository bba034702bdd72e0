//! What a run showed, and the table over all runs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Instant;

use smb_types::NtStatus;

use super::Variant;
use crate::checker::intruder::{Attempt, Violation};
use crate::client::Entry;
use crate::stats::Samples;

/// Violations and losses that are written out per run.
const SHOWN_MAX: usize = 5;

/// The evidence of one run.
#[derive(Clone, Debug)]
pub struct RunReport {
    /// Which nodes died.
    pub variant: Variant,
    /// The run's seed.
    pub seed: u64,
    /// SIGKILL to the first acknowledged write elsewhere; None if there was none.
    pub outage_ms: Option<f64>,
    /// Acknowledged blocks.
    pub acknowledged: usize,
    /// Those that could not be read back.
    pub lost: Vec<String>,
    /// What applications would have been told.
    pub errors: Vec<String>,
    /// What the intruder should not have heard.
    pub violations: Vec<Violation>,
    /// The intruder's attempts by kind and status.
    pub attempts: BTreeMap<(Attempt, NtStatus), u64>,
    /// What happened when.
    pub timeline: Vec<Entry>,
    /// The kill.
    pub killed_at: Instant,
    /// The longest time without an acknowledgment, of each writer.
    pub longest_silence_ms: Vec<f64>,
}

impl RunReport {
    /// Tells whether every promise was kept.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.outage_ms.is_some() && self.lost.is_empty() && self.errors.is_empty() && self.violations.is_empty()
    }

    /// The story of the run.
    #[must_use]
    pub fn story(&self) -> String {
        let mut out = format!("{} seed {:#x}: {}\n", self.variant, self.seed, if self.is_good() { "good" } else { "BAD" });
        for e in &self.timeline {
            let (sign, away) = match e.at.checked_duration_since(self.killed_at) {
                Some(after) => ('+', after),
                None => ('-', self.killed_at.duration_since(e.at)),
            };
            // Writing to a string does not fail.
            _ = writeln!(out, "  {sign}{:9.1} ms  {:9} {}", away.as_secs_f64() * 1000.0, e.who, e.event);
        }
        let silences: Vec<String> = self.longest_silence_ms.iter().map(|ms| format!("{ms:.0}")).collect();
        let outage = self.outage_ms.map_or("never".to_owned(), |ms| format!("{ms:.0} ms"));
        _ = writeln!(
            out,
            "  outage {outage}, {} blocks acknowledged, {} lost, longest silence per writer {} ms",
            self.acknowledged,
            self.lost.len(),
            silences.join(" / ")
        );
        for ((attempt, status), count) in &self.attempts {
            _ = writeln!(out, "  intruder {attempt:?}: {status} x {count}");
        }
        for line in self.lost.iter().take(SHOWN_MAX) {
            _ = writeln!(out, "  LOST {line}");
        }
        for line in self.errors.iter().take(SHOWN_MAX) {
            _ = writeln!(out, "  ERROR {line}");
        }
        for v in self.violations.iter().take(SHOWN_MAX) {
            let r = v.record;
            _ = writeln!(out, "  VIOLATION {:?} {} at {}..{} ms: {}", r.attempt, r.status, r.from_ms, r.to_ms, v.because);
        }
        out
    }
}

/// The table over all runs, one row per variant.
#[must_use]
pub fn table(reports: &[RunReport]) -> String {
    let mut by_variant: BTreeMap<Variant, Vec<&RunReport>> = BTreeMap::new();
    reports.iter().for_each(|r| by_variant.entry(r.variant).or_default().push(r));
    let mut out = String::from("variant      runs  good  outage ms: p50    p90    p99    max   acknowledged  lost  errors  intruder\n");
    for (variant, runs) in by_variant {
        let s = Samples::new(runs.iter().filter_map(|r| r.outage_ms).collect());
        let mut attempts: BTreeMap<NtStatus, u64> = BTreeMap::new();
        for r in &runs {
            r.attempts.iter().for_each(|((_, status), n)| *attempts.entry(*status).or_default() += n);
        }
        let attempts: Vec<String> = attempts.iter().map(|(s, n)| format!("{} {n}", s.name().unwrap_or("?"))).collect();
        // Writing to a string does not fail.
        _ = writeln!(
            out,
            "{:<12} {:>4}  {:>4}           {:>6.0} {:>6.0} {:>6.0} {:>6.0}   {:>12}  {:>4}  {:>6}  {} ({} wrong)",
            variant.to_string(),
            runs.len(),
            runs.iter().filter(|r| r.is_good()).count(),
            s.percentile(50),
            s.percentile(90),
            s.percentile(99),
            s.max(),
            runs.iter().map(|r| r.acknowledged).sum::<usize>(),
            runs.iter().map(|r| r.lost.len()).sum::<usize>(),
            runs.iter().map(|r| r.errors.len()).sum::<usize>(),
            attempts.join(", "),
            runs.iter().map(|r| r.violations.len()).sum::<usize>(),
        );
    }
    out
}

/// One run as JSON.
#[must_use]
pub fn json(r: &RunReport) -> serde_json::Value {
    let attempts: BTreeMap<String, u64> = r.attempts.iter().map(|((a, s), n)| (format!("{a:?} {s}"), *n)).collect();
    serde_json::json!({
        "variant": r.variant.to_string(), "seed": r.seed, "good": r.is_good(), "outage_ms": r.outage_ms, "acknowledged": r.acknowledged,
        "lost": r.lost, "errors": r.errors, "intruder": attempts, "violations": r.violations.len(), "longest_silence_ms": r.longest_silence_ms,
    })
}
