//! Byte-range locks of an open and the lock sequence that makes LOCK repeatable (MS-SMB2 3.3.1.10, MS-FSA 2.1.4.10).

use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::record::Few;

/// A lock held by an open, or wished for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct ByteRangeLock {
    /// First byte.
    pub offset: u64,
    /// Number of bytes; 0 is legal.
    pub length: u64,
    /// Excludes every other open.
    pub exclusive: bool,
}

impl ByteRangeLock {
    /// Tells whether the range ends within the 64-bit space.
    #[must_use]
    pub const fn is_valid(&self) -> bool {
        self.length == 0 || self.offset.checked_add(self.length - 1).is_some()
    }

    /// Tells whether two ranges meet. An empty range lies between bytes and meets only what it is strictly inside of.
    // MS-FSA 2.1.4.10
    // The last byte is offset + length − 1 in unbounded integers, also for length 0.
    #[must_use]
    pub fn overlaps(&self, offset: u64, length: u64) -> bool {
        let last = |o: u64, l: u64| i128::from(o) + i128::from(l) - 1;
        i128::from(self.offset) <= last(offset, length) && i128::from(offset) <= last(self.offset, self.length)
    }
}

/// The LockSequence of a LOCK request, already taken apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LockSequence {
    /// 1 to 64.
    pub index: u8,
    /// 0 to 15.
    pub number: u8,
}

/// LockSequenceArray: index to number, valid entries only, ascending; few are ever used. Stored as a map.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LockSequences(Few<(u8, u8)>);

impl LockSequences {
    /// The number under this index.
    #[must_use]
    pub fn get(&self, index: u8) -> Option<u8> {
        self.0.iter().find(|(i, _)| *i == index).map(|(_, number)| *number)
    }

    pub(crate) fn insert(&mut self, index: u8, number: u8) {
        match self.0.binary_search_by_key(&index, |(i, _)| *i) {
            Ok(at) => self.0.as_mut_slice()[at].1 = number,
            Err(at) => self.0.insert(at, (index, number)),
        }
    }

    pub(crate) fn remove(&mut self, index: u8) {
        self.0.retain(|(i, _)| *i != index);
    }
}

impl Serialize for LockSequences {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(index, number)| (index, number)))
    }
}

impl<'de> Deserialize<'de> for LockSequences {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Map;
        impl<'de> Visitor<'de> for Map {
            type Value = LockSequences;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("numbers by index, ascending")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<LockSequences, A::Error> {
                let mut entries: Vec<(u8, u8)> = Vec::new();
                while let Some(entry) = map.next_entry::<u8, u8>()? {
                    if entries.last().is_some_and(|last| last.0 >= entry.0) {
                        return Err(A::Error::custom("a lock sequence is not in its place"));
                    }
                    entries.push(entry);
                }
                Ok(LockSequences(entries.into()))
            }
        }
        deserializer.deserialize_map(Map)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_ranges() {
        let held = ByteRangeLock { offset: 10, length: 10, exclusive: true };
        assert!(!held.overlaps(10, 0), "an empty range at the first byte is outside");
        assert!(held.overlaps(11, 0) && held.overlaps(19, 0));
        assert!(!held.overlaps(20, 0));
        assert!(!ByteRangeLock { offset: 0, length: 100, exclusive: true }.overlaps(0, 0), "{{0,0}} locks nothing");
        assert!(ByteRangeLock { offset: u64::MAX, length: 1, exclusive: true }.is_valid());
        assert!(!ByteRangeLock { offset: u64::MAX, length: 2, exclusive: true }.is_valid());
    }
}
