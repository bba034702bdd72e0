//! A table without an order of its own: a lookup costs the same in a table of a million as in one of a thousand, but for the way to memory.
//!
//! Deterministic for all that: its values are never walked but in the order of their keys, and its hash has no secret.
#![expect(clippy::disallowed_types, reason = "the one place where a hash map is hidden behind an order")]

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};

/// Values by key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Table<K: Hash + Eq, V>(HashMap<K, V, BuildHasherDefault<Mix>>);

impl<K: Hash + Eq, V> Default for Table<K, V> {
    fn default() -> Self {
        Self(HashMap::default())
    }
}

impl<K: Hash + Ord + Copy, V> Table<K, V> {
    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.0.get(key)
    }

    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.0.get_mut(key)
    }

    /// The value, made first if there is none.
    pub(crate) fn get_or_default(&mut self, key: K) -> &mut V
    where
        V: Default,
    {
        self.0.entry(key).or_default()
    }

    /// The value that was there before.
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        self.0.insert(key, value)
    }

    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        self.0.remove(key)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// All keys, in no order: nothing that is replicated may depend on it.
    pub(crate) fn keys(&self) -> Vec<K> {
        self.0.keys().copied().collect()
    }

    /// All values, ascending by key. Sorts: for those who look at everything.
    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        let mut all: Vec<(&K, &V)> = self.0.iter().collect();
        all.sort_unstable_by_key(|(key, _)| **key);
        all.into_iter().map(|(_, value)| value)
    }
}

/// Mixes the words of a key, SplitMix64 at the end: keys are ids and digests, spread by others or counted up by ourselves.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Mix(u64);

impl Hasher for Mix {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(29) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }

    fn finish(&self) -> u64 {
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z ^ (z >> 31)
    }
}
