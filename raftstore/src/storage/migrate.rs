//! From the first format of the data directory, which kept the log in RocksDB, to the present one.
//!
//! The log is written to its files and synced before it goes from the database: a start that is cut short begins again. A bar in the database
//! then keeps programs of the first format out: they would find an empty log, forget what the node voted for, and have it voted again.

use std::io;

use openraft::EntryPayload;
use rocksdb::IteratorMode;

use super::log::record::{self, HEAD_BYTES, Kind, Place};
use super::log::scan::Contents;
use super::log::segments::Checkpoint;
use super::records::{Batch, Records, Table};
use super::{Database, IDENTITY};
use crate::codec;
use crate::error::StartError;
use crate::types::{Entry, LogId, Vote};

/// Column family of log entries: index as u64 big-endian -> entry.
pub(crate) const LOG: &str = "log";
const VOTE: &[u8] = b"vote";
const PURGED: &[u8] = b"purged";
const COMMITTED: &[u8] = b"committed";

/// Moves the log out of the database, if it is still there.
pub(crate) fn from_version_1(database: &mut Database) -> Result<(), StartError> {
    let Records::Rocks(db) = &database.records else { return Ok(()) };
    let barred = is_barred(database).map_err(|err| database.start_error("the database", &err))?;
    if db.cf_handle(LOG).is_none() {
        return if barred { Ok(()) } else { bar(database) };
    }
    if barred {
        // A program of the first format was started here afterwards: it made the family before it met the bar.
        return drop_family(database);
    }
    tracing::info!(dir = %database.dir.display(), "the log is moved to files of its own");
    move_log(database).map_err(|err| database.start_error("the log of format version 1", &err))?;
    bar(database)?;
    drop_family(database)
}

/// What a program of the first format finds where it looks for the identity.
fn bar_value() -> Vec<u8> {
    codec::wrap_for_newer(codec::Kind::Identity, b"in files")
}

fn is_barred(database: &Database) -> io::Result<bool> {
    let found = database.records.get(Table::Meta, IDENTITY.as_bytes()).map_err(|err| database.io_error("reading", &err))?;
    Ok(found == Some(bar_value()))
}

/// Keeps programs of the first format out. The identity stands in its file before it goes from the database.
fn bar(database: &Database) -> Result<(), StartError> {
    let write = || {
        database.write_identity()?;
        let mut batch = Batch::default();
        batch.put(Table::Meta, IDENTITY.as_bytes(), bar_value());
        database.write(batch, true)
    };
    write().map_err(|err| database.start_error("the database", &err))
}

fn drop_family(database: &mut Database) -> Result<(), StartError> {
    let Records::Rocks(db) = &mut database.records else { return Ok(()) };
    db.drop_cf(LOG).map_err(|err| StartError::Database { path: database.dir.clone(), because: err.into_string() })
}

fn move_log(database: &Database) -> io::Result<()> {
    let Records::Rocks(db) = &database.records else { return Ok(()) };
    let Some(family) = db.cf_handle(LOG) else { return Ok(()) };
    // What an earlier try wrote.
    let folder = database.dir.join(super::log::FOLDER);
    for path in database.environment.disk.list(&folder)? {
        database.environment.disk.remove(&path)?;
    }
    database.environment.disk.sync_dir(&folder)?;
    let mut checkpoint = Checkpoint::new();
    if let Some(vote) = database.read::<Vote>(codec::Kind::Vote, VOTE, "the vote")? {
        checkpoint.push((Kind::Vote, codec::encode(codec::Kind::Vote, &vote).map_err(io::Error::other)?));
    }
    let purged = database.read::<LogId>(codec::Kind::LogId, PURGED, "the purge mark")?;
    for (kind, mark) in [(Kind::Purge, purged), (Kind::Follows, purged)] {
        if let Some(mark) = mark {
            checkpoint.push((kind, codec::encode(codec::Kind::LogId, &mark).map_err(io::Error::other)?));
        }
    }
    let contents = Contents { end: Place::new(1, HEAD_BYTES), ..Contents::default() };
    let mut segments = database.open_segments(&contents, false, &checkpoint)?;
    let mut last = purged;
    for item in db.iterator_cf(family, IteratorMode::Start) {
        let (key, value) = item.map_err(io::Error::other)?;
        let entry: Entry = codec::decode(codec::Kind::Entry, &value)
            .map_err(|err| database.damaged(&format!("log entry {}", key.escape_ascii()), &err))?;
        if purged.is_some_and(|purged| entry.log_id.index <= purged.index) {
            continue;
        }
        let time_ms = match &entry.payload {
            EntryPayload::Normal(command) => command.time_ms,
            EntryPayload::Blank | EntryPayload::Membership(_) => 0,
        };
        let mut checkpoint = checkpoint.clone();
        checkpoint.retain(|(kind, _)| *kind != Kind::Follows);
        if let Some(last) = last {
            checkpoint.push((Kind::Follows, codec::encode(codec::Kind::LogId, &last).map_err(io::Error::other)?));
        }
        segments.put(Kind::Entry, &[&record::entry_head(entry.log_id, time_ms), &value], &checkpoint)?;
        segments.note_entry(entry.log_id.index);
        last = Some(entry.log_id);
    }
    if let Some(committed) = database.read::<LogId>(codec::Kind::LogId, COMMITTED, "the commit mark")? {
        let payload = codec::encode(codec::Kind::LogId, &committed).map_err(io::Error::other)?;
        segments.put(Kind::Committed, &[&payload], &checkpoint)?;
    }
    segments.flush()?;
    // The marks in the database stay: nobody reads them once the family is gone.
    let (file, _) = segments.to_sync();
    file.sync()
}
