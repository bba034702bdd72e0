//! Timeouts: proposes a round of Expire when the records say that something is due. Only where authority is.

use std::sync::Arc;
use std::time::Duration;

use persistence_model::Command;

use crate::entry::Entry;
use crate::store::Inner;

/// Shortest time between two looks at the records.
const LOOK_PAUSE: Duration = Duration::from_millis(100);
/// Longest time between two looks; whatever comes up earlier changes the records, which wakes the scavenger.
const LOOK_MAX: Duration = Duration::from_secs(3600);
/// Longest wait for one round.
const ROUND_MAX: Duration = Duration::from_secs(5);

impl Inner {
    /// Looks when something has changed or is due, never in between.
    pub(crate) async fn scavenge(self: Arc<Self>) {
        let stop = self.stop.clone();
        stop.run_until_cancelled(async {
            let mut authority = self.engine.watch_authority();
            let mut applied = self.engine.watch_applied();
            loop {
                let own = |present: &Option<crate::engine::Authority>| present.is_some_and(|present| present.node == self.node);
                if authority.wait_for(own).await.is_err() {
                    return;
                }
                applied.mark_unchanged();
                let due = self.engine.with_state(|state| state.next_expiry());
                let now = self.engine.log_time();
                let pause = match due {
                    Some(due) if due <= now => {
                        if let Err(error) = self.propose(Entry::Plain(Command::Expire), ROUND_MAX).await {
                            tracing::debug!(%error, "a round of timeouts was not made");
                        }
                        Duration::ZERO
                    }
                    Some(due) => Duration::from_millis(due.0 - now.0).min(LOOK_MAX),
                    None => LOOK_MAX,
                };
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    _ = applied.changed() => {}
                }
                tokio::time::sleep(LOOK_PAUSE).await;
            }
        })
        .await;
    }
}
