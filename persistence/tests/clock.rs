//! A wrong wall clock has no influence: nothing that decides asks for it.
#![allow(clippy::unwrap_used, reason = "a failing test may panic")]

use std::path::{Path, PathBuf};

/// Ways to the wall clock. Log time and leases are made of monotonic time; certificates are good from the first second of the epoch.
const WALL_CLOCKS: [&str; 6] = ["SystemTime", "UNIX_EPOCH", "CLOCK_REALTIME", "OffsetDateTime::now", "chrono::", "Timestamp::now"];

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

#[test]
fn no_decision_depends_on_the_wall_clock() {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in ["src", "model/src", "../raftstore/src"] {
        sources(&own.join(folder), &mut files);
    }
    assert!(files.len() > 60, "the sources were not found: {}", files.len());
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        for clock in WALL_CLOCKS {
            assert!(!text.contains(clock), "{} asks for the wall clock: {clock}", file.display());
        }
    }
}
