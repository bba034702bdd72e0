//! A process that ends, or a machine that loses power, at every change of the log's files.
//!
//! The same story is told again and again, and stopped at one change after the other. Whatever was acknowledged must be there afterwards,
//! as its class promises, and what is there must be a beginning of the story.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use openraft::RaftLogReader;
use openraft::async_runtime::Oneshot;
use openraft::storage::{IOFlushed, RaftLogStorage};
use parking_lot::Mutex;

use super::*;
use crate::environment::SimulatedDisk;
use crate::types::{TypeConfig, Vote};

/// Small files, so that the story goes through many of them.
const SEGMENT_BYTES: u64 = 8 << 10;

/// What the log has said, and what it must therefore hold.
#[derive(Debug, Clone, Default)]
struct Told {
    /// Every entry that was ever given to the log, by index, in order of its giving.
    given: BTreeMap<u64, Vec<LogId>>,
    /// Acknowledged: survives the process.
    written: Option<LogId>,
    /// Acknowledged, and it or a later one is persistent: survives the power.
    stable: Option<LogId>,
    /// The vote whose saving was acknowledged, and the one that was being saved.
    vote: Option<Vote>,
    vote_tried: Option<Vote>,
    purged: Option<LogId>,
    /// A truncation was begun that would remove what was acknowledged.
    truncated_to: Option<u64>,
}

fn opening_of(disk: &SimulatedDisk, boot: &str) -> Result<(LogStore, StateStore, Arc<Database>), StartError> {
    let environment = simulated(disk);
    let opening = Opening {
        dir: Path::new("/node"),
        cluster: CLUSTER,
        node_id: 1,
        boot_id: boot.to_owned(),
        segment_bytes: SEGMENT_BYTES,
        environment,
    };
    let (clock, (database, contents)) = (Arc::new(LogClock::new()), Database::open(opening)?);
    let state = StateStore::open(database.clone(), Arc::new(Nothing), clock.clone(), Arc::new(Waiters::default()), &contents)?;
    Ok((LogStore::open(database.clone(), clock, contents)?.0, state, database))
}

fn vote(term: u64) -> Vote {
    Vote { leader_id: LeaderId { term, node_id: 1 }, committed: true }
}

async fn append(log: &mut LogStore, told: &Mutex<Told>, entries: Vec<Entry>) -> io::Result<()> {
    let stable = entries.iter().any(|entry| entry_class(entry) == Class::Persistent);
    let last = entries.last().map(|entry| entry.log_id);
    for entry in &entries {
        told.lock().given.entry(entry.log_id.index).or_default().push(entry.log_id);
    }
    let (tell, wait) = <openraft::type_config::alias::OneshotOf<TypeConfig>>::channel();
    log.append(entries, IOFlushed::signal(tell)).await?;
    wait.await.map_err(io::Error::other)??;
    let mut told = told.lock();
    told.written = last;
    told.truncated_to = None;
    if stable {
        told.stable = last;
    }
    Ok(())
}

fn entry_class(entry: &Entry) -> Class {
    match &entry.payload {
        EntryPayload::Normal(command) => command.class,
        EntryPayload::Blank | EntryPayload::Membership(_) => Class::Persistent,
    }
}

/// The story: batches of all classes, votes, a truncation with new entries, purges, marks, a second life in between.
async fn story(disk: &SimulatedDisk, told: &Mutex<Told>) -> Result<(), String> {
    let text = |err: &dyn ToString| err.to_string();
    let (mut log, state, database) = opening_of(disk, "first").map_err(|err| text(&err))?;
    save_vote(&mut log, told, 1).await?;
    let mut next = 1;
    for round in 0..18u64 {
        let class = [Class::Volatile, Class::Volatile, Class::Persistent, Class::Durable][usize::try_from(round % 4).unwrap()];
        let batch: Vec<Entry> = (next..next + 1 + round % 5 * 3).map(|index| entry_of(index, 1, class)).collect();
        next += batch.len() as u64;
        append(&mut log, told, batch).await.map_err(|err| text(&err))?;
        let written = told.lock().written;
        log.save_committed(written).await.map_err(|err| text(&err))?;
        if round % 6 == 5 {
            let upto = entry_of(next - 8, 1, class).log_id;
            // Only what was applied is purged, and what is purged is stable: in the product a snapshot sees to that.
            log.sync().await.map_err(|err| text(&err))?;
            let mut batch = records::Batch::default();
            batch.put(Table::Meta, key::APPLIED, codec::encode(Kind::Applied, &state::tests_progress(upto)).unwrap());
            database.write(batch, true).map_err(|err| text(&err))?;
            log.purge(upto).await.map_err(|err| text(&err))?;
            told.lock().purged = Some(upto);
        }
    }
    // Another leader has other entries.
    save_vote(&mut log, told, 2).await?;
    let keep = next - 4;
    {
        let mut told = told.lock();
        told.truncated_to = Some(keep);
        let kept = Some(entry_of(keep, 1, Class::Volatile).log_id);
        (told.written, told.stable) = (told.written.min(kept), told.stable.min(kept));
    }
    log.truncate_after(Some(entry_of(keep, 1, Class::Volatile).log_id)).await.map_err(|err| text(&err))?;
    for (from, class) in [(keep + 1, Class::Volatile), (keep + 11, Class::Persistent), (keep + 21, Class::Volatile)] {
        append(&mut log, told, (from..from + 10).map(|index| entry_of(index, 2, class)).collect()).await.map_err(|err| text(&err))?;
    }
    let end = log.finish().await.map_err(|err| text(&err))?;
    database.mark(&life::Mark::Clean { end: end.0 }).map_err(|err| text(&err))?;
    {
        let mut told = told.lock();
        told.stable = told.written;
    }
    drop((log, state, database));
    tokio::task::yield_now().await;
    disk.kill();
    let (mut log, _state, _database) = opening_of(disk, "first").map_err(|err| text(&err))?;
    append(&mut log, told, (keep + 31..keep + 40).map(|index| entry_of(index, 2, Class::Volatile)).collect())
        .await
        .map_err(|err| text(&err))
}

