//! What Raft runs on: tokio, with random numbers that a simulation can seed.
//!
//! A simulation runs in one thread, so its seed belongs to the thread: [`seed_thread`]. Nothing else is different.

use std::cell::Cell;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::time::Duration;

use futures::FutureExt;
use openraft::OptionalSend;
use openraft::rt::AsyncRuntime;
use openraft::rt::deterministic_rng::DeterministicRng;

use super::random::Random;

#[allow(deprecated, reason = "openraft wants its own crate for it to be named; this is the same type, at the pinned version")]
type TokioRuntime = openraft::impls::TokioRuntime;

thread_local! {
    static SEED: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Has everything random that Raft does in this thread follow from a seed; `None` makes it random again.
pub fn seed_thread(seed: Option<u64>) {
    SEED.set(seed);
}

/// The next seed of this thread.
fn next_seed() -> u64 {
    match SEED.get() {
        Some(seed) => {
            let mut random = Random::new(seed);
            let next = random.number();
            SEED.set(Some(random.number()));
            next
        }
        None => RandomState::new().hash_one(0),
    }
}

/// Tokio.
#[derive(Debug)]
pub struct Runtime(TokioRuntime);

type Seeded = DeterministicRng<TokioRuntime>;

impl AsyncRuntime for Runtime {
    type JoinError = <TokioRuntime as AsyncRuntime>::JoinError;
    type JoinHandle<T: OptionalSend + 'static> = <TokioRuntime as AsyncRuntime>::JoinHandle<T>;
    type Sleep = <TokioRuntime as AsyncRuntime>::Sleep;
    type Instant = <TokioRuntime as AsyncRuntime>::Instant;
    type TimeoutError = <TokioRuntime as AsyncRuntime>::TimeoutError;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = <TokioRuntime as AsyncRuntime>::Timeout<R, T>;
    type ThreadLocalRng = <Seeded as AsyncRuntime>::ThreadLocalRng;
    type Mpsc = <TokioRuntime as AsyncRuntime>::Mpsc;
    type Watch = <TokioRuntime as AsyncRuntime>::Watch;
    type Oneshot = <TokioRuntime as AsyncRuntime>::Oneshot;
    type Mutex<T: OptionalSend + 'static> = <TokioRuntime as AsyncRuntime>::Mutex<T>;

    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        TokioRuntime::spawn(future)
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        TokioRuntime::sleep(duration)
    }

    fn sleep_until(deadline: Self::Instant) -> Self::Sleep {
        TokioRuntime::sleep_until(deadline)
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(duration: Duration, future: F) -> Self::Timeout<R, F> {
        TokioRuntime::timeout(duration, future)
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(deadline: Self::Instant, future: F) -> Self::Timeout<R, F> {
        TokioRuntime::timeout_at(deadline, future)
    }

    fn is_panic(join_error: &Self::JoinError) -> bool {
        TokioRuntime::is_panic(join_error)
    }

    fn thread_rng() -> Self::ThreadLocalRng {
        let made = Seeded::scope(next_seed(), async { Seeded::thread_rng() }).now_or_never();
        made.expect("the future above waits for nothing")
    }

    fn new(threads: usize) -> Self {
        Self(TokioRuntime::new(threads))
    }

    fn block_on<F, T>(&mut self, future: F) -> T
    where
        F: Future<Output = T>,
    {
        self.0.block_on(future)
    }

    fn spawn_blocking<F, T>(f: F) -> impl Future<Output = Result<T, io::Error>> + Send
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        TokioRuntime::spawn_blocking(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_what_raft_draws() {
        let draw = |seed| {
            seed_thread(seed);
            (0..10).map(|_| next_seed()).collect::<Vec<_>>()
        };
        assert_eq!(draw(Some(3)), draw(Some(3)));
        assert_ne!(draw(Some(3)), draw(Some(4)));
        assert_ne!(draw(None), draw(None));
    }
}
