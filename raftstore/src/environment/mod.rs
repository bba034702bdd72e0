//! What a store gets from outside: disk, network, clock, random numbers, and whether it may use threads. A simulation brings its own.
//!
//! Nothing else in this crate touches files, sockets, threads, wall clocks or blocking calls by itself.

pub mod clock;
pub mod disk;
pub mod net;
pub mod random;
pub mod runtime;
pub mod simulated_disk;

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use parking_lot::Mutex;

pub use clock::Clock;
pub use disk::{Disk, DiskFile, OpenFile, SystemDisk};
pub use net::{Network, SystemNetwork};
pub use random::Random;
pub use simulated_disk::SimulatedDisk;

use crate::faults::{Faults, Passed, Point};

/// Where a store lives.
#[derive(Debug, Clone)]
pub struct Environment {
    /// Where it keeps its files.
    pub disk: Arc<dyn Disk>,
    /// How it reaches other nodes.
    pub network: Arc<dyn Network>,
    /// Its clock.
    pub clock: Clock,
    /// Where ids come from that must differ and need not be secret; the operating system's randomness when `None`.
    pub random: Option<Arc<Mutex<Random>>>,
    /// One thread does everything, and one seed decides everything: no thread of its own, no blocking pool, and the state in memory
    /// instead of RocksDB.
    pub simulated: bool,
    /// Whose points are passed here; set when the store starts.
    pub(crate) watched: Option<(Faults, u64)>,
}

impl Default for Environment {
    fn default() -> Self {
        Self {
            disk: Arc::new(SystemDisk),
            network: Arc::new(SystemNetwork),
            clock: Clock::default(),
            random: None,
            simulated: false,
            watched: None,
        }
    }
}

impl Environment {
    /// A simulated one.
    #[must_use]
    pub fn simulated(disk: Arc<dyn Disk>, network: Arc<dyn Network>, clock: Clock, random: Random) -> Self {
        Self { disk, network, clock, random: Some(Arc::new(Mutex::new(random))), simulated: true, watched: None }
    }

    /// Runs something that may take a while, away from the tasks of the runtime; in a simulation, here and now, and then waits as long
    /// as the disk says that it took.
    ///
    /// # Panics
    /// When `work` does.
    pub async fn block<R: Send + 'static>(&self, work: impl FnOnce() -> R + Send + 'static) -> R {
        if self.simulated {
            let result = work();
            let owed = self.disk.take_owed();
            if !owed.is_zero() {
                tokio::time::sleep(owed).await;
            }
            return result;
        }
        match tokio::task::spawn_blocking(work).await {
            Ok(result) => result,
            Err(err) => std::panic::resume_unwind(err.into_panic()),
        }
    }

    /// A number that no other id has.
    #[must_use]
    pub fn unique(&self) -> u128 {
        match &self.random {
            None => numbered(),
            Some(random) => {
                let mut random = random.lock();
                u128::from(random.number()) << 64 | u128::from(random.number())
            }
        }
    }

    /// Has the points of this environment belong to a node.
    pub(crate) fn watch(&mut self, faults: Faults, node: u64) {
        self.watched = Some((faults, node));
    }

    /// Passes a point where nothing can wait. An error is a fault that was asked for: handle it as one of the operation that follows.
    pub fn pass(&self, point: Point) -> io::Result<()> {
        match &self.watched {
            Some((faults, node)) => faults.pass(*node, point),
            None => Ok(()),
        }
    }

    /// Passes a point, and waits there if a fault says so.
    pub(crate) async fn reach(&self, point: Point) -> Passed {
        match &self.watched {
            Some((faults, node)) => faults.reach(*node, point).await,
            None => Passed::On,
        }
    }
}

/// Numbers from a place that this process drew at random: the system is asked once, not for every command.
fn numbered() -> u128 {
    static PLACE: LazyLock<u128> = LazyLock::new(|| uuid::Uuid::new_v4().as_u128());
    static NEXT: AtomicU64 = AtomicU64::new(0);
    PLACE.wrapping_add(u128::from(NEXT.fetch_add(1, Ordering::Relaxed)))
}
