//! Bits that change and files that are cut off: found, named, and never taken for something else.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use openraft::RaftLogReader;
use openraft::storage::{RaftLogStorage, RaftLogStorageExt};
use parking_lot::Mutex;
use tempfile::TempDir;

use super::*;
use crate::environment::Random;
use crate::environment::disk::SystemDisk;

/// Keeps what it was loaded with.
#[derive(Default)]
struct Loaded(Mutex<Vec<(Vec<u8>, Vec<u8>)>>);

impl Machine for Loaded {
    fn apply(&self, _index: u64, _time_ms: u64, _command: &[u8]) -> Vec<u8> {
        Vec::new()
    }
    fn take_changes(&self) -> Vec<Change> {
        Vec::new()
    }
    fn load(&self, entries: &mut dyn Iterator<Item = (Vec<u8>, Vec<u8>)>) -> Result<(), String> {
        *self.0.lock() = entries.collect();
        Ok(())
    }
    fn applied(&self, _index: u64) {}
}

/// What a directory says when it is opened.
#[derive(Debug, PartialEq)]
struct Content {
    entries: Vec<Entry>,
    vote: Option<crate::types::Vote>,
    values: Vec<(Vec<u8>, Vec<u8>)>,
}

fn read(dir: &Path) -> Result<Content, StartError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut opening = opening(dir, Environment::default());
        opening.segment_bytes = 16 << 10;
        let (clock, (database, contents)) = (Arc::new(LogClock::new()), Database::open(opening)?);
        let machine = Arc::new(Loaded::default());
        let _state = StateStore::open(database.clone(), machine.clone(), clock.clone(), Arc::new(Waiters::default()), &contents)?;
        let (mut log, _ended) = LogStore::open(database.clone(), clock, contents)?;
        let entries = log.try_get_log_entries(..).await.map_err(|err| database.start_error("the log", &err))?;
        let vote = log.read_vote().await.map_err(|err| database.start_error("the vote", &err))?;
        let values = machine.0.lock().clone();
        Ok(Content { entries, vote, values })
    })
}

/// A directory with a log of several files and a state, cleanly stopped.
fn make(dir: &Path) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut opening = opening(dir, Environment::default());
        opening.segment_bytes = 16 << 10;
        let (clock, (database, contents)) = (Arc::new(LogClock::new()), Database::open(opening).unwrap());
        let (mut log, _ended) = LogStore::open(database.clone(), clock, contents).unwrap();
        log.save_vote(&crate::types::Vote { leader_id: LeaderId { term: 1, node_id: 1 }, committed: true }).await.unwrap();
        log.blocking_append((1..400).map(entry)).await.unwrap();
        log.purge(entry(60).log_id).await.unwrap();
        let mut batch = records::Batch::default();
        for n in 0..200u32 {
            batch.put(Table::State, n.to_be_bytes(), codec::wrap(Kind::Value, &[7; 300]));
        }
        let progress = state::tests_progress(entry(300).log_id);
        batch.put(Table::Meta, key::APPLIED, codec::encode(Kind::Applied, &progress).unwrap());
        database.write(batch, true).unwrap();
        let head = snapshot::Head { meta: state::tests_meta(entry(200).log_id), time_ms: 5 };
        let mut writer = snapshot::SnapshotWriter::create(&database, &head).unwrap();
        writer.put(b"key", b"value").unwrap();
        writer.finish().unwrap();
        let end = log.finish().await.unwrap();
        database.mark(&life::Mark::Clean { end: end.0 }).unwrap();
        database.rest();
    });
}

fn files(dir: &Path, into: &mut Vec<PathBuf>) {
    for item in std::fs::read_dir(dir).unwrap() {
        let path = item.unwrap().path();
        if path.is_dir() { files(&path, into) } else { into.push(path) }
    }
    into.sort();
}

fn copy(from: &Path, to: &Path) {
    let mut all = Vec::new();
    files(from, &mut all);
    for path in all {
        let target = to.join(path.strip_prefix(from).unwrap());
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::copy(&path, target).unwrap();
    }
}

