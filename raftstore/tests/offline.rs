//! A directory whose node does not run: what is damaged is found and named, and repaired only where that is safe.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::{Cluster, SOON};
use raftstore::backup::BackupReader;
use raftstore::offline::{self, FileKind, Line, OfflineError, Step, What};
use raftstore::{Class, Limits, Role};
use tokio::time::Instant;

/// One node of three that has a snapshot and a purged log, stopped.
async fn stopped() -> (Cluster, u64, PathBuf, std::net::SocketAddr) {
    let limits = Limits { snapshot_entries: 50, log_entries_kept: 10, log_file_bytes: 256 << 10, ..Limits::default() };
    let mut cluster = Cluster::with_limits(3, limits).await;
    for n in 0..400 {
        cluster.set(1, &format!("k{}", n % 40), &"v".repeat(600)).await.unwrap();
    }
    let leader = cluster.leader(&[]).await;
    let id = (1..=3).find(|id| *id != leader).unwrap();
    let deadline = Instant::now() + SOON;
    while cluster.store(id).status().purged == 0 || cluster.store(id).status().snapshot == 0 {
        assert!(Instant::now() < deadline, "{:?}", cluster.store(id).status());
        cluster.set(1, "k1", "x").await.unwrap();
    }
    cluster.settle().await;
    let address = cluster.stop(id).await;
    let dir = cluster.data_dir(id);
    free(&dir).await;
    (cluster, id, dir, address)
}

/// A stopped node in the same process needs a moment to let go of its directory.
async fn free(dir: &Path) {
    let deadline = Instant::now() + SOON;
    while matches!(offline::check(dir, |_| {}), Err(OfflineError::InUse(_))) {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn flip(path: &Path, at: u64) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at as usize] ^= 0x40;
    std::fs::write(path, bytes).unwrap();
}

fn files(dir: &Path, folder: &str) -> Vec<PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(dir.join(folder)).unwrap().map(|item| item.unwrap().path()).collect();
    files.sort();
    files
}

