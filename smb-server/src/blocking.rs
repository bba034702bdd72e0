//! Runs a blocking backend call where it does not hold up other connections.
//!
//! Making way for a call that takes ten microseconds costs more than the call. So each place in the program that makes such calls remembers
//! how long they take on the average: while that is less than making way costs, they run where they are. A single long one is no reason yet,
//! because on a busy machine that is mostly a thread that had to wait for a processor. One of the runtime's workers is always kept free of such
//! calls: when all others run one, the next makes way, so that a file system that hangs never holds up everybody.

use std::{
    panic::Location,
    sync::atomic::{AtomicU32, AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use tokio::runtime::{Handle, RuntimeFlavor};

/// Where calls take longer than this on the average, they make way.
const QUICK_MAX: Duration = Duration::from_micros(100);
/// Places that are told apart; two that share an entry share their caution.
const PLACES: usize = 256;

/// Per place: how long calls take there.
static TIMES: [Average; PLACES] = [const { Average::new() }; PLACES];
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
    let times = &TIMES[place(Location::caller())];
    let is_quick = times.get() <= QUICK_MAX;
    let started = Instant::now();
    let result = match is_quick.then(|| Claim::take(handle.metrics().num_workers().saturating_sub(1))).flatten() {
        Some(_claim) => work(),
        None => tokio::task::block_in_place(work),
    };
    times.add(started.elapsed());
    result
}

/// The average of times, of which the latest ones count most. Two that come at once may count as one.
struct Average {
    /// In sixteenths of a microsecond.
    sixteenths: AtomicU32,
}

impl Average {
    const fn new() -> Self {
        Self { sixteenths: AtomicU32::new(0) }
    }

    fn get(&self) -> Duration {
        Duration::from_micros(u64::from(self.sixteenths.load(Ordering::Relaxed) / 16))
    }

    fn add(&self, time: Duration) {
        let before = self.sixteenths.load(Ordering::Relaxed);
        let micros = u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
        // A sixteenth of the difference, in sixteenths.
        self.sixteenths.store((before - before / 16).saturating_add(micros), Ordering::Relaxed);
    }
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
    fn a_place_is_slow_by_its_average() {
        let (micros, times) = (Duration::from_micros, Average::new());
        let calls = |time, count| (0..count).for_each(|_| times.add(time));
        calls(micros(20), 100);
        calls(micros(900), 1);
        assert!(times.get() <= QUICK_MAX, "one that had to wait for a processor: {:?}", times.get());
        calls(micros(900), 3);
        assert!(times.get() > QUICK_MAX, "several: {:?}", times.get());
        calls(micros(20), 100);
        assert!(times.get() <= QUICK_MAX, "{:?}", times.get());
        calls(Duration::from_secs(10_000), 1);
        assert!(times.get() > Duration::from_secs(60), "one that hung");
        calls(Duration::from_secs(10_000), 50);
        calls(micros(20), 300);
        assert!(times.get() <= QUICK_MAX, "hangs are forgotten: {:?}", times.get());
    }

    #[test]
    fn the_number_of_calls_that_do_not_make_way_is_limited() {
        let (first, second) = (Claim::take(2), Claim::take(2));
        assert!(first.is_some() && second.is_some());
        assert!(Claim::take(2).is_none());
        drop(first);
        assert!(Claim::take(2).is_some());
    }
}