async fn save_vote(log: &mut LogStore, told: &Mutex<Told>, term: u64) -> Result<(), String> {
    told.lock().vote_tried = Some(vote(term));
    log.save_vote(&vote(term)).await.map_err(|err| err.to_string())?;
    told.lock().vote = Some(vote(term));
    Ok(())
}

/// Compares what is there with what was told.
async fn check(disk: &SimulatedDisk, told: &Told, power_lost: bool, at: u64) -> bool {
    let boot = if power_lost { "second" } else { "first" };
    let (mut log, _state, database) =
        opening_of(disk, boot).unwrap_or_else(|err| panic!("change {at}, power lost: {power_lost}: it does not start: {err}"));
    let context = format!("change {at}, power lost: {power_lost}, {told:?}");
    let entries = log.try_get_log_entries(..).await.unwrap();
    for pair in entries.windows(2) {
        assert_eq!(pair[1].log_id.index, pair[0].log_id.index + 1, "{context}");
        assert!(pair[1].log_id > pair[0].log_id, "{context}");
    }
    for entry in &entries {
        let index = entry.log_id.index;
        let given = told.given.get(&index).is_some_and(|given| given.contains(&entry.log_id));
        assert!(given, "{context}: entry {} was never given", entry.log_id);
        assert_eq!(*entry, entry_of(index, entry.log_id.leader_id.term, entry_class(entry)), "{context}");
    }
    let state = log.get_log_state().await.unwrap();
    let promised = if power_lost { told.stable } else { told.written };
    assert!(state.last_log_id >= promised, "{context}: it ends with {:?}", state.last_log_id);
    if let Some(promised) = promised {
        let holds = entries.iter().any(|entry| entry.log_id == promised) || state.last_purged_log_id >= Some(promised);
        assert!(holds, "{context}: {promised} is not in the log");
    }
    // A purge that was not acknowledged may have happened; nothing beyond it.
    let saved = log.read_vote().await.unwrap();
    assert!(saved == told.vote || saved == told.vote_tried, "{context}: the vote is {saved:?}");
    let in_doubt = database.last_run().doubt;
    // It goes on, and what is written now is read back.
    let next = state.last_log_id.map_or(1, |last| last.index + 1);
    let told_now = Mutex::new(Told::default());
    append(&mut log, &told_now, (next..next + 5).map(|index| entry_of(index, 3, Class::Persistent)).collect()).await.unwrap();
    let before = log.try_get_log_entries(..).await.unwrap();
    drop((log, _state, database));
    tokio::task::yield_now().await;
    disk.kill();
    let (mut log, ..) = opening_of(disk, boot).unwrap();
    assert_eq!(log.try_get_log_entries(..).await.unwrap(), before, "{context}");
    in_doubt.is_some()
}

