//! The machine's keys and values on disk: RocksDB, or a journal in the simulation.
//!
//! Writes are batches. A batch is in the page cache when `write` returns, and on stable storage after a `sync`; after a loss of power a
//! prefix of the batches is there, each whole or not at all. Knows nothing of what the keys mean.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use rocksdb::{BlockBasedOptions, Cache, ColumnFamilyDescriptor, DB, DBCompressionType, IteratorMode, Options, WriteBatch, WriteOptions};
use serde::{Deserialize, Serialize};

use crate::codec::{self, Kind};
use crate::environment::{Disk, DiskFile, OpenFile};

/// The database's cache of blocks: what is read often is in memory already, decoded.
const BLOCK_CACHE_BYTES: usize = 8 << 20;
/// What a column family collects in memory before it writes a file; it may have two of these.
const WRITE_BUFFER_BYTES: usize = 16 << 20;
/// Larger than any key.
const KEYS_END: [u8; 64] = [0xff; 64];

/// A group of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) enum Table {
    /// Everything there is one of.
    Meta,
    /// The machine's keys and values.
    State,
}

impl Table {
    const fn family(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::State => "state",
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
enum Change {
    Put(Table, Vec<u8>, Vec<u8>),
    Delete(Table, Vec<u8>),
    Clear(Table),
}

/// Changes that happen together or not at all.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Batch(Vec<Change>);

impl Batch {
    pub(crate) fn put(&mut self, table: Table, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.0.push(Change::Put(table, key.into(), value.into()));
    }

    pub(crate) fn delete(&mut self, table: Table, key: impl Into<Vec<u8>>) {
        self.0.push(Change::Delete(table, key.into()));
    }

    /// Adds the changes of a later batch.
    pub(crate) fn append(&mut self, mut later: Self) {
        self.0.append(&mut later.0);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The same end with one change a key: what a later change undoes need not be written.
    pub(crate) fn newest(self) -> Self {
        let mut kept = vec![true; self.0.len()];
        let mut later = HashSet::with_capacity(self.0.len());
        for (change, kept) in self.0.iter().zip(&mut kept).rev() {
            match change {
                Change::Put(table, key, _) | Change::Delete(table, key) => *kept = later.insert((*table, key.as_slice())),
                Change::Clear(_) => break,
            }
        }
        let mut kept = kept.into_iter();
        Self(self.0.into_iter().filter(|_| kept.next() == Some(true)).collect())
    }

    /// Removes every key of a table.
    pub(crate) fn clear(&mut self, table: Table) {
        self.0.push(Change::Clear(table));
    }
}

/// An error of the database, in its words.
#[derive(Debug)]
pub(crate) enum RecordsError {
    /// Somebody else works on it.
    InUse,
    /// No space is left.
    Full,
    /// Anything else.
    Failed(String),
}

impl From<rocksdb::Error> for RecordsError {
    fn from(err: rocksdb::Error) -> Self {
        let text = err.into_string();
        if text.contains("While lock file") || text.contains("lock hold by current process") {
            Self::InUse
        } else if text.contains("No space left") {
            Self::Full
        } else {
            Self::Failed(text)
        }
    }
}

impl From<io::Error> for RecordsError {
    fn from(err: io::Error) -> Self {
        match err.kind() {
            io::ErrorKind::StorageFull => Self::Full,
            _ => Self::Failed(err.to_string()),
        }
    }
}

/// A key and its value.
pub(crate) type Item = (Box<[u8]>, Box<[u8]>);

/// The open database.
#[derive(Debug)]
pub(crate) enum Records {
    Rocks(DB),
    Journal(Journal),
}

impl Records {
    /// Opens the database, or makes it.
    pub(crate) fn open(dir: &Path) -> Result<Self, RecordsError> {
        let cache = Cache::new_lru_cache(BLOCK_CACHE_BYTES);
        let mut names = vec![Table::Meta.family().to_owned(), Table::State.family().to_owned()];
        // Families of a former format are there until they are migrated.
        if dir.join("CURRENT").exists() {
            let known = DB::list_cf(&options(), dir)?;
            names.extend(known.into_iter().filter(|name| name == super::migrate::LOG));
        }
        let families = names.into_iter().map(|name| {
            let options = family_options(&name, &cache);
            ColumnFamilyDescriptor::new(name, options)
        });
        Ok(Self::Rocks(DB::open_cf_descriptors(&options(), dir, families)?))
    }

    /// Opens a database that is only looked at. Nothing in it is changed.
    pub(crate) fn open_to_read(dir: &Path) -> Result<Self, RecordsError> {
        let cache = Cache::new_lru_cache(BLOCK_CACHE_BYTES);
        let names = DB::list_cf(&options(), dir)?;
        for table in [Table::Meta, Table::State] {
            if !names.iter().any(|name| name == table.family()) {
                return Err(RecordsError::Failed(format!("it lacks the family {}", table.family())));
            }
        }
        let families = names.into_iter().map(|name| {
            let options = family_options(&name, &cache);
            ColumnFamilyDescriptor::new(name, options)
        });
        let mut looking = options();
        looking.create_if_missing(false);
        looking.create_missing_column_families(false);
        Ok(Self::Rocks(DB::open_cf_descriptors_read_only(&looking, dir, families, false)?))
    }

    /// Opens the journal of a simulated node, or makes it.
    pub(crate) fn open_journal(disk: &dyn Disk, dir: &Path) -> Result<Self, RecordsError> {
        Ok(Self::Journal(Journal::open(disk, dir)?))
    }

    /// Reads one value.
    pub(crate) fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, RecordsError> {
        match self {
            Self::Rocks(db) => Ok(db.get_cf(family(db, table), key)?),
            Self::Journal(journal) => Ok(journal.inner.lock().values.get(&(table, key.to_vec())).cloned()),
        }
    }

    /// All keys and values of a table, sorted, as they are now.
    pub(crate) fn scan(&self, table: Table) -> Box<dyn Iterator<Item = Result<Item, RecordsError>> + '_> {
        match self {
            Self::Rocks(db) => {
                Box::new(db.iterator_cf(family(db, table), IteratorMode::Start).map(|item| item.map_err(RecordsError::from)))
            }
            Self::Journal(journal) => {
                let values = journal.inner.lock().values.clone();
                let all = values.into_iter().filter(move |((of, _), _)| *of == table);
                Box::new(all.map(|((_, key), value)| Ok((key.into_boxed_slice(), value.into_boxed_slice()))))
            }
        }
    }

    /// Writes a batch, and with `sync` waits until it and everything before it is on stable storage.
    pub(crate) fn write(&self, batch: Batch, sync: bool) -> Result<(), RecordsError> {
        match self {
            Self::Rocks(db) => {
                let mut out = WriteBatch::default();
                for change in batch.0 {
                    match change {
                        Change::Put(table, key, value) => out.put_cf(family(db, table), key, value),
                        Change::Delete(table, key) => out.delete_cf(family(db, table), key),
                        Change::Clear(table) => out.delete_range_cf(family(db, table), Vec::new(), KEYS_END.to_vec()),
                    }
                }
                let mut write = WriteOptions::default();
                write.set_sync(sync);
                Ok(db.write_opt(out, &write)?)
            }
            Self::Journal(journal) => Ok(journal.write(batch, sync)?),
        }
    }

    /// Ends the database's own threads. Reading still works; nothing is lost.
    pub(crate) fn rest(&self) {
        if let Self::Rocks(db) = self {
            db.cancel_all_background_work(true);
        }
    }
}

fn family(db: &DB, table: Table) -> &rocksdb::ColumnFamily {
    db.cf_handle(table.family()).expect("both families are created when the database is opened")
}

fn options() -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_max_background_jobs(2);
    options.set_keep_log_file_num(4);
    options.set_max_total_wal_size(128 << 20);
    options.set_bytes_per_sync(1 << 20);
    // The applied mark and the state it speaks of are in two families: one may not be on disk without the other.
    options.set_atomic_flush(true);
    options
}

fn family_options(name: &str, cache: &Cache) -> Options {
    let mut options = Options::default();
    let state = name == Table::State.family();
    options.set_compression_type(if state { DBCompressionType::Lz4 } else { DBCompressionType::None });
    options.set_write_buffer_size(if state { WRITE_BUFFER_BYTES } else { 1 << 20 });
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    options.set_block_based_table_factory(&table);
    options.set_paranoid_checks(true);
    options
}

/// The database of a simulated node: every batch ever written, in one file.
#[derive(Debug)]
pub(crate) struct Journal {
    inner: Mutex<JournalInner>,
}

#[derive(Debug)]
struct JournalInner {
    file: Arc<dyn DiskFile>,
    end: u64,
    values: BTreeMap<(Table, Vec<u8>), Vec<u8>>,
}

impl Journal {
    fn open(disk: &dyn Disk, dir: &Path) -> io::Result<Self> {
        disk.create_dir_all(dir)?;
        let path = dir.join("journal");
        if !disk.list(dir)?.contains(&path) {
            let file = disk.open(&path, OpenFile::CreateNew)?;
            file.sync()?;
            disk.sync_dir(dir)?;
            return Ok(Self { inner: Mutex::new(JournalInner { file, end: 0, values: BTreeMap::new() }) });
        }
        let file = disk.open(&path, OpenFile::Write)?;
        let mut bytes = vec![0; usize::try_from(file.len()?).map_err(io::Error::other)?];
        file.read_exact_at(&mut bytes, 0)?;
        let (mut rest, mut end, mut values) = (&bytes[..], 0u64, BTreeMap::new());
        while let Some((length, after)) = rest.split_first_chunk::<4>() {
            let length = u32::from_le_bytes(*length) as usize;
            let Some((envelope, after)) = after.split_at_checked(length) else { break };
            let Ok(batch) = codec::decode::<Batch>(Kind::Batch, envelope) else { break };
            apply(&mut values, batch);
            end += 4 + length as u64;
            rest = after;
        }
        // What power loss left behind the end must not come to life again, and what a failed sync gave up must be written after all.
        file.set_len(end)?;
        file.write_all_at(&bytes[..usize::try_from(end).map_err(io::Error::other)?], 0)?;
        file.sync()?;
        Ok(Self { inner: Mutex::new(JournalInner { file, end, values }) })
    }

