//! Runs a blocking backend call where it does not hold up other connections.
//!
//! Making way for a call that takes ten microseconds costs more than the call. So each place in the program that makes such calls is
//! remembered: while they return at once, they run where they are; after one that took long, the next ones make way first. Only half of the
//! runtime's workers may run such calls at the same time without making way, so that a file system that hangs holds up the others never.

use std::{
    panic::Location,
    sync::atomic::{AtomicU32, AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use tokio::runtime::{Handle, RuntimeFlavor};

/// A call that took longer than this was slow.
const QUICK_MAX: Duration = Duration::from_micros(200);
/// Calls that make way after a slow one.
const CAREFUL_CALLS: u32 = 256;
/// Places that are told apart; two that share an entry share their caution.
const PLACES: usize = 256;

/// Per place: calls that will still make way.
static CAREFUL: [AtomicU32; PLACES] = [const { AtomicU32::new(0) }; PLACES];
/// Calls that run now without having made way.
static IN_PLACE: AtomicUsize = AtomicUsize::new(0);

/// Runs `work` on this thread; on a multi-threaded runtime the other tasks of this worker move away first, unless `work` is known to be quick.
///
/// Call it around anything that may wait for a disk. On a current-thread runtime (tests, simulation) it simply runs.
#[track_caller]
pub fn blocking<R>(work: impl FnOnce() -> R) -> R {
    let Ok(handle) = Handle::try_current() else { return work() };
    if handle.runtime_flavor() != RuntimeFlavor::MultiThread {
        return work();
    }
    let careful = &CAREFUL[place(Location::caller())];
    let started = Instant::now();
    let left = careful.load(Ordering::Relaxed);
    let result = match (left == 0).then(|| Claim::take((handle.metrics().num_workers() / 2).max(1))).flatten() {
        Some(_claim) => work(),
        None => {
            careful.store(left.saturating_sub(1), Ordering::Relaxed);
            tokio::task::block_in_place(work)
        }
    };
    if started.elapsed() > QUICK_MAX {
        careful.store(CAREFUL_CALLS, Ordering::Relaxed);
    }
    result
}

fn place(caller: &Location<'_>) -> usize {
    let file = caller.file().as_ptr().addr();
    (file.wrapping_mul(31).wrapping_add(caller.line() as usize)) % PLACES
}

/// The right to run without making way.
struct Claim;

impl Claim {
    fn take(max: usize) -> Option<Self> {
        let running = IN_PLACE.fetch_add(1, Ordering::AcqRel);
        let claim = Self;
        // Over the limit, the drop gives it back.
        (running < max).then_some(claim)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        IN_PLACE.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_calls_that_do_not_make_way_is_limited() {
        let (first, second) = (Claim::take(2), Claim::take(2));
        assert!(first.is_some() && second.is_some());
        assert!(Claim::take(2).is_none());
        drop(first);
        assert!(Claim::take(2).is_some());
    }
}
