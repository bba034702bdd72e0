//! A run in a process of its own, and what came of it as one line of JSON.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use raftstore::Point;
use serde::{Deserialize, Serialize};

use super::{PointCounts, Report, Run};

/// A [`Report`] without the lines of its trace.
#[derive(Serialize, Deserialize)]
struct Record {
    acknowledged: u64,
    faults: BTreeMap<String, u64>,
    passed: BTreeMap<String, u64>,
    sprung: BTreeMap<String, u64>,
    majority_losses: u64,
    bound: u64,
    excused: (u64, u64),
    simulated: Duration,
    healing: Duration,
    trace: u64,
    broken: Vec<String>,
}

impl Report {
    /// One line of JSON; the lines of the trace are left out.
    #[must_use]
    pub fn to_json(&self) -> String {
        let by_name = |counts: &BTreeMap<Point, u64>| counts.iter().map(|(point, count)| (point.name().to_owned(), *count)).collect();
        let record = Record {
            acknowledged: self.acknowledged,
            faults: self.faults.clone(),
            passed: by_name(&self.points.passed),
            sprung: by_name(&self.points.sprung),
            majority_losses: self.majority_losses,
            bound: self.bound,
            excused: self.excused,
            simulated: self.simulated,
            healing: self.healing,
            trace: self.trace,
            broken: self.broken.clone(),
        };
        serde_json::to_string(&record).expect("numbers and texts can be written")
    }

    /// Reads what [`Report::to_json`] wrote.
    ///
    /// # Errors
    /// It is something else.
    pub fn from_json(line: &str) -> Result<Self, String> {
        let record: Record = serde_json::from_str(line).map_err(|err| err.to_string())?;
        let points = |counts: &BTreeMap<String, u64>| -> BTreeMap<Point, u64> {
            Point::ALL.iter().filter_map(|point| Some((*point, *counts.get(point.name())?))).collect()
        };
        Ok(Self {
            acknowledged: record.acknowledged,
            points: PointCounts { passed: points(&record.passed), sprung: points(&record.sprung) },
            faults: record.faults,
            majority_losses: record.majority_losses,
            bound: record.bound,
            excused: record.excused,
            simulated: record.simulated,
            healing: record.healing,
            trace: record.trace,
            lines: Vec::new(),
            broken: record.broken,
        })
    }
}

impl Run {
    /// Makes the run in a process of its own, as [`Run::command`] does. What goes wrong with the process is a broken promise.
    #[must_use]
    pub fn make_in_process(&self, program: &Path) -> Report {
        let mut command = Command::new(program);
        command.args(["simulate", "--json", "--nodes", &self.nodes.to_string(), "--seed", &self.seed.to_string()]);
        let read = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output().map_err(|err| err.to_string()).and_then(|output| {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let line = text.lines().last().ok_or_else(|| format!("its process said nothing and ended: {}", output.status))?;
            Report::from_json(line)
        });
        read.unwrap_or_else(|because| Report { broken: vec![format!("the run could not be made: {because}")], ..Report::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read_back() {
        let report = Report {
            acknowledged: 7,
            faults: BTreeMap::from([("kill".to_owned(), 2)]),
            points: PointCounts { passed: BTreeMap::from([(Point::Connect, 3)]), sprung: BTreeMap::from([(Point::LogPurge, 1)]) },
            majority_losses: 1,
            bound: 5,
            excused: (2, 1),
            simulated: Duration::from_micros(12_345_678),
            healing: Duration::from_millis(3),
            trace: u64::MAX,
            broken: vec!["a \"promise\"".to_owned()],
            lines: Vec::new(),
        };
        assert_eq!(Report::from_json(&report.to_json()), Ok(report));
        assert!(Report::from_json("trace 0").is_err());
    }
}
