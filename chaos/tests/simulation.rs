//! Simulated clusters: a hundred seeds, the same seed twice, and the scenarios that have names.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};
use std::thread;

use chaos::simulation::table::{Series, run_series};
use chaos::simulation::{Report, Run, Scenario};

fn make(run: Run) -> Report {
    thread::spawn(move || run.make()).join().unwrap()
}

fn run(nodes: u64, seed: u64) -> Run {
    Run { nodes, seed, keep_trace: false, scenario: None }
}

#[test]
fn a_hundred_seeds_keep_every_promise() {
    let jobs = thread::available_parallelism().map_or(1, Into::into);
    let program = PathBuf::from(env!("CARGO_BIN_EXE_chaos"));
    let series = Series { from: 1, seeds: 100, nodes: vec![3, 5], jobs, program };
    let totals = run_series(&series, |line| println!("{line}"));
    println!("{}", totals.text());
    for (run, broken) in &totals.failed {
        println!("again with: {}\n  {}", run.command(), broken.join("\n  "));
    }
    assert!(
        totals.failed.is_empty(),
        "{} of {} seeds broke a promise; see above for the command that shows it",
        totals.failed.len(),
        totals.runs
    );
    // Runs in which nothing happened prove nothing.
    assert_eq!(totals.counted, totals.runs);
    assert!(totals.faults.values().sum::<u64>() > 5 * totals.runs, "{:?}", totals.faults);
    assert!(totals.majority_losses > 10 && totals.bound > 100 * totals.runs);
}

/// A node that had applied what a loss of power took from the others answered from it: it said that it had applied what a client had just
/// written, and had applied another entry at that index.
#[test]
fn a_seed_that_broke_a_promise_keeps_it_now() {
    let again = run(3, 1547);
    let report = again.make_in_process(Path::new(env!("CARGO_BIN_EXE_chaos")));
    assert!(report.broken.is_empty(), "again with: {}\n{:#?}", again.command(), report.broken);
    assert!(report.majority_losses > 0, "no longer a run that loses a majority: {}", again.command());
}

/// What the command prints that replays a run.
fn replay(nodes: u64, seed: u64) -> String {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_chaos"));
    command.args(["simulate", "--nodes", &nodes.to_string(), "--seed", &seed.to_string()]);
    let output = command.output().expect("the program runs");
    String::from_utf8(output.stdout).expect("a trace is text")
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for (nodes, seed) in [(3, 7), (3, 11), (5, 12), (5, 13)] {
        let (first, second) = (replay(nodes, seed), replay(nodes, seed));
        assert!(first == second, "again with: {}", run(nodes, seed).command());
        assert!(first.lines().count() > 1000 && first.contains("trace "), "{nodes} nodes, seed {seed}: {} lines", first.lines().count());
        assert_ne!(first, replay(nodes, seed + 100));
        // A series makes the very run that the command makes again.
        let report = run(nodes, seed).make_in_process(Path::new(env!("CARGO_BIN_EXE_chaos")));
        assert!(first.contains(&format!("trace {:016x}", report.trace)), "again with: {}", run(nodes, seed).command());
    }
}

#[test]
fn scenarios_keep_every_promise() {
    for (scenario, nodes) in Scenario::ALL.iter().flat_map(|scenario| [(*scenario, 3), (*scenario, 5)]) {
        for seed in 1..3 {
            let report = make(Run { scenario: Some(scenario), keep_trace: true, ..run(nodes, seed) });
            let tail = report.lines.iter().rev().take(20).rev().cloned().collect::<Vec<_>>().join("\n");
            assert!(report.broken.is_empty(), "{scenario:?}, {nodes} nodes, seed {seed}: {:#?}\n{tail}", report.broken);
            assert!(!report.faults.is_empty(), "{scenario:?}, {nodes} nodes, seed {seed}: nothing happened");
            let majority = matches!(scenario, Scenario::AllLosePower | Scenario::MajorityLosesPower | Scenario::FalseFlush);
            assert_eq!(report.majority_losses > 0, majority, "{scenario:?}, {nodes} nodes, seed {seed}");
        }
    }
}
