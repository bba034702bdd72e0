//! The data directory: the log in files of its own, the state in RocksDB, snapshots, and the mark of the last run.
//!
//! ```text
//! claim              locked while a process works here
//! identity           cluster and node
//! life               whether the last run may have lost something
//! log/*.log          the log: entries, vote, marks
//! db/                the state, with the applied mark
//! snapshots/         the whole state at one log entry
//! ```
//! Opens and checks the directory. What is written when is in [`log`], [`state`] and [`snapshot`]; nothing else touches the disk.

mod behind;
pub(crate) mod life;
pub(crate) mod log;
pub(crate) mod migrate;
pub(crate) mod records;
pub(crate) mod snapshot;
pub(crate) mod state;
#[cfg(test)]
mod tests;
pub(crate) mod view;

use std::any::Any;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use self::life::{Doubt, LastRun, Mark};
use self::log::scan::{self, Contents, ScanError};
use self::log::segments::{Checkpoint, Segments};
use self::records::{Records, RecordsError, Table};
use crate::codec::{self, Kind};
use crate::environment::{Disk, Environment, OpenFile};
use crate::error::StartError;

/// Keys of [`Table::Meta`].
pub(crate) mod key {
    pub(crate) const APPLIED: &[u8] = b"applied";
    pub(crate) const INSTALLING: &[u8] = b"installing";
}

/// Folder of the database.
pub(crate) const DATABASE: &str = "db";
/// File with cluster and node.
pub(crate) const IDENTITY: &str = "identity";

/// Whose directory it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DirectoryIdentity {
    pub(crate) cluster: u128,
    pub(crate) node_id: u64,
}

/// The open data directory.
#[derive(Debug)]
pub(crate) struct Database {
    records: Records,
    dir: PathBuf,
    environment: Environment,
    identity: DirectoryIdentity,
    segment_bytes: u64,
    boot_id: String,
    last_run: LastRun,
    _claim: Box<dyn Any + Send + Sync>,
}

/// How a directory is opened.
#[derive(Debug, Clone)]
pub(crate) struct Opening<'a> {
    pub(crate) dir: &'a Path,
    pub(crate) cluster: Uuid,
    pub(crate) node_id: u64,
    /// Of this boot of the machine.
    pub(crate) boot_id: String,
    /// Of a new file of the log.
    pub(crate) segment_bytes: u64,
    pub(crate) environment: Environment,
}

impl Database {
    /// Opens the directory of this node, or makes it, and reads its log.
    pub(crate) fn open(opening: Opening<'_>) -> Result<(Arc<Self>, Contents), StartError> {
        let Opening { dir, cluster, node_id, boot_id, segment_bytes, environment } = opening;
        let path = || dir.to_owned();
        let data_dir = |source: io::Error| match source.kind() {
            io::ErrorKind::StorageFull => StartError::DiskFull { path: dir.to_owned() },
            io::ErrorKind::InvalidData => {
                StartError::Damaged { path: dir.to_owned(), what: "the data directory".to_owned(), because: source.to_string() }
            }
            _ => StartError::DataDir { path: dir.to_owned(), source },
        };
        let disk = environment.disk.clone();
        for folder in [dir.to_owned(), dir.join(snapshot::FOLDER), dir.join(log::FOLDER)] {
            disk.create_dir_all(&folder).map_err(data_dir)?;
        }
        let claim = disk.claim(dir).map_err(|err| match err.kind() {
            io::ErrorKind::WouldBlock => StartError::DataDirInUse { path: path() },
            _ => data_dir(err),
        })?;
        let records = if environment.simulated {
            Records::open_journal(disk.as_ref(), &dir.join(DATABASE))
        } else {
            Records::open(&dir.join(DATABASE))
        };
        let records = records.map_err(|err| match err {
            RecordsError::InUse => StartError::DataDirInUse { path: path() },
            RecordsError::Full => StartError::DiskFull { path: path() },
            RecordsError::Failed(because) => StartError::Database { path: path(), because },
        })?;
        let identity = DirectoryIdentity { cluster: cluster.as_u128(), node_id };
        let mark = life::read(disk.as_ref(), dir).map_err(data_dir)?;
        let last_run = life::judge(mark.as_ref(), &boot_id);
        let mut database = Self { records, dir: dir.to_owned(), environment, identity, segment_bytes, boot_id, last_run, _claim: claim };
        database.check_identity()?;
        if last_run.doubt == Some(Doubt::Superseded) {
            database.start_over()?;
        }
        migrate::from_version_1(&mut database)?;
        let contents = match scan::scan(disk.as_ref(), &dir.join(log::FOLDER), (identity.cluster, identity.node_id), last_run) {
            Ok(contents) => contents,
            Err(ScanError::Io(err)) => return Err(database.start_error("the log", &err)),
            Err(ScanError::Damage(damage)) => {
                return Err(StartError::Damaged { path: path(), what: "the log".to_owned(), because: damage.text() });
            }
        };
        if let Some(because) = database.last_run.doubt {
            tracing::warn!(?because, "this node may have lost what it acknowledged: it does not vote before it has caught up");
        }
        Ok((Arc::new(database), contents))
    }

