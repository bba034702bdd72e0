//! Runs a blocking backend call where it does not hold up other connections.

use tokio::runtime::{Handle, RuntimeFlavor};

/// Runs `work` on this thread; on a multi-threaded runtime the other tasks of this worker move away first.
///
/// Call it around anything that may wait for a disk. On a current-thread runtime (tests, simulation) it simply runs.
pub fn blocking<R>(work: impl FnOnce() -> R) -> R {
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}
