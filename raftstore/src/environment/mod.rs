//! What a store gets from outside: a disk, and whether it may use threads. A simulation brings its own.
//!
//! Nothing else in this crate touches files, threads or blocking calls by itself.

pub mod disk;
pub mod random;
pub mod simulated_disk;

use std::sync::Arc;

pub use disk::{Disk, DiskFile, OpenFile, SystemDisk};
pub use random::Random;
pub use simulated_disk::SimulatedDisk;

/// Where a store lives.
#[derive(Debug, Clone)]
pub struct Environment {
    /// Where it keeps its files.
    pub disk: Arc<dyn Disk>,
    /// One thread does everything, and one seed decides everything: no thread of its own, no blocking pool, and the state in memory
    /// instead of RocksDB.
    pub simulated: bool,
}

impl Default for Environment {
    fn default() -> Self {
        Self { disk: Arc::new(SystemDisk), simulated: false }
    }
}

impl Environment {
    /// Runs something that may take a while, away from the tasks of the runtime; in a simulation, here and now.
    ///
    /// # Panics
    /// When `work` does.
    pub async fn block<R: Send + 'static>(&self, work: impl FnOnce() -> R + Send + 'static) -> R {
        if self.simulated {
            return work();
        }
        match tokio::task::spawn_blocking(work).await {
            Ok(result) => result,
            Err(err) => std::panic::resume_unwind(err.into_panic()),
        }
    }
}
