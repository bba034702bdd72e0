//! Memory that all connections of a server hold together for requests. A reservation gives its bytes back when it is
//! dropped. It knows nothing of what the bytes are.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many bytes are reserved.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    used: AtomicUsize,
}

impl Budget {
    #[cfg(test)]
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}

/// One request's part.
#[derive(Debug)]
pub(crate) struct Reservation {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Reservation {
    /// Nothing yet.
    pub(crate) fn new(budget: &Arc<Budget>) -> Self {
        Self { budget: Arc::clone(budget), bytes: 0 }
    }

    /// Takes more; false, and nothing taken, if all parts together would be more than `total_max`.
    pub(crate) fn grow(&mut self, bytes: usize, total_max: usize) -> bool {
        let fits = |used: usize| used.checked_add(bytes).filter(|used| *used <= total_max);
        let grown = self.budget.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok();
        if grown {
            self.bytes += bytes;
        }
        grown
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reservations_share_one_limit_and_give_back() {
        let budget = Arc::<Budget>::default();
        let mut first = Reservation::new(&budget);
        let mut second = Reservation::new(&budget);
        assert!(first.grow(60, 100) && !second.grow(41, 100) && second.grow(40, 100));
        assert!(!first.grow(usize::MAX, usize::MAX));
        drop(first);
        assert_eq!(budget.used(), 40);
        assert!(second.grow(60, 100));
        drop(second);
        assert_eq!(budget.used(), 0);
    }
}
