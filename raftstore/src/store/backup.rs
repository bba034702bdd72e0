//! Backups of a running store, and a new cluster that begins with one.
//!
//! A backup is written from one view of the database while commands go on: nobody waits for it. A new cluster begins with it as a follower
//! begins with its leader's snapshot, and then leads itself.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use openraft::Membership;
use tokio::time::timeout;

use super::RaftStore;
use crate::backup::{BackupEntry, BackupError, BackupHead, BackupSize, BackupWriter};
use crate::storage::snapshot::{Head, SnapshotWriter};
use crate::types::{LeaderId, LogId, Node, Snapshot, SnapshotMeta, StoredMembership, Vote};

/// Longest wait for the state to be what everybody agreed on a moment ago.
const BARRIER_MAX: Duration = Duration::from_secs(10);
/// Longest wait until a new cluster of one leads itself.
const LEAD_MAX: Duration = Duration::from_secs(30);

/// Where a new cluster goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// The last log entry of the backup.
    pub index: u64,
    /// Its log time.
    pub time_ms: u64,
}

impl RaftStore {
    /// Writes a backup that holds everything that was acknowledged anywhere before the call. Commands go on meanwhile.
    ///
    /// # Errors
    /// No leader, the disk, or `out`.
    pub async fn export<W: Write + Send + 'static>(
        &self,
        entries_about: u64,
        notes: BTreeMap<String, String>,
        out: W,
    ) -> Result<(W, BackupHead, BackupSize), BackupError> {
        let at_least = self.read_barrier(BARRIER_MAX).await.map_err(|err| BackupError::Store(err.to_string()))?;
        self.core.state.settle().await.map_err(|err| BackupError::Store(err.to_string()))?;
        let (database, cluster, node_id) = (self.core.state.database().clone(), self.cluster(), self.node_id());
        let write = move || {
            let view = database.view().map_err(|err| BackupError::Store(err.to_string()))?;
            if view.index() < at_least {
                return Err(BackupError::Store(format!("it is at entry {} where {at_least} was applied", view.index())));
            }
            let head = BackupHead {
                cluster,
                node_id,
                index: view.index(),
                term: view.term(),
                time_ms: view.time_ms(),
                made_unix_s: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
                members: view.members(),
                entries_about,
                notes,
            };
            let mut writer = BackupWriter::new(out, &head)?;
            view.for_each(|key, value| writer.put(key, value))?;
            let (out, size) = writer.finish()?;
            Ok((out, head, size))
        };
        self.core.config.environment.block(write).await
    }

    /// Makes this node the first of a new cluster that begins with these entries, sorted by key, instead of [`RaftStore::bootstrap`].
    ///
    /// # Errors
    /// The node belongs to a cluster already, or the disk.
    pub async fn begin_from(&self, origin: Origin, entries: Vec<BackupEntry>) -> Result<(), BackupError> {
        let core = &self.core;
        let stopped = |err: &dyn ToString| BackupError::Refused(err.to_string());
        if core.raft.is_initialized().await.map_err(|err| stopped(&err))? {
            return Err(BackupError::Refused("it belongs to a cluster already".to_owned()));
        }
        // A leadership that never was: the node's own begins with the next term.
        let nobody = LeaderId { term: 1, node_id: 0 };
        let log_id = LogId { leader_id: nobody, index: origin.index.max(1) };
        let members = Membership::new(vec![BTreeSet::from([core.node_id])], BTreeMap::from([(core.node_id, Node::new(core.advertised()))]));
        let members = members.map_err(|err| stopped(&err))?;
        let meta = SnapshotMeta { last_log_id: Some(log_id), last_membership: StoredMembership::new(Some(log_id), members) };
        let head = Head { meta: meta.clone(), time_ms: origin.time_ms };
        let database = core.state.database().clone();
        let write = move || {
            let mut writer = SnapshotWriter::create(&database, &head)?;
            for (key, value) in &entries {
                writer.put(key, value)?;
            }
            writer.finish()
        };
        let snapshot = core.config.environment.block(write).await.map_err(BackupError::Write)?;
        let mut leader = core.leader.subscribe();
        let vote = Vote { leader_id: nobody, committed: true };
        core.raft.install_full_snapshot(vote, Snapshot { meta, snapshot }).await.map_err(|err| stopped(&err))?;
        let own = core.node_id;
        let leads = leader.wait_for(|leader| leader.is_some_and(|leader| leader.node_id == own));
        match timeout(LEAD_MAX, leads).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(err)) => Err(stopped(&err)),
            Err(_) => Err(BackupError::Refused("it did not become the leader of its new cluster in time".to_owned())),
        }
    }
}
