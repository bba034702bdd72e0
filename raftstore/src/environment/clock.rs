//! The clock of a node's machine. A simulated one may run fast or slow, and jump ahead as after the pause of a virtual machine.
//!
//! It is monotonic: it never goes back. Log time and node leases are measured with it; pauses and timeouts of waiting are not, because
//! nothing that must hold depends on them.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// A clock. Clones are the same clock.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    skewed: Option<Arc<Mutex<Skewed>>>,
}

#[derive(Debug)]
struct Skewed {
    /// The true time at which the clock was last set, and what it showed then.
    since: Instant,
    shown: Instant,
    rate_ppm: i64,
}

impl Skewed {
    fn read(&self, now: Instant) -> Instant {
        let elapsed = i128::try_from(now.saturating_duration_since(self.since).as_nanos()).unwrap_or(i128::MAX);
        let nanos = elapsed.saturating_add(elapsed.saturating_mul(i128::from(self.rate_ppm)) / 1_000_000);
        self.shown + Duration::from_nanos(u64::try_from(nanos.max(0)).unwrap_or(u64::MAX))
    }

    fn set(&mut self, now: Instant, ahead: Duration, rate_ppm: i64) {
        (self.shown, self.since, self.rate_ppm) = (self.read(now) + ahead, now, rate_ppm);
    }
}

impl Clock {
    /// A clock that can be set. It runs true at first.
    #[must_use]
    pub fn skewed() -> Self {
        let now = Instant::now();
        Self { skewed: Some(Arc::new(Mutex::new(Skewed { since: now, shown: now, rate_ppm: 0 }))) }
    }

    /// What the clock shows.
    #[must_use]
    pub fn now(&self) -> Instant {
        match &self.skewed {
            None => Instant::now(),
            Some(skewed) => skewed.lock().read(Instant::now()),
        }
    }

    /// Time shown since then.
    #[must_use]
    pub fn since(&self, then: Instant) -> Duration {
        self.now().saturating_duration_since(then)
    }

    /// Makes a clock that can be set run so many millionths faster (or slower, above -1,000,000).
    pub fn set_rate(&self, rate_ppm: i64) {
        assert!(rate_ppm > -1_000_000, "a clock does not run backwards");
        if let Some(skewed) = &self.skewed {
            skewed.lock().set(Instant::now(), Duration::ZERO, rate_ppm);
        }
    }

    /// Makes a clock that can be set jump ahead.
    pub fn jump(&self, ahead: Duration) {
        if let Some(skewed) = &self.skewed {
            let mut skewed = skewed.lock();
            let rate_ppm = skewed.rate_ppm;
            skewed.set(Instant::now(), ahead, rate_ppm);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn runs_fast_slow_and_jumps_but_never_back() {
        let clock = Clock::skewed();
        let start = clock.now();
        tokio::time::advance(SECOND).await;
        assert_eq!(clock.since(start), SECOND);
        clock.set_rate(100_000);
        tokio::time::advance(SECOND).await;
        assert_eq!(clock.since(start), Duration::from_millis(2100));
        clock.set_rate(-500_000);
        assert_eq!(clock.since(start), Duration::from_millis(2100));
        tokio::time::advance(SECOND).await;
        assert_eq!(clock.since(start), Duration::from_millis(2600));
        clock.jump(SECOND * 10);
        assert_eq!(clock.since(start), Duration::from_millis(12_600));
        tokio::time::advance(SECOND).await;
        assert_eq!(clock.since(start), Duration::from_millis(13_100));
    }

    #[tokio::test(start_paused = true)]
    async fn the_ordinary_clock_cannot_be_set() {
        let clock = Clock::default();
        let start = clock.now();
        clock.set_rate(500_000);
        clock.jump(SECOND);
        tokio::time::advance(SECOND).await;
        assert_eq!(clock.since(start), SECOND);
    }
}