/// The node starts again, is a follower that votes, and holds what the others do.
async fn comes_back(cluster: &mut Cluster, id: u64, address: std::net::SocketAddr) {
    cluster.start(id, Some(address)).await;
    // Proposals of its own have no outcome while a snapshot fills it.
    let other = (1..=3).find(|other| *other != id).unwrap();
    cluster.set(other, "back", "yes").await.unwrap();
    cluster.settle().await;
    cluster.set(id, "back", "itself").await.unwrap();
    cluster.settle().await;
    assert!(matches!(cluster.store(id).status().role, Role::Follower | Role::Leader), "{:?}", cluster.store(id).status().role);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sound_directory_is_told_so_and_shown() {
    let (mut cluster, id, dir, address) = stopped().await;
    let mut seen = 0;
    let report = offline::check(&dir, |_| seen += 1).unwrap();
    assert!(report.is_sound(), "{report:?}");
    assert_eq!(seen, report.files.len());
    assert_eq!((report.cluster, report.node), (Some(cluster.ca.cluster), Some(id)));
    assert!(report.clean_stop && report.doubt.is_none(), "{report:?}");
    assert!(report.applied == report.last && report.purged > Some(0) && report.snapshot >= report.purged, "{report:?}");
    for kind in [FileKind::Identity, FileKind::Life, FileKind::Log, FileKind::State, FileKind::Snapshot] {
        assert!(report.files.iter().any(|file| file.kind == kind), "{kind:?}");
    }
    let (mut entries, mut keys) = (Vec::new(), 0);
    offline::dump(&dir, What::Log, |line| {
        let Line::Entry { index, command, .. } = line else { panic!("{line:?}") };
        entries.push((index, command));
        Ok(())
    })
    .unwrap();
    assert_eq!((entries.first().map(|entry| entry.0), entries.last().map(|entry| entry.0)), (report.first, report.last));
    assert!(entries.iter().any(|(_, command)| command.starts_with(b"k")));
    offline::dump(&dir, What::State, |line| {
        keys += usize::from(matches!(line, Line::Value { .. }));
        Ok(())
    })
    .unwrap();
    assert!(keys >= 40, "{keys}");
    assert!(offline::repair(&dir, true).unwrap().steps.is_empty(), "nothing to do, nothing done");
    let (backup, head, size) = offline::export(&dir, BTreeMap::new(), Vec::new()).unwrap();
    assert_eq!((Some(head.index), size.entries), (report.applied, keys as u64));
    let mut reader = BackupReader::new(&backup[..]).unwrap();
    while reader.piece().unwrap().is_some() {}
    assert_eq!(reader.size(), size);
    let (bytes, again) = (format!("{report:?}"), format!("{:?}", offline::check(&dir, |_| {}).unwrap()));
    assert_eq!(bytes, again, "looking changes nothing");
    comes_back(&mut cluster, id, address).await;
    let in_use = offline::check(&dir, |_| {});
    assert!(matches!(in_use, Err(OfflineError::InUse(_))), "{in_use:?}");
    assert!(matches!(offline::check(Path::new("/nowhere"), |_| {}), Err(OfflineError::Missing(_))));
    assert!(matches!(offline::check(Path::new("/proc"), |_| {}), Err(OfflineError::Foreign(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_state_is_made_anew_from_what_is_there() {
    let (mut cluster, id, dir, address) = stopped().await;
    for path in files(&dir, "db") {
        let length = std::fs::metadata(&path).unwrap().len();
        if path.extension().is_some_and(|ending| ending == "sst")
            || path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("MANIFEST"))
        {
            (0..length).step_by(64).for_each(|at| flip(&path, at));
        }
    }
    let report = offline::check(&dir, |_| {}).unwrap();
    let bad: Vec<_> = report.files.iter().filter(|file| !file.problems.is_empty()).map(|file| file.kind).collect();
    assert_eq!(bad, [FileKind::State], "{report:?}");
    let (_, plan) = offline::plan(&dir).unwrap();
    assert!(matches!(plan.steps.as_slice(), [Step::MakeStateAnew { .. }]), "{plan:?}");
    assert!(!offline::check(&dir, |_| {}).unwrap().is_sound(), "a plan changes nothing");
    let done = offline::repair(&dir, false).unwrap();
    let kept = done.kept_in.unwrap();
    assert!(kept.join("db").is_dir(), "what was damaged is kept");
    assert!(offline::check(&dir, |_| {}).unwrap().is_sound());
    comes_back(&mut cluster, id, address).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_snapshot_is_set_aside() {
    let (mut cluster, id, dir, address) = stopped().await;
    let snapshot = files(&dir, "snapshots").pop().unwrap();
    flip(&snapshot, std::fs::metadata(&snapshot).unwrap().len() / 2);
    let report = offline::check(&dir, |_| {}).unwrap();
    let bad: Vec<_> = report.files.iter().filter(|file| !file.problems.is_empty()).collect();
    assert!(bad.len() == 1 && bad[0].path == snapshot && bad[0].problems[0].contains("damaged"), "{bad:?}");
    let done = offline::repair(&dir, false).unwrap();
    assert!(matches!(done.steps.as_slice(), [Step::SetAside { path }] if *path == snapshot), "{done:?}");
    assert!(!snapshot.exists() && offline::check(&dir, |_| {}).unwrap().is_sound());
    comes_back(&mut cluster, id, address).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_log_is_refilled_by_the_others_when_allowed() {
    let (mut cluster, id, dir, address) = stopped().await;
    let before = offline::check(&dir, |_| {}).unwrap();
    // In the middle of what is needed.
    let log = before.files.iter().rfind(|file| file.kind == FileKind::Log && file.records > 20).unwrap().path.clone();
    flip(&log, 64 + 24 + 40);
    let report = offline::check(&dir, |_| {}).unwrap();
    let bad: Vec<_> = report.files.iter().filter(|file| !file.problems.is_empty()).collect();
    assert!(bad.len() == 1 && bad[0].path == log && bad[0].problems[0].contains("at byte"), "{report:?}");
    let refused = offline::repair(&dir, false);
    assert!(matches!(&refused, Err(OfflineError::Refused(because)) if because.contains("--refill")), "{refused:?}");
    assert!(dir.join("db").is_dir(), "nothing was done");
    let done = offline::repair(&dir, true).unwrap();
    assert_eq!(done.steps, [Step::Refill]);
    let kept = done.kept_in.unwrap();
    assert!(kept.join("db").is_dir() && kept.join("log").join(log.file_name().unwrap()).is_file());
    // What it voted last may stand in the part that cannot be read: it must not count as one who remembers.
    cluster.faults.isolate(id, &[1, 2, 3]);
    cluster.start(id, Some(address)).await;
    cluster.stop(id).await;
    free(&dir).await;
    assert_eq!(offline::check(&dir, |_| {}).unwrap().doubt.as_deref(), Some("Repaired"));
    cluster.faults.heal();
    comes_back(&mut cluster, id, address).await;
    // It votes again: with another node gone, it makes the majority.
    let leader = cluster.leader(&[]).await;
    let other = (1..=3).find(|other| *other != leader && *other != id).unwrap();
    cluster.stop(other).await;
    let alive = cluster.store(id).propose(b"majority=yes".to_vec(), Class::Persistent, SOON).await;
    assert!(alive.is_ok(), "{alive:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_marks_are_written_anew() {
    let (mut cluster, id, dir, address) = stopped().await;
    for (name, step) in [("identity", Step::WriteIdentity), ("life", Step::Distrust)] {
        let path = dir.join(name);
        flip(&path, 7);
        let report = offline::check(&dir, |_| {}).unwrap();
        assert!(report.files.iter().any(|file| file.path == path && !file.problems.is_empty()), "{name}: {report:?}");
        assert_eq!(offline::repair(&dir, false).unwrap().steps, [step], "{name}");
        assert!(offline::check(&dir, |_| {}).unwrap().is_sound(), "{name}");
    }
    comes_back(&mut cluster, id, address).await;
}
