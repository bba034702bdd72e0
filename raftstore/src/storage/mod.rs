//! The data directory: one RocksDB with the column families `log`, `meta` and `state`, and a folder of snapshot files.
//!
//! Opens and checks the directory. What is written when is in [`log`], [`state`] and [`snapshot`]; nothing else touches the disk.

pub(crate) mod log;
pub(crate) mod snapshot;
pub(crate) mod state;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rocksdb::{BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType, Options, WriteBatch, WriteOptions};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::codec::{self, Kind};
use crate::error::StartError;

/// The database's cache of blocks: what is read often is in memory already, decoded.
const BLOCK_CACHE_BYTES: usize = 8 << 20;
/// What a column family collects in memory before it writes a file; it may have two of these.
const WRITE_BUFFER_BYTES: usize = 16 << 20;

/// Column family of log entries: index as u64 big-endian -> entry.
pub(crate) const LOG: &str = "log";
/// Column family of everything there is one of.
pub(crate) const META: &str = "meta";
/// Column family of the machine's keys and values.
pub(crate) const STATE: &str = "state";

/// Keys of [`META`].
pub(crate) mod key {
    pub(crate) const IDENTITY: &[u8] = b"identity";
    pub(crate) const VOTE: &[u8] = b"vote";
    pub(crate) const PURGED: &[u8] = b"purged";
    pub(crate) const COMMITTED: &[u8] = b"committed";
    pub(crate) const APPLIED: &[u8] = b"applied";
    pub(crate) const INSTALLING: &[u8] = b"installing";
}

/// Whose directory it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DirectoryIdentity {
    cluster: u128,
    node_id: u64,
}

/// The open data directory.
#[derive(Debug)]
pub(crate) struct Database {
    db: DB,
    dir: PathBuf,
}

impl Database {
    /// Opens the directory of this node, or makes it.
    pub(crate) fn open(dir: &Path, cluster: Uuid, node_id: u64) -> Result<Arc<Self>, StartError> {
        let data_dir = |source: io::Error| match source.kind() {
            io::ErrorKind::StorageFull => StartError::DiskFull { path: dir.to_owned() },
            _ => StartError::DataDir { path: dir.to_owned(), source },
        };
        std::fs::create_dir_all(dir).map_err(data_dir)?;
        std::fs::create_dir_all(dir.join(snapshot::FOLDER)).map_err(data_dir)?;
        let families = {
            let cache = Cache::new_lru_cache(BLOCK_CACHE_BYTES);
            [LOG, META, STATE].map(|name| ColumnFamilyDescriptor::new(name, family_options(name, &cache)))
        };
        let db = DB::open_cf_descriptors(&options(), dir.join("db"), families).map_err(|err| open_error(dir, &err))?;
        let database = Self { db, dir: dir.to_owned() };
        database.check_identity(cluster, node_id)?;
        Ok(Arc::new(database))
    }

    fn check_identity(&self, cluster: Uuid, node_id: u64) -> Result<(), StartError> {
        let path = self.dir.clone();
        match self.read_start::<DirectoryIdentity>(Kind::Identity, key::IDENTITY, "the identity")? {
            Some(found) if found.cluster != cluster.as_u128() => {
                Err(StartError::WrongCluster { path, expected: cluster, found: Uuid::from_u128(found.cluster) })
            }
            Some(found) if found.node_id != node_id => Err(StartError::WrongNode { path, expected: node_id, found: found.node_id }),
            Some(_) => Ok(()),
            None => {
                let identity = DirectoryIdentity { cluster: cluster.as_u128(), node_id };
                let bytes = codec::encode(Kind::Identity, &identity).map_err(StartError::Core)?;
                let mut batch = WriteBatch::default();
                batch.put_cf(self.family(META), key::IDENTITY, bytes);
                self.write(batch, true).map_err(|err| match err.kind() {
                    io::ErrorKind::StorageFull => StartError::DiskFull { path },
                    _ => StartError::Database { path, because: err.to_string() },
                })
            }
        }
    }

    /// Ends the database's own threads. Reading still works; nothing is lost.
    pub(crate) fn rest(&self) {
        self.db.cancel_all_background_work(true);
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn db(&self) -> &DB {
        &self.db
    }

    pub(crate) fn family(&self, name: &str) -> &ColumnFamily {
        self.db.cf_handle(name).expect("all three families are created when the database is opened")
    }

    /// Writes a batch, and with `sync` waits until it is on disk.
    pub(crate) fn write(&self, batch: WriteBatch, sync: bool) -> io::Result<()> {
        let mut write = WriteOptions::default();
        write.set_sync(sync);
        self.db.write_opt(batch, &write).map_err(|err| self.io_error("writing to", &err))
    }

    /// Reads a value of [`META`].
    pub(crate) fn read<T: DeserializeOwned>(&self, kind: Kind, key: &[u8], what: &str) -> io::Result<Option<T>> {
        let bytes = self.db.get_pinned_cf(self.family(META), key).map_err(|err| self.io_error("reading", &err))?;
        bytes.map(|bytes| codec::decode(kind, &bytes).map_err(|err| self.damaged(what, &err))).transpose()
    }

    /// As [`Database::read`], with the errors of a start.
    pub(crate) fn read_start<T: DeserializeOwned>(&self, kind: Kind, key: &[u8], what: &str) -> Result<Option<T>, StartError> {
        self.read(kind, key, what).map_err(|err| self.start_error(what, &err))
    }

    pub(crate) fn start_error(&self, what: &str, err: &io::Error) -> StartError {
        match err.kind() {
            io::ErrorKind::StorageFull => StartError::DiskFull { path: self.dir.clone() },
            _ => StartError::Damaged { path: self.dir.clone(), what: what.to_owned(), because: err.to_string() },
        }
    }

    pub(crate) fn damaged(&self, what: &str, because: &impl ToString) -> io::Error {
        let text = format!("{what} in {} is damaged: {}", self.dir.display(), because.to_string());
        io::Error::new(io::ErrorKind::InvalidData, text)
    }

    pub(crate) fn io_error(&self, doing: &str, err: &rocksdb::Error) -> io::Error {
        let text = err.to_string();
        let dir = self.dir.display();
        if text.contains("No space left") {
            io::Error::new(io::ErrorKind::StorageFull, format!("no space is left on the disk of {dir}; free some and restart the node"))
        } else {
            io::Error::other(format!("{doing} the database in {dir} failed: {text}"))
        }
    }
}

fn open_error(dir: &Path, err: &rocksdb::Error) -> StartError {
    let path = dir.to_owned();
    let because = err.to_string();
    if because.contains("While lock file") || because.contains("lock hold by current process") {
        StartError::DataDirInUse { path }
    } else if because.contains("No space left") {
        StartError::DiskFull { path }
    } else {
        StartError::Database { path, because }
    }
}

fn options() -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_max_background_jobs(2);
    options.set_keep_log_file_num(4);
    options.set_max_total_wal_size(128 << 20);
    // A recycled log file does not grow, so that a sync does not have to write the file's metadata.
    options.set_recycle_log_file_num(4);
    options.set_bytes_per_sync(1 << 20);
    options
}

fn family_options(name: &str, cache: &Cache) -> Options {
    let mut options = Options::default();
    options.set_compression_type(if name == STATE { DBCompressionType::Lz4 } else { DBCompressionType::None });
    options.set_write_buffer_size(if name == META { 1 << 20 } else { WRITE_BUFFER_BYTES });
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    options.set_block_based_table_factory(&table);
    options.set_paranoid_checks(true);
    options
}
