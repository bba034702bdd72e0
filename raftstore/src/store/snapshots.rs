//! When a snapshot is made: when the log since the last one is as long as that one, and has some entries.
//!
//! A snapshot writes the whole state, however little of it has changed. So a store never writes more for its snapshots than for its log,
//! and a start never has more of the log to apply than the state is long. Nodes differ a little in how many entries they wait for, so that
//! they do not all write at the same moment.

use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver;

use super::Core;

/// Pause between two looks at the length of the log.
const LOOK_PAUSE: Duration = Duration::from_millis(200);
/// Entries after which a snapshot is made however long the last one was: their places are kept in memory.
const ENTRIES_MAX: u64 = 2_000_000;
/// Steps in which the nodes of a cluster differ, and into how many parts the number of entries is divided.
const STEPS: u64 = 7;
const STEP_PARTS: u64 = 16;

/// What decides.
#[derive(Debug, Clone, Copy)]
struct Growth {
    /// Entries and bytes in the log behind the last snapshot.
    entries: u64,
    bytes: u64,
    /// Bytes of the last snapshot.
    last_snapshot: u64,
}

impl Growth {
    fn asks_for_one(self, entries_min: u64) -> bool {
        self.entries >= entries_min && (self.bytes >= self.last_snapshot || self.entries >= ENTRIES_MAX.max(entries_min))
    }
}

/// How many entries this node waits for.
fn entries_min(limit: u64, node: u64) -> u64 {
    limit.saturating_add(limit / STEP_PARTS * (node % STEPS))
}

impl Core {
    /// Makes snapshots until the node stops.
    pub(super) async fn make_snapshots(self: Arc<Self>) {
        let entries_min = entries_min(self.config.limits.snapshot_entries, self.node_id);
        let newest = || self.raft.metrics().borrow_watched().snapshot.map_or(0, |log_id| log_id.index);
        let appended = || self.log.lock().as_ref().map(|log| log.appended());
        let mut last = newest();
        // Bytes that had been appended when the last snapshot was made.
        let mut then = self.log.lock().as_ref().map_or(0, |log| log.appended().saturating_sub(log.bytes_behind(last)));
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK_PAUSE) => {}
                () = self.halted.cancelled() => return,
            }
            let Some(now) = appended() else { return };
            if newest() > last {
                // Asked for by somebody else, or received.
                (last, then) = (newest(), now);
            }
            let entries = self.state.watch_applied().borrow().index().saturating_sub(last);
            let growth = Growth { entries, bytes: now.saturating_sub(then), last_snapshot: self.state.snapshot_bytes() };
            if !growth.asks_for_one(entries_min) {
                continue;
            }
            let mut metrics = self.raft.metrics();
            if self.raft.trigger().snapshot().await.is_err() {
                return;
            }
            let before = last;
            while newest() <= before {
                tokio::select! {
                    changed = metrics.changed() => if changed.is_err() { return },
                    () = self.halted.cancelled() => return,
                }
            }
            (last, then) = (newest(), now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_made_when_the_log_is_as_long_as_the_last_one() {
        let asks = |entries, bytes, last_snapshot| Growth { entries, bytes, last_snapshot }.asks_for_one(1000);
        assert!(asks(1000, 1, 0));
        assert!(!asks(999, u64::MAX, 0));
        assert!(!asks(50_000, 1 << 20, 2 << 20));
        assert!(asks(50_000, 2 << 20, 2 << 20));
        assert!(asks(ENTRIES_MAX, 1, 2 << 20));
    }

    #[test]
    fn neighbours_wait_for_different_numbers_of_entries() {
        let waits: Vec<u64> = (1..=5).map(|node| entries_min(50_000, node)).collect();
        assert!(waits.windows(2).all(|pair| pair[1] > pair[0]) && waits[4] < 100_000, "{waits:?}");
        assert_eq!(entries_min(10, 3), 10, "a test's number stays what it says");
    }
}
