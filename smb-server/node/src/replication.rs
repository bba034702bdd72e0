//! The thread on which the records are replicated.
//!
//! Replication has a thread of its own: a file system that hangs under a share, or a burst of clients, cannot hold up a heartbeat and cost the
//! cluster an election. One thread is enough for it, and a command that meets only tasks of its own thread on its way wakes no other.
//! Knows nothing of what is replicated.

use persistence::{Store, StoreConfig};
use tokio::sync::oneshot;

use crate::failure::{Failure, UNAVAILABLE};

/// Runs what a store starts, until it is dropped.
#[derive(Debug)]
pub struct Replication {
    handle: tokio::runtime::Handle,
    /// Dropped to end the thread.
    _running: oneshot::Sender<()>,
}

impl Replication {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start() -> Result<Self, Failure> {
        let failed = |e: std::io::Error| Failure::new(UNAVAILABLE, format!("the thread of the replication cannot be started: {e}"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let handle = runtime.handle().clone();
        let (running, ended) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new().name("replication".to_owned()).spawn(move || {
            // Nothing is ever sent: the sender's drop ends the thread.
            let _ = runtime.block_on(ended);
            runtime.shutdown_background();
        });
        thread.map_err(failed)?;
        Ok(Self { handle, _running: running })
    }

    /// Opens a store on the thread.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub async fn open(&self, config: StoreConfig) -> Result<Store, Failure> {
        let opened = self.handle.spawn(Store::open(config)).await;
        Ok(opened.map_err(|e| Failure::new(UNAVAILABLE, format!("the replication ended while it started: {e}")))??)
    }
}
