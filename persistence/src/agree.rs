//! The leader raises the format level when every member knows a higher one; every node heeds what was agreed on.

use std::sync::Arc;
use std::time::Duration;

use persistence_model::Outcome;

use crate::accord::{Accord, Change, LEVEL_ACCORD};
use crate::entry::Entry;
use crate::error::StoreError;
use crate::store::Inner;

/// Pause between two looks at what the members know.
const LOOK_PAUSE: Duration = Duration::from_millis(500);
/// Longest wait for an agreement.
const AGREE_MAX: Duration = Duration::from_secs(10);

impl Inner {
    /// Follows the accord, and adds to it while this node leads.
    pub(crate) async fn agree(self: Arc<Self>) {
        let stop = self.stop.clone();
        stop.run_until_cancelled(async {
            let mut accord = self.engine.watch_accord();
            loop {
                let present = accord.borrow_and_update().clone();
                self.heed_accord(&present);
                let higher = self.common_level().filter(|level| *level > present.level);
                if let Some(level) = higher
                    && self.propose_accord(Change::Level(level)).await.is_ok()
                {
                    tracing::info!(level, "the cluster has agreed on a format level");
                    continue;
                }
                tokio::select! {
                    changed = accord.changed() => if changed.is_err() { return },
                    () = tokio::time::sleep(LOOK_PAUSE) => {}
                }
            }
        })
        .await;
    }

    /// Turns away who cannot, or may not, take part any more.
    pub(crate) fn heed_accord(&self, accord: &Accord) {
        self.raft().require_version(accord.level);
        self.raft().turn_away(accord.removed.clone());
    }

    /// The highest level that every member is known to know; `None` unless this node leads and has heard them all.
    fn common_level(&self) -> Option<u16> {
        let status = self.raft().status();
        if status.leader.is_none_or(|leader| leader.node_id != self.node.0) || !status.members.contains_key(&self.node.0) {
            return None;
        }
        status.members.values().map(|member| member.newest_version).min().flatten()
    }

    /// Has the nodes agree on a change.
    pub(crate) async fn propose_accord(self: &Arc<Self>, change: Change) -> Result<(), StoreError> {
        let mut accord = self.engine.accord();
        if accord.level < LEVEL_ACCORD && !matches!(change, Change::Level(_)) {
            return Err(too_low(accord.level, LEVEL_ACCORD));
        }
        // The same answer as everywhere later, but with its reason.
        accord.apply(&change).map_err(|because| StoreError::Refused(because.to_owned()))?;
        match self.propose(Entry::Accord(change), AGREE_MAX).await? {
            Outcome::Done => Ok(()),
            _ => Err(StoreError::Refused("the nodes agreed on something else meanwhile; look at the status and try again".to_owned())),
        }
    }

    /// Refuses what a member of the cluster would not understand in its log.
    pub(crate) fn check_level(&self, entry: &Entry) -> Result<(), StoreError> {
        let (Entry::Plain(command) | Entry::Guarded { command, .. }) = entry else { return Ok(()) };
        let accord = self.engine.accord();
        accord.allows(command).map_err(|needed| too_low(accord.level, needed))
    }

    /// Whether the accord can be added to.
    pub(crate) fn has_accord(&self) -> bool {
        self.engine.accord().level >= LEVEL_ACCORD
    }
}

fn too_low(level: u16, needed: u16) -> StoreError {
    StoreError::Refused(format!(
        "this needs format level {needed}, and the cluster is at format level {level} until every member runs a version that knows more; \
         `holdfast status` says who does not"
    ))
}
