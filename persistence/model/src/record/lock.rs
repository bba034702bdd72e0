//! Byte-range locks of an open and the lock sequence that makes LOCK repeatable (MS-SMB2 3.3.1.10, MS-FSA 2.1.4.10).

use serde::{Deserialize, Serialize};

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
