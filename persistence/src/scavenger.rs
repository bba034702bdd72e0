//! Timeouts: proposes a round of Expire when the records say that something is due. Only where authority is.

use std::sync::Arc;
use std::time::Duration;

use persistence_model::{Command, Outcome};

use crate::entry::Entry;
use crate::store::Inner;

/// Shortest time between two looks at the records.
const LOOK_PAUSE: Duration = Duration::from_millis(100);
/// Longest time between two looks; whatever comes up earlier changes the records, which wakes the scavenger.
const LOOK_MAX: Duration = Duration::from_secs(3600);
/// What a round deals with at most, so that others' commands come between two of them.
const AT_ONCE: u32 = 2_000;
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
                        if self.expire_some().await {
                            continue;
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

    /// One round. Says whether something was past its time: then more may be.
    async fn expire_some(self: &Arc<Self>) -> bool {
        let some = Command::ExpireSome { at_most: AT_ONCE };
        let round = if self.engine.accord().allows(&some).is_ok() { some } else { Command::Expire };
        match self.propose(Entry::Plain(round), ROUND_MAX).await {
            Ok(Outcome::Expired { opens, breaks }) => !opens.is_empty() || breaks > 0,
            Ok(outcome) => {
                tracing::debug!(?outcome, "a round of timeouts came to nothing");
                false
            }
            Err(error) => {
                tracing::debug!(%error, "a round of timeouts was not made");
                false
            }
        }
    }
}