    fn check_identity(&self) -> Result<(), StartError> {
        let path = self.dir.clone();
        match self.read_identity().map_err(|err| self.start_error("the identity", &err))? {
            Some(found) if found.cluster != self.identity.cluster => Err(StartError::WrongCluster {
                path,
                expected: Uuid::from_u128(self.identity.cluster),
                found: Uuid::from_u128(found.cluster),
            }),
            Some(found) if found.node_id != self.identity.node_id => {
                Err(StartError::WrongNode { path, expected: self.identity.node_id, found: found.node_id })
            }
            Some(_) => Ok(()),
            None => self.write_identity().map_err(|err| self.start_error("the identity", &err)),
        }
    }

    fn read_identity(&self) -> io::Result<Option<DirectoryIdentity>> {
        let (disk, path) = (&self.environment.disk, self.dir.join(IDENTITY));
        if !disk.list(&self.dir)?.contains(&path) {
            // The first format kept it in the database.
            return self.read(Kind::Identity, IDENTITY.as_bytes(), "the identity");
        }
        let file = disk.open(&path, OpenFile::Read)?;
        let mut bytes = vec![0; usize::try_from(file.len()?).map_err(io::Error::other)?];
        file.read_exact_at(&mut bytes, 0)?;
        codec::decode(Kind::Identity, &bytes).map(Some).map_err(|err| self.damaged("the file identity", &err))
    }

    fn write_identity(&self) -> io::Result<()> {
        let (disk, path) = (&self.environment.disk, self.dir.join(IDENTITY));
        let part = path.with_extension("part");
        let file = disk.open(&part, OpenFile::CreateEmpty)?;
        file.write_all_at(&codec::encode(Kind::Identity, &self.identity).map_err(io::Error::other)?, 0)?;
        file.sync()?;
        disk.rename(&part, &path)?;
        disk.sync_dir(&self.dir)
    }

