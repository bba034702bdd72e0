//! A node's own lease: asked at every I/O, so it is one clock read and one atomic load.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use persistence_model::Incarnation;
use raftstore::environment::Clock;
use tokio::sync::watch;
use tokio::time::Instant;

/// This node's life, as it knows it. For waiting and display; each I/O asks [`crate::Store::lease_valid`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Life {
    /// The present incarnation; `None` before the first one and between two.
    pub incarnation: Option<Incarnation>,
    /// It has got its lease at least once.
    pub serving: bool,
}

/// The lease that this node holds.
pub(crate) struct Holder {
    clock: Clock,
    start: Instant,
    /// Nanoseconds after `start`; 0: no lease.
    until_ns: AtomicU64,
    /// 0: none.
    incarnation: AtomicU64,
    /// Held by whoever changes the two above.
    turn: Mutex<()>,
    life: watch::Sender<Life>,
}

impl Holder {
    pub(crate) fn new(clock: Clock) -> Self {
        Self {
            start: clock.now(),
            clock,
            until_ns: AtomicU64::new(0),
            incarnation: AtomicU64::new(0),
            turn: Mutex::new(()),
            life: watch::Sender::new(Life::default()),
        }
    }

    /// Says whether the node may answer clients now.
    pub(crate) fn valid(&self) -> bool {
        self.valid_at(self.clock.now())
    }

    fn valid_at(&self, now: Instant) -> bool {
        self.nanos(now) < self.until_ns.load(Ordering::Acquire)
    }

    pub(crate) fn incarnation(&self) -> Option<Incarnation> {
        Some(self.incarnation.load(Ordering::Acquire)).filter(|&incarnation| incarnation != 0).map(Incarnation)
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Life> {
        self.life.subscribe()
    }

    /// Begins a life, without a lease yet.
    pub(crate) fn begin(&self, incarnation: Incarnation) {
        let _turn = self.turn.lock();
        self.until_ns.store(0, Ordering::Release);
        self.incarnation.store(incarnation.0, Ordering::Release);
        self.life.send_replace(Life { incarnation: Some(incarnation), serving: false });
    }

    /// Takes a renewal that was asked for at `sent`. Void when that life is over.
    pub(crate) fn extend(&self, incarnation: Incarnation, sent: Instant, lease: Duration) {
        let _turn = self.turn.lock();
        if self.incarnation() != Some(incarnation) {
            return;
        }
        let until = self.nanos(sent + lease);
        self.until_ns.fetch_max(until, Ordering::AcqRel);
        let life = Life { incarnation: Some(incarnation), serving: true };
        self.life.send_if_modified(|old| std::mem::replace(old, life) != life);
    }

    /// Ends this life, if it is the present one.
    pub(crate) fn revoke(&self, incarnation: Incarnation) {
        if self.incarnation() == Some(incarnation) {
            self.end();
        }
    }

    /// Ends whatever life there is.
    pub(crate) fn end(&self) {
        let _turn = self.turn.lock();
        self.until_ns.store(0, Ordering::Release);
        self.incarnation.store(0, Ordering::Release);
        self.life.send_if_modified(|old| std::mem::take(old) != Life::default());
    }

    fn nanos(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.start).as_nanos()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(2);

    #[test]
    fn runs_from_the_question_and_never_back() {
        let holder = Holder::new(Clock::default());
        let sent = Instant::now();
        assert!(!holder.valid_at(sent));
        holder.begin(Incarnation(1));
        assert!(!holder.valid_at(sent));
        holder.extend(Incarnation(1), sent, LEASE);
        assert!(holder.valid_at(sent + LEASE - Duration::from_millis(1)));
        assert!(!holder.valid_at(sent + LEASE));
        // An older answer that comes later takes nothing away.
        holder.extend(Incarnation(1), sent - Duration::from_millis(1), LEASE);
        assert!(holder.valid_at(sent + LEASE - Duration::from_millis(1)));
    }

    #[test]
    fn a_life_that_is_over_gets_nothing() {
        let holder = Holder::new(Clock::default());
        let sent = Instant::now();
        holder.begin(Incarnation(1));
        holder.extend(Incarnation(1), sent, LEASE);
        holder.revoke(Incarnation(7));
        assert!(holder.valid_at(sent));
        holder.revoke(Incarnation(1));
        assert!(!holder.valid_at(sent));
        holder.extend(Incarnation(1), sent, LEASE);
        assert!(!holder.valid_at(sent));
        holder.begin(Incarnation(2));
        holder.extend(Incarnation(1), sent, LEASE);
        assert!(!holder.valid_at(sent));
        assert_eq!(*holder.watch().borrow(), Life { incarnation: Some(Incarnation(2)), serving: false });
    }
}
