//! Counted places by key: how many opens a user has, how many watchers a caller has. Knows no limits and no log.

use std::{collections::BTreeMap, fmt, sync::Arc};

use parking_lot::Mutex;

/// How many places each key has taken, and all keys together.
pub struct Places<K> {
    taken: Mutex<Taken<K>>,
}

struct Taken<K> {
    by_key: BTreeMap<K, usize>,
    all: usize,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoPlace {
    /// The key has as many as one key may have.
    OfKey,
    /// All places are taken.
    OfAll,
}

/// One place; dropping it gives it back.
pub struct Place<K: Ord> {
    places: Arc<Places<K>>,
    key: K,
}

impl<K> Default for Places<K> {
    fn default() -> Self {
        Self { taken: Mutex::new(Taken { by_key: BTreeMap::new(), all: 0 }) }
    }
}

impl<K: Ord + Clone> Places<K> {
    /// Takes a place.
    ///
    /// # Errors
    /// The key has `of_key` places, or all have `of_all`.
    pub fn take(self: &Arc<Self>, key: K, of_key: usize, of_all: usize) -> Result<Place<K>, NoPlace> {
        let mut taken = self.taken.lock();
        if taken.by_key.get(&key).copied().unwrap_or(0) >= of_key {
            return Err(NoPlace::OfKey);
        }
        if taken.all >= of_all {
            return Err(NoPlace::OfAll);
        }
        *taken.by_key.entry(key.clone()).or_default() += 1;
        taken.all += 1;
        drop(taken);
        Ok(Place { places: Arc::clone(self), key })
    }

    /// Places taken by all keys.
    #[must_use]
    pub fn count(&self) -> usize {
        self.taken.lock().all
    }
}

impl<K: Ord> Drop for Place<K> {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock();
        let count = taken.by_key.get_mut(&self.key).expect("a place that was taken is counted");
        *count -= 1;
        if *count == 0 {
            taken.by_key.remove(&self.key);
        }
        taken.all -= 1;
    }
}

impl<K> fmt::Debug for Places<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Places").field("all", &self.taken.lock().all).finish_non_exhaustive()
    }
}

impl<K: Ord + fmt::Debug> fmt::Debug for Place<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place").field("key", &self.key).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_by_key_and_in_all_and_come_back() {
        let places = Arc::new(Places::default());
        let first = places.take("ann", 2, 3).unwrap();
        let _second = places.take("ann", 2, 3).unwrap();
        assert_eq!(places.take("ann", 2, 3).unwrap_err(), NoPlace::OfKey);
        let _third = places.take("bob", 2, 3).unwrap();
        assert_eq!(places.take("bob", 2, 3).unwrap_err(), NoPlace::OfAll);
        drop(first);
        assert_eq!(places.count(), 2);
        let fourth = places.take("bob", 2, 3).unwrap();
        drop(fourth);
        assert_eq!(places.taken.lock().by_key, BTreeMap::from([("ann", 1), ("bob", 1)]));
    }
}
