//! A limit per minute for log lines and records that unauthenticated peers can cause. Time is an
//! argument.

use std::time::{Duration, Instant};

const MINUTE: Duration = Duration::from_secs(60);

/// A limit per minute with a count of what exceeded it.
#[derive(Debug)]
pub struct PerMinute {
    max: u32,
    began: Option<Instant>,
    done: u32,
    left_out: u64,
}

impl PerMinute {
    /// Makes one with its limit.
    #[must_use]
    pub fn new(max: u32) -> Self {
        Self { max, began: None, done: 0, left_out: 0 }
    }

    /// `Some` if within the limit, with the number left out since the last `Some`.
    pub fn take(&mut self, now: Instant) -> Option<u64> {
        if self.began.is_none_or(|began| now.saturating_duration_since(began) >= MINUTE) {
            (self.began, self.done) = (Some(now), 0);
        }
        if self.done >= self.max {
            self.left_out += 1;
            return None;
        }
        self.done += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_is_counted_and_told_later() {
        let (mut pace, start) = (PerMinute::new(2), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!([pace.take(at(0)), pace.take(at(1)), pace.take(at(2)), pace.take(at(59))], [Some(0), Some(0), None, None]);
        assert_eq!([pace.take(at(60)), pace.take(at(61)), pace.take(at(62))], [Some(2), Some(0), None]);
        assert_eq!(pace.take(at(500)), Some(1));
    }
}
