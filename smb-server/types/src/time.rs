//! FILETIME (MS-DTYP 2.3.3).

use serde::{Deserialize, Serialize};

/// 100-ns ticks since 1601-01-01 UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct FileTime(pub u64);

/// Seconds between 1601-01-01 and 1970-01-01.
const UNIX_EPOCH_SECONDS: i128 = 11_644_473_600;

impl FileTime {
    /// From seconds and nanoseconds since 1970; times before 1601 become 0.
    #[must_use]
    pub fn from_unix(seconds: i64, nanos: u32) -> Self {
        let ticks = (i128::from(seconds) + UNIX_EPOCH_SECONDS) * 10_000_000 + i128::from(nanos / 100);
        Self(u64::try_from(ticks).unwrap_or(0))
    }

    /// Seconds and nanoseconds since 1970.
    #[must_use]
    pub fn to_unix(self) -> (i64, u32) {
        let ticks = i128::from(self.0) - UNIX_EPOCH_SECONDS * 10_000_000;
        let (s, t) = (ticks.div_euclid(10_000_000), ticks.rem_euclid(10_000_000));
        (i64::try_from(s).unwrap_or(i64::MAX), u32::try_from(t * 100).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unix_there_and_back() {
        for (s, n) in [(0, 0), (1_700_000_000, 123_456_700), (-1, 999_999_900)] {
            assert_eq!(FileTime::from_unix(s, n).to_unix(), (s, n));
        }
        assert_eq!(FileTime::from_unix(0, 0).0, 116_444_736_000_000_000);
    }
}
