//! A map for few entries: what a connection keeps of its contexts and calls. Connections wait by the ten thousand, and a
//! tree's smallest node has room for eleven entries; this one has room for those that are there.

/// Entries in the order of their keys.
pub(crate) struct Few<K, V> {
    entries: Vec<(K, V)>,
}

/// Up to so many entries, room is made for one at a time.
const ONE_BY_ONE: usize = 4;

impl<K: Ord + Copy, V> Few<K, V> {
    /// No entry, and no memory.
    pub(crate) const fn new() -> Self {
        Self { entries: Vec::new() }
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.position(key).ok().map(|at| &self.entries[at].1)
    }

    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.position(key).ok().map(|at| &mut self.entries[at].1)
    }

    pub(crate) fn contains_key(&self, key: &K) -> bool {
        self.position(key).is_ok()
    }

    /// Returns what was there under this key.
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        match self.position(&key) {
            Ok(at) => Some(std::mem::replace(&mut self.entries[at].1, value)),
            Err(at) => {
                if self.entries.len() < ONE_BY_ONE {
                    self.entries.reserve_exact(1);
                }
                self.entries.insert(at, (key, value));
                None
            }
        }
    }

    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        let removed = self.position(key).ok().map(|at| self.entries.remove(at).1);
        if self.entries.len() < ONE_BY_ONE {
            self.entries.shrink_to(1);
        }
        removed
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = K> {
        self.entries.iter().map(|(key, _)| *key)
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.entries.iter().map(|(_, value)| value)
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.entries.iter_mut().map(|(_, value)| value)
    }

    /// All entries, which are no longer here.
    pub(crate) fn take(&mut self) -> impl Iterator<Item = (K, V)> + use<K, V> {
        std::mem::take(&mut self.entries).into_iter()
    }

    fn position(&self, key: &K) -> Result<usize, usize> {
        self.entries.binary_search_by(|(own, _)| own.cmp(key))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_map(steps in prop::collection::vec((any::<bool>(), 0..12u8, any::<u16>()), 0..64)) {
            let (mut few, mut tree) = (Few::new(), BTreeMap::new());
            for (inserts, key, value) in steps {
                if inserts {
                    prop_assert_eq!(few.insert(key, value), tree.insert(key, value));
                } else {
                    prop_assert_eq!(few.remove(&key), tree.remove(&key));
                }
                prop_assert_eq!(few.len(), tree.len());
                prop_assert_eq!(few.is_empty(), tree.is_empty());
                prop_assert_eq!(few.get(&key), tree.get(&key));
                prop_assert_eq!(few.get_mut(&key), tree.get_mut(&key));
                prop_assert_eq!(few.contains_key(&key), tree.contains_key(&key));
                prop_assert!(few.keys().eq(tree.keys().copied()) && few.values().eq(tree.values()));
            }
            prop_assert!(few.take().eq(tree) && few.is_empty());
        }
    }

    #[test]
    fn the_first_entries_take_their_own_room_only() {
        let mut few = Few::new();
        for key in 0..3 {
            few.insert(key, [0u8; 16]);
            assert_eq!(few.entries.capacity(), few.len());
        }
        for key in 0..3 {
            few.remove(&key);
        }
        assert!(few.entries.capacity() <= 1);
    }
}
