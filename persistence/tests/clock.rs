//! A wrong wall clock has no influence: nothing that decides asks for it.
#![allow(clippy::unwrap_used, reason = "a failing test may panic")]

use std::path::{Path, PathBuf};

/// Ways to the wall clock. Log time and leases are made of monotonic time.
const WALL_CLOCKS: [&str; 6] = ["SystemTime", "UNIX_EPOCH", "CLOCK_REALTIME", "OffsetDateTime::now", "chrono::", "Timestamp::now"];

/// What may know the date: certificates have an end more than a year away, and backups say for people when they were made.
const MAY_KNOW_THE_DATE: [&str; 4] =
    ["persistence/src/certificates.rs", "raftstore/src/pki.rs", "raftstore/src/store/backup.rs", "raftstore/src/offline.rs"];

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
    let decides = |file: &PathBuf| !MAY_KNOW_THE_DATE.iter().any(|known| file.canonicalize().unwrap().ends_with(known));
    for file in files.into_iter().filter(decides) {
        let text = std::fs::read_to_string(&file).unwrap();
        for clock in WALL_CLOCKS {
            assert!(!text.contains(clock), "{} asks for the wall clock: {clock}", file.display());
        }
    }
}
