//! Time and randomness as seen by the server; tests and simulations bring their own.
//!
//! Knows nothing of the cluster's time (`LogTime`), which the store stamps.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use smb_types::FileTime;

/// Gives the current time.
pub trait Clock: Send + Sync + 'static {
    /// Wall-clock time, for time stamps that clients see.
    fn now(&self) -> FileTime;
    /// Monotonic time, for measuring.
    fn instant(&self) -> Instant;
}

/// The operating system's clock.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> FileTime {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        FileTime::from_unix(i64::try_from(since.as_secs()).unwrap_or(i64::MAX), since.subsec_nanos())
    }

    fn instant(&self) -> Instant {
        Instant::now()
    }
}

/// Gives `N` random bytes fit for keys, salts and challenges.
#[must_use]
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // The generator is seeded at first use by the operating system; failing there leaves no safe way to go on.
    aws_lc_rs::rand::fill(&mut bytes).expect("the system's random generator works");
    bytes
}