/// Changes each file of a directory at random places; the directory then says the same as before, or names what is wrong.
fn damage_every_file(seed: u64, tries: u64, change: impl Fn(&mut Random, &mut Vec<u8>)) {
    let original = TempDir::new().unwrap();
    make(original.path());
    let good = {
        let copied = TempDir::new().unwrap();
        copy(original.path(), copied.path());
        read(copied.path()).unwrap()
    };
    assert_eq!((good.entries.len(), good.values.len()), (339, 200));
    let mut all = Vec::new();
    files(original.path(), &mut all);
    let (mut same, mut named) = (0, 0);
    for path in all {
        let name = path.strip_prefix(original.path()).unwrap().to_owned();
        for attempt in 0..tries {
            let mut random = Random::new(seed ^ attempt << 32 ^ u64::from(crc32fast::hash(name.as_os_str().as_encoded_bytes())));
            let copied = TempDir::new().unwrap();
            copy(original.path(), copied.path());
            // A file that was being prepared in the background has another name by now.
            let Ok(mut bytes) = std::fs::read(copied.path().join(&name)) else { continue };
            change(&mut random, &mut bytes);
            std::fs::write(copied.path().join(&name), &bytes).unwrap();
            match read(copied.path()) {
                // What is lost of the state is applied again from the log, or comes from the snapshot.
                Ok(found) => {
                    assert_eq!(found.entries, good.entries, "{}, attempt {attempt}", name.display());
                    assert_eq!(found.vote, good.vote, "{}, attempt {attempt}", name.display());
                    let snapshot = vec![(b"key".to_vec(), b"value".to_vec())];
                    assert!(found.values == good.values || found.values == snapshot, "{}, attempt {attempt}", name.display());
                    same += 1;
                }
                Err(err) => {
                    let text = err.to_string();
                    assert!(text.contains(copied.path().to_str().unwrap()), "{}: {text}", name.display());
                    named += 1;
                }
            }
        }
    }
    assert!(named > same / 20, "{named} named, {same} without consequence");
}

#[test]
fn flipped_bits_are_named_or_without_consequence() {
    damage_every_file(11, 12, |random, bytes| {
        if !bytes.is_empty() {
            let at = usize::try_from(random.below(bytes.len() as u64)).unwrap();
            bytes[at] ^= 1 << random.below(8);
        }
    });
}

#[test]
fn cut_off_files_are_named_or_without_consequence() {
    damage_every_file(12, 6, |random, bytes| {
        let len = usize::try_from(random.below(bytes.len() as u64 + 1)).unwrap();
        bytes.truncate(len);
    });
}

#[test]
fn every_record_of_a_stopped_log_is_guarded() {
    let original = TempDir::new().unwrap();
    make(original.path());
    let folder = original.path().join(log::FOLDER);
    let mut all = Vec::new();
    files(&folder, &mut all);
    let good = log::scan::scan(&SystemDisk, &folder, (CLUSTER.as_u128(), 1), clean(original.path())).unwrap();
    for place in good.entries.iter().step_by(7) {
        let path = folder.join(log::scan::file_name(place.at.segment()));
        let bytes = std::fs::read(&path).unwrap();
        let mut bad = bytes.clone();
        bad[place.at.offset() as usize + 30] ^= 2;
        std::fs::write(&path, &bad).unwrap();
        let err = log::scan::scan(&SystemDisk, &folder, (CLUSTER.as_u128(), 1), clean(original.path())).unwrap_err();
        let log::scan::ScanError::Damage(damage) = err else { panic!("{err:?}") };
        assert_eq!((damage.path.clone(), damage.offset), (path.clone(), u64::from(place.at.offset())), "{}", damage.text());
        assert_eq!(damage.before.entries.back().map_or(60, |last| last.log_id.index) + 1, place.log_id.index);
        std::fs::write(&path, &bytes).unwrap();
    }
}

fn clean(dir: &Path) -> life::LastRun {
    life::judge(life::read(&SystemDisk, dir).unwrap().as_ref(), "boot")
}