#[tokio::test(start_paused = true)]
async fn the_log_survives_an_end_at_every_change() {
    let (disk, told) = (SimulatedDisk::new(7), Mutex::default());
    story(&disk, &told).await.unwrap();
    let changes = disk.changes();
    assert!(changes > 80, "{changes}");
    let (mut in_doubt, mut ended) = (0, 0);
    for power_lost in [false, true] {
        for at in 0..changes {
            let (disk, told) = (SimulatedDisk::new(at), Mutex::default());
            disk.stop_after(at);
            // A file that cannot be prepared in advance is no error yet.
            ended += u64::from(story(&disk, &told).await.is_err());
            tokio::task::yield_now().await;
            if power_lost {
                disk.power_loss()
            } else {
                disk.kill()
            }
            let told = told.lock().clone();
            in_doubt += u64::from(check(&disk, &told, power_lost, at).await);
        }
    }
    assert!(ended > changes * 3 / 2, "{ended} of {changes} ended, twice");
    // After a loss of power, but not before the first mark and not after a clean stop.
    assert!(in_doubt > changes / 2 && in_doubt <= changes, "{in_doubt} of {changes}");
}

#[tokio::test(start_paused = true)]
async fn a_loss_of_power_takes_what_is_not_persistent_and_nothing_else() {
    let mut lost = 0;
    for seed in 0..200 {
        let (disk, told) = (SimulatedDisk::new(seed), Mutex::default());
        let (mut log, state, database) = opening_of(&disk, "first").unwrap();
        append(&mut log, &told, (1..4).map(|index| entry_of(index, 1, Class::Persistent)).collect()).await.unwrap();
        append(&mut log, &told, (4..40).map(|index| entry_of(index, 1, Class::Volatile)).collect()).await.unwrap();
        assert!(log.is_dirty());
        drop((log, state, database));
        tokio::task::yield_now().await;
        disk.power_loss();
        let told = told.lock().clone();
        assert_eq!((told.stable.unwrap().index, told.written.unwrap().index), (3, 39));
        assert!(check(&disk, &told, true, seed).await, "in doubt");
        let (mut log, ..) = {
            disk.kill();
            opening_of(&disk, "second").unwrap()
        };
        lost += u64::from(!log.try_get_log_entries(..).await.unwrap().iter().any(|entry| entry.log_id == told.written.unwrap()));
    }
    assert!(lost > 20, "the disk must lose something: {lost}");
}

/// After a loss of power the first start may be cut short, too, and the second one is in the same boot.
#[tokio::test(start_paused = true)]
async fn a_start_after_a_loss_of_power_can_be_made_again() {
    let (mut cut_short, mut whole) = (0, 0);
    for seed in 0..40 {
        for at in 0..40 {
            let (disk, told) = (SimulatedDisk::new(seed), Mutex::default());
            let (mut log, state, database) = opening_of(&disk, "first").unwrap();
            append(&mut log, &told, (1..4).map(|index| entry_of(index, 1, Class::Persistent)).collect()).await.unwrap();
            append(&mut log, &told, (4..40).map(|index| entry_of(index, 1, Class::Volatile)).collect()).await.unwrap();
            drop((log, state, database));
            tokio::task::yield_now().await;
            disk.power_loss();
            disk.stop_after(at);
            let started = opening_of(&disk, "second");
            *if disk.is_stopped() { &mut cut_short } else { &mut whole } += 1;
            drop(started);
            tokio::task::yield_now().await;
            disk.kill();
            let told = told.lock().clone();
            assert!(check(&disk, &told, true, at).await, "seed {seed}, change {at}: in doubt until it has caught up");
        }
    }
    assert!(cut_short > 400 && whole > 40, "{cut_short} starts cut short, {whole} whole ones");
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_ends_the_log_with_its_name() {
    let (disk, told) = (SimulatedDisk::new(1), Mutex::default());
    let (mut log, ..) = opening_of(&disk, "first").unwrap();
    disk.set_capacity(Some(40 << 10));
    let mut next = 1;
    let err = loop {
        let batch = (next..next + 20).map(|index| entry_of(index, 1, Class::Persistent)).collect();
        match append(&mut log, &told, batch).await {
            Ok(()) => next += 20,
            Err(err) => break err,
        }
    };
    assert_eq!(err.kind(), io::ErrorKind::StorageFull);
    assert!(err.to_string().contains("/node/log") && err.to_string().contains("free some"), "{err}");
    // Nothing is acknowledged any more, and what was is still there when room was made.
    assert!(log.save_vote(&vote(9)).await.is_err());
    drop(log);
    disk.set_capacity(None);
    disk.kill();
    let told = told.lock().clone();
    check(&disk, &told, false, 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_failed_sync_is_never_taken_for_one_that_worked() {
    let (disk, told) = (SimulatedDisk::new(1), Mutex::default());
    let (mut log, ..) = opening_of(&disk, "first").unwrap();
    append(&mut log, &told, vec![entry(1)]).await.unwrap();
    disk.fail(crate::environment::simulated_disk::Operation::Sync, 1);
    assert!(append(&mut log, &told, vec![entry(2)]).await.is_err());
    // A later sync would succeed, and must not be believed.
    assert!(append(&mut log, &told, vec![entry(3)]).await.is_err());
}
