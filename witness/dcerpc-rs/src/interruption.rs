//! How a call learns that its answer is not wanted any more as it would have been: cancelled, orphaned, or the server
//! goes away. It knows nothing of PDUs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

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

/// A call's view of what happens to it. The first interruption stays.
#[derive(Clone, Debug)]
pub struct InterruptionWatch {
    receiver: watch::Receiver<Option<Interruption>>,
    is_own_matter: Arc<AtomicBool>,
}

impl InterruptionWatch {
    /// What has happened so far.
    pub fn now(&self) -> Option<Interruption> {
        *self.receiver.borrow()
    }

    /// Waits until something happens. Safe to drop and call again.
    pub async fn wait(&mut self) -> Interruption {
        match self.receiver.wait_for(Option::is_some).await {
            Ok(interruption) => interruption.unwrap_or(Interruption::Closing),
            Err(_) => Interruption::Closing,
        }
    }

    /// Says that the call itself ends in good time after an interruption, with an answer of its own. Otherwise its
    /// future is dropped and the interruption's fault is the answer. When the connection ends it is dropped anyway.
    pub fn answer_myself(&self) {
        self.is_own_matter.store(true, Ordering::Relaxed);
    }

    /// Waits for an interruption that the runtime has to act upon.
    pub(crate) async fn wait_unless_own(&mut self) -> Interruption {
        let interruption = self.wait().await;
        if self.is_own_matter.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        interruption
    }
}

/// The driver's end: one per call that is under way.
#[derive(Debug)]
pub struct Interrupter {
    sender: watch::Sender<Option<Interruption>>,
}

impl Interrupter {
    /// Both ends for a call that begins.
    #[allow(clippy::new_ret_no_self, reason = "one end is of no use without the other")]
    pub fn new() -> (Self, InterruptionWatch) {
        let (sender, receiver) = watch::channel(None);
        (Self { sender }, InterruptionWatch { receiver, is_own_matter: Arc::default() })
    }

    /// Tells the call, unless it was told something before.
    pub fn interrupt(&self, interruption: Interruption) {
        self.sender.send_if_modified(|state| {
            let is_first = state.is_none();
            if is_first {
                *state = Some(interruption);
            }
            is_first
        });
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
