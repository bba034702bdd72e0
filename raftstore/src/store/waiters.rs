//! Proposals of this node that wait for their own apply.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::machine::Applied;

/// What became of a proposal.
#[derive(Debug)]
pub(crate) enum Fate {
    /// It was applied here.
    Applied(Applied),
    /// A snapshot replaced the entries among which it may have been.
    Lost,
}

/// The waiting proposals, by operation.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    waiting: Mutex<BTreeMap<u128, oneshot::Sender<Fate>>>,
}

/// A place among the waiters; leaving it is dropping it.
#[derive(Debug)]
pub(crate) struct Waiter {
    waiters: Arc<Waiters>,
    operation: u128,
    pub(crate) fate: oneshot::Receiver<Fate>,
}

impl Waiters {
    pub(crate) fn register(self: &Arc<Self>, operation: u128) -> Waiter {
        let (tell, fate) = oneshot::channel();
        self.waiting.lock().insert(operation, tell);
        Waiter { waiters: self.clone(), operation, fate }
    }

    pub(crate) fn waits(&self, operation: u128) -> bool {
        self.waiting.lock().contains_key(&operation)
    }

    pub(crate) fn resolve(&self, operation: u128, applied: Applied) {
        if let Some(tell) = self.waiting.lock().remove(&operation) {
            // The proposal may have given up in this moment.
            drop(tell.send(Fate::Applied(applied)));
        }
    }

    pub(crate) fn lose_all(&self) {
        let waiting = std::mem::take(&mut *self.waiting.lock());
        for tell in waiting.into_values() {
            drop(tell.send(Fate::Lost));
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.waiters.waiting.lock().remove(&self.operation);
    }
}
