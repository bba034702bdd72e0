//! Backups of the records, and a new cluster that begins with one.
//!
//! The file is raftstore's; this room knows which entries are records, and what of them a new cluster may go on with.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;

use persistence_model::{LeftBehind, LogTime, NodeId, Rebirth, State};
use raftstore::backup::{BackupError, BackupHead, BackupReader, BackupSize};
use raftstore::{Origin, RaftStore};

use crate::config::StoreConfig;
use crate::engine::{Engine, is_engine_key};
use crate::error::OpenError;
use crate::lease::holder::Holder;
use crate::store::Store;

/// A backup that was read to its end and found good.
pub struct Backup {
    /// What it says of itself.
    pub head: BackupHead,
    /// How much it holds.
    pub size: BackupSize,
    /// Its records.
    pub state: State,
}

impl Backup {
    /// Reads a backup and checks all of it: bytes, order, records, and that the records agree with each other. `progress` is told how far it is.
    ///
    /// # Errors
    /// It is no backup, a newer one, cut off or damaged.
    pub fn read(input: impl Read, mut progress: impl FnMut(&BackupHead, BackupSize)) -> Result<Self, BackupError> {
        let mut reader = BackupReader::new(input)?;
        let mut records = Vec::new();
        while let Some(piece) = reader.piece()? {
            records.extend(piece.into_iter().filter(|(key, _)| !is_engine_key(key)));
            progress(reader.head(), reader.size());
        }
        let senseless =
            |because: String| BackupError::Refused(format!("its records make no sense: {because}; was it made by a newer program?"));
        let state = State::load(records).map_err(|error| senseless(error.to_string()))?;
        state.check_invariants().map_err(senseless)?;
        Ok(Self { head: reader.head().clone(), size: reader.size(), state })
    }
}

impl Store {
    /// Writes a backup that holds everything that was acknowledged anywhere before the call. Clients are served meanwhile.
    ///
    /// # Errors
    /// No leader, the disk, or `out`.
    pub async fn backup<W: Write + Send + 'static>(
        &self,
        notes: BTreeMap<String, String>,
        out: W,
    ) -> Result<(W, BackupHead, BackupSize), BackupError> {
        let count = |state: &State| {
            let small = state.nodes().count() + state.shares().count() + state.users().count() + state.pending_deletes().count();
            small + state.session_count() + state.open_count() + state.file_count()
        };
        let entries_about = u64::try_from(self.with_state(count)).unwrap_or(u64::MAX);
        self.inner.raft().export(entries_about, notes, out).await
    }
}

/// Makes `records` the records of the first node of a new cluster, which begins with a backup. The node does not serve yet.
///
/// # Errors
/// The directory is not empty, or the disk.
pub async fn restore(config: &StoreConfig, records: &Path, backup: Backup, rebirth: &Rebirth) -> Result<LeftBehind, OpenError> {
    let refused = |because: String| OpenError::Config(format!("the backup cannot be the beginning of a cluster: {because}"));
    let now = LogTime(backup.head.time_ms);
    let (state, left) = backup.state.reborn(now, rebirth).map_err(refused)?;
    let mut raft = raftstore::Config::new(config.identity.clone(), records, config.listen);
    raft.advertise.clone_from(&config.advertise);
    raft.limits = config.limits;
    raft.environment = config.environment.clone();
    let clock = config.environment.clock.clone();
    let engine = Arc::new(Engine::new(NodeId(config.identity.node_id), clock.clone(), Arc::new(Holder::new(clock))));
    let store = RaftStore::start(raft, engine.clone()).await?;
    let origin = Origin { index: backup.head.index, time_ms: backup.head.time_ms };
    let begun = store.begin_from(origin, state.all_records()).await;
    store.shutdown().await;
    begun.map_err(|error| refused(error.to_string()))?;
    assert!(engine.with_state(|loaded| *loaded == state), "the node holds what it was given");
    Ok(left)
}
