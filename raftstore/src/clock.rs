//! Log time: milliseconds that the cluster has been up, stamped by the leader into every entry.
//!
//! It is no wall clock. A new leader goes on from the newest time in its log and adds its own monotonic time since it took over, so that
//! time never goes back, a wrong wall clock has no influence, and time without a leader does not count against anybody's timeout.

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::types::LeaderId;

/// The log clock of a node.
#[derive(Debug)]
pub(crate) struct LogClock {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// The newest time seen in the log, or stamped.
    newest_ms: u64,
    /// Our leadership, with its first time and when it began.
    leading: Option<(LeaderId, u64, Instant)>,
}

impl LogClock {
    pub(crate) fn new() -> Self {
        Self { inner: Mutex::new(Inner { newest_ms: 0, leading: None }) }
    }

    /// Takes note of a time in the log.
    pub(crate) fn observe(&self, time_ms: u64) {
        let mut inner = self.inner.lock();
        inner.newest_ms = inner.newest_ms.max(time_ms);
    }

    /// Begins a leadership, unless it has begun already.
    pub(crate) fn lead(&self, leader: LeaderId, now: Instant) {
        let mut inner = self.inner.lock();
        if inner.leading.is_none_or(|(leading, _, _)| leading != leader) {
            inner.leading = Some((leader, inner.newest_ms, now));
        }
    }

    /// Stamps an entry of this leadership.
    pub(crate) fn stamp(&self, leader: LeaderId, now: Instant) -> u64 {
        self.lead(leader, now);
        let mut inner = self.inner.lock();
        let (_, base_ms, since) = inner.leading.expect("set by lead() above and never cleared");
        let elapsed_ms = u64::try_from(now.saturating_duration_since(since).as_millis()).unwrap_or(u64::MAX);
        inner.newest_ms = inner.newest_ms.max(base_ms.saturating_add(elapsed_ms));
        inner.newest_ms
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn time_goes_on_from_the_log_and_never_back() {
        let (clock, start) = (LogClock::new(), Instant::now());
        clock.observe(5_000);
        let first = LeaderId { term: 1, node_id: 1 };
        assert_eq!(clock.stamp(first, start), 5_000);
        assert_eq!(clock.stamp(first, start + Duration::from_millis(70)), 5_070);
        assert_eq!(clock.stamp(first, start), 5_070);
        // Another node led for a while and its clock was ahead.
        clock.observe(9_000);
        let again = LeaderId { term: 3, node_id: 1 };
        assert_eq!(clock.stamp(again, start + Duration::from_secs(60)), 9_000);
        assert_eq!(clock.stamp(again, start + Duration::from_secs(61)), 10_000);
    }
}