    fn write(&self, batch: Batch, sync: bool) -> io::Result<()> {
        let envelope = codec::encode(Kind::Batch, &batch).map_err(io::Error::other)?;
        let length = u32::try_from(envelope.len()).map_err(io::Error::other)?;
        let mut inner = self.inner.lock();
        let end = inner.end;
        inner.file.write_all_at(&[&length.to_le_bytes()[..], &envelope].concat(), end)?;
        inner.end += 4 + u64::from(length);
        apply(&mut inner.values, batch);
        if sync { inner.file.sync() } else { Ok(()) }
    }
}

fn apply(values: &mut BTreeMap<(Table, Vec<u8>), Vec<u8>>, batch: Batch) {
    for change in batch.0 {
        match change {
            Change::Put(table, key, value) => drop(values.insert((table, key), value)),
            Change::Delete(table, key) => drop(values.remove(&(table, key))),
            Change::Clear(table) => values.retain(|(of, _), _| *of != table),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_later_change_undoes_is_not_written() {
        let mut batch = Batch::default();
        batch.put(Table::State, b"old", b"1");
        batch.put(Table::State, b"old", b"2");
        batch.clear(Table::State);
        for round in 0..3 {
            batch.put(Table::State, b"open", [round]);
            batch.put(Table::Meta, b"open", [round]);
            batch.put(Table::State, [round], b"kept");
            batch.delete(Table::State, b"open");
        }
        let state = |batch: Batch| {
            let mut values =
                BTreeMap::from([((Table::State, b"before".to_vec()), Vec::new()), ((Table::State, b"open".to_vec()), Vec::new())]);
            apply(&mut values, batch);
            values
        };
        let whole: Batch = codec::decode(Kind::Batch, &codec::encode(Kind::Batch, &batch).unwrap()).unwrap();
        let newest = batch.newest();
        assert_eq!((whole.0.len(), newest.0.len()), (15, 8), "up to the clearing everything, then one change a key");
        let end = state(newest);
        assert_eq!(end, state(whole));
        assert_eq!(end.get(&(Table::Meta, b"open".to_vec())), Some(&vec![2]));
    }
}
