//! How a call learns that its answer is not wanted any more as it would have been: cancelled, orphaned, or the server
//! goes away. It knows nothing of PDUs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use tokio::sync::Notify;

use crate::fault::Fault;

/// What has happened to a call that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interruption {
    /// The client asked for its end (co_cancel) and waits for an answer.
    Cancelled,
    /// The client has abandoned it (orphaned): an answer would find nobody.
    Orphaned,
    /// The server is shutting down, or the connection has ended.
    Closing,
}

impl Interruption {
    /// How a call is answered that ends because of it.
    pub fn fault(self) -> Fault {
        match self {
            Self::Cancelled => Fault::CANCELLED,
            Self::Orphaned | Self::Closing => Fault::SERVER_UNAVAILABLE,
        }
    }
}

/// What a call and its driver share. One piece of memory: calls wait by the ten thousand.
#[derive(Debug, Default)]
struct Shared {
    /// [`Interruption`] as a number, 0 for none.
    state: AtomicU8,
    is_own_matter: AtomicBool,
    changed: Notify,
}

impl Shared {
    fn now(&self) -> Option<Interruption> {
        match self.state.load(Ordering::Acquire) {
            0 => None,
            1 => Some(Interruption::Cancelled),
            2 => Some(Interruption::Orphaned),
            _ => Some(Interruption::Closing),
        }
    }

    /// The first interruption stays.
    fn interrupt(&self, interruption: Interruption) {
        let number = match interruption {
            Interruption::Cancelled => 1,
            Interruption::Orphaned => 2,
            Interruption::Closing => 3,
        };
        if self.state.compare_exchange(0, number, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            self.changed.notify_waiters();
        }
    }
}

/// A call's view of what happens to it. The first interruption stays.
#[derive(Clone, Debug)]
pub struct InterruptionWatch {
    shared: Arc<Shared>,
}

impl InterruptionWatch {
    /// What has happened so far.
    pub fn now(&self) -> Option<Interruption> {
        self.shared.now()
    }

    /// Waits until something happens. Safe to drop and call again.
    pub async fn wait(&mut self) -> Interruption {
        loop {
            let changed = self.shared.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(interruption) = self.shared.now() {
                return interruption;
            }
            changed.await;
        }
    }

    /// Says that the call itself ends in good time after an interruption, with an answer of its own. Otherwise its
    /// future is dropped and the interruption's fault is the answer. When the connection ends it is dropped anyway.
    pub fn answer_myself(&self) {
        self.shared.is_own_matter.store(true, Ordering::Relaxed);
    }

    /// Waits for an interruption that the runtime has to act upon.
    pub(crate) async fn wait_unless_own(&mut self) -> Interruption {
        let interruption = self.wait().await;
        if self.shared.is_own_matter.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        interruption
    }
}

/// The driver's end: one per call that is under way. Dropped, it tells the call that the connection has ended.
#[derive(Debug)]
pub struct Interrupter {
    shared: Arc<Shared>,
}

impl Interrupter {
    /// Both ends for a call that begins.
    #[allow(clippy::new_ret_no_self, reason = "one end is of no use without the other")]
    pub fn new() -> (Self, InterruptionWatch) {
        let shared = Arc::<Shared>::default();
        (Self { shared: Arc::clone(&shared) }, InterruptionWatch { shared })
    }

    /// Tells the call, unless it was told something before.
    pub fn interrupt(&self, interruption: Interruption) {
        self.shared.interrupt(interruption);
    }
}

impl Drop for Interrupter {
    fn drop(&mut self) {
        self.shared.interrupt(Interruption::Closing);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn the_first_interruption_stays_and_an_ended_connection_is_one() {
        let (interrupter, mut watch) = Interrupter::new();
        assert_eq!((watch.now(), watch.wait().now_or_never()), (None, None));
        interrupter.interrupt(Interruption::Cancelled);
        interrupter.interrupt(Interruption::Closing);
        assert_eq!(watch.wait().now_or_never(), Some(Interruption::Cancelled));
        assert_eq!(watch.clone().wait_unless_own().now_or_never(), Some(Interruption::Cancelled));
        watch.answer_myself();
        assert_eq!(watch.wait_unless_own().now_or_never(), None);
        let (interrupter, mut watch) = Interrupter::new();
        drop(interrupter);
        assert_eq!(watch.wait().now_or_never(), Some(Interruption::Closing));
    }
}