    /// Forgets log, state and snapshots; the vote stays. The node then gets everything from its peers.
    fn start_over(&mut self) -> Result<(), StartError> {
        tracing::warn!(dir = %self.dir.display(), "what this node holds is void: it starts over and gets everything from its peers");
        let dir = self.dir.clone();
        let start = |source: io::Error| StartError::DataDir { path: dir.clone(), source };
        let folder = self.dir.join(log::FOLDER);
        // Whatever is missing in front of something else may have been a vote.
        let strict = LastRun { pages_kept: true, end: None, doubt: self.last_run.doubt };
        let (vote, is_last) = match scan::scan(self.environment.disk.as_ref(), &folder, self.owner(), strict) {
            Ok(contents) => (contents.vote, contents.vote.is_some()),
            // A later vote may stand in the part that cannot be read.
            Err(ScanError::Damage(damage)) => (damage.before.vote, false),
            Err(ScanError::Io(err)) => return Err(start(err)),
        };
        let mut batch = records::Batch::default();
        batch.clear(Table::State);
        batch.delete(Table::Meta, key::APPLIED);
        batch.delete(Table::Meta, key::INSTALLING);
        self.write(batch, true).map_err(start)?;
        let disk = &self.environment.disk;
        for path in disk.list(&self.dir.join(snapshot::FOLDER)).map_err(start)? {
            disk.remove(&path).map_err(start)?;
        }
        // The vote stands in the new log before the old one goes, whatever happens in between.
        let mut highest = 0;
        let old = disk.list(&folder).map_err(start)?;
        for path in &old {
            let number = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| u32::from_str_radix(stem, 16).ok());
            highest = highest.max(number.unwrap_or(0));
        }
        let contents = Contents { end: log::record::Place::new(highest + 1, log::record::HEAD_BYTES), ..Contents::default() };
        let mut checkpoint = Checkpoint::new();
        if let Some(vote) = vote {
            checkpoint.push((log::record::Kind::Vote, codec::encode(Kind::Vote, &vote).map_err(io::Error::other).map_err(start)?));
        }
        drop(self.open_segments(&contents, false, &checkpoint).map_err(start)?);
        for path in &old {
            disk.remove(path).map_err(start)?;
        }
        disk.sync_dir(&folder).map_err(start)?;
        let because = if is_last { Doubt::PowerLost } else { Doubt::Repaired };
        self.mark(&Mark::InDoubt { boot_id: self.boot_id.clone(), because }).map_err(start)?;
        self.last_run.doubt = Some(because);
        Ok(())
    }

    /// Leaves the mark of this run. Not before the log goes on in a place of its own: a start that is cut short must not make the next one
    /// believe that the power was never lost, for what a loss of power has left of the log still stands there.
    pub(crate) fn begin_run(&self) -> io::Result<()> {
        let boot_id = self.boot_id.clone();
        self.mark(&match self.last_run.doubt {
            Some(because) => Mark::InDoubt { boot_id, because },
            None => Mark::Running { boot_id },
        })
    }

    /// Replaces the mark of the last run.
    pub(crate) fn mark(&self, mark: &Mark) -> io::Result<()> {
        life::write(self.environment.disk.as_ref(), &self.dir, mark)
    }

    /// Of this boot of the machine.
    pub(crate) fn boot_id(&self) -> &str {
        &self.boot_id
    }

    /// What is known about the run before this one.
    pub(crate) fn last_run(&self) -> LastRun {
        self.last_run
    }

    pub(crate) fn environment(&self) -> &Environment {
        &self.environment
    }

    /// This node.
    pub(crate) fn node_id(&self) -> u64 {
        self.identity.node_id
    }

    fn owner(&self) -> (u128, u64) {
        (self.identity.cluster, self.identity.node_id)
    }

    pub(crate) fn open_segments(&self, contents: &Contents, fresh: bool, checkpoint: &Checkpoint) -> io::Result<Segments> {
        let folder = self.dir.join(log::FOLDER);
        Segments::open(&self.environment, &folder, self.owner(), self.segment_bytes, contents, fresh, checkpoint)
    }

    /// Ends the database's own threads. Reading still works; nothing is lost.
    pub(crate) fn rest(&self) {
        self.records.rest();
    }

    pub(crate) fn disk(&self) -> &dyn Disk {
        self.environment.disk.as_ref()
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Writes a batch, and with `sync` waits until it is on disk.
    pub(crate) fn write(&self, batch: records::Batch, sync: bool) -> io::Result<()> {
        self.records.write(batch, sync).map_err(|err| self.io_error("writing to", &err))
    }

    /// All keys and values of a table, sorted, as they are now.
    pub(crate) fn scan(&self, table: Table) -> impl Iterator<Item = io::Result<records::Item>> + '_ {
        self.records.scan(table).map(|item| item.map_err(|err| self.io_error("reading", &err)))
    }

    /// Reads a value of [`Table::Meta`].
    pub(crate) fn read<T: DeserializeOwned>(&self, kind: Kind, key: &[u8], what: &str) -> io::Result<Option<T>> {
        let bytes = self.records.get(Table::Meta, key).map_err(|err| self.io_error("reading", &err))?;
        bytes.map(|bytes| codec::decode(kind, &bytes).map_err(|err| self.damaged(what, &err))).transpose()
    }

    /// As [`Database::read`], with the errors of a start.
    pub(crate) fn read_start<T: DeserializeOwned>(&self, kind: Kind, key: &[u8], what: &str) -> Result<Option<T>, StartError> {
        self.read(kind, key, what).map_err(|err| self.start_error(what, &err))
    }

    pub(crate) fn start_error(&self, what: &str, err: &io::Error) -> StartError {
        match err.kind() {
            io::ErrorKind::StorageFull => StartError::DiskFull { path: self.dir.clone() },
            io::ErrorKind::InvalidData => StartError::Damaged { path: self.dir.clone(), what: what.to_owned(), because: err.to_string() },
            // The files may be whole: the disk did not do what was asked.
            kind => StartError::DataDir { path: self.dir.clone(), source: io::Error::new(kind, format!("{what}: {err}")) },
        }
    }

    pub(crate) fn damaged(&self, what: &str, because: &impl ToString) -> io::Error {
        let text = format!("{what} in {} is damaged: {}", self.dir.display(), because.to_string());
        io::Error::new(io::ErrorKind::InvalidData, text)
    }

    fn io_error(&self, doing: &str, err: &RecordsError) -> io::Error {
        let dir = self.dir.display();
        match err {
            RecordsError::Full => {
                io::Error::new(io::ErrorKind::StorageFull, format!("no space is left on the disk of {dir}; free some and restart the node"))
            }
            RecordsError::InUse => io::Error::other(format!("{doing} the database in {dir} failed: it is in use")),
            RecordsError::Failed(text) => {
                let kind = if text.contains("Corruption") { io::ErrorKind::InvalidData } else { io::ErrorKind::Other };
                io::Error::new(kind, format!("{doing} the database in {dir} failed: {text}"))
            }
        }
    }
}
