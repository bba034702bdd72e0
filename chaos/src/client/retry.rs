//! How often and how long a client asks again.

use std::time::{Duration, Instant};

use super::error::{ClientError, Remedy};

/// The pace of further tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryPolicy {
    /// Short waits that grow to a quarter of a second: shows how soon the cluster is ready, not how patient the client is.
    Eager,
    /// Three tries in quick succession, then one every five seconds.
    // windows: MS-SMB2 3.2.7.1 and its notes; what "quick" means is not written anywhere.
    Windows,
}

impl RetryPolicy {
    /// The wait before try number `attempt` (1 is the first repetition).
    #[must_use]
    pub fn wait(self, attempt: u32) -> Duration {
        match (self, attempt) {
            (_, 0) => Duration::ZERO,
            (Self::Eager, n) => Duration::from_millis(10u64.saturating_mul(1 << n.min(5)).min(250)),
            (Self::Windows, 1..=3) => Duration::from_millis(100),
            (Self::Windows, _) => Duration::from_secs(5),
        }
    }
}

/// The tries of one operation.
#[derive(Debug)]
pub struct Attempts {
    policy: RetryPolicy,
    started: Instant,
    deadline: Instant,
    count: u32,
}

impl Attempts {
    /// None so far; they end `patience` from now.
    #[must_use]
    pub fn new(policy: RetryPolicy, patience: Duration) -> Self {
        let started = Instant::now();
        Self { policy, started, deadline: started + patience, count: 0 }
    }

    /// Tells whether an earlier try may have been carried out.
    #[must_use]
    pub const fn is_repeated(&self) -> bool {
        self.count > 0
    }

    /// Takes a failure: waits and returns if another try makes sense, gives the error back if not.
    pub async fn failed(&mut self, error: ClientError) -> Result<Remedy, ClientError> {
        let remedy = error.remedy();
        if remedy == Remedy::GiveUp {
            return Err(error);
        }
        if Instant::now() >= self.deadline {
            return Err(ClientError::Patience { after_ms: self.started.elapsed().as_millis(), last: error.to_string() });
        }
        self.count += 1;
        // A lost connection is repaired first, and the repair has waits of its own.
        if remedy == Remedy::AskAgain {
            tokio::time::sleep(self.policy.wait(self.count)).await;
        }
        Ok(remedy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eager_waits_grow_to_a_bound_and_windows_waits_are_five_seconds() {
        let eager: Vec<u128> = (0..8).map(|n| RetryPolicy::Eager.wait(n).as_millis()).collect();
        assert_eq!(eager, [0, 20, 40, 80, 160, 250, 250, 250]);
        assert_eq!(RetryPolicy::Windows.wait(3), Duration::from_millis(100));
        assert_eq!(RetryPolicy::Windows.wait(4), Duration::from_secs(5));
    }
}
