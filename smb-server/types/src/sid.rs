//! Security identifiers (MS-DTYP 2.4.2).

use std::fmt;

use serde::{Deserialize, Serialize};

/// A SID of revision 1: identifier authority and up to 15 sub-authorities.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Sid {
    /// 48-bit identifier authority.
    pub authority: u64,
    /// Sub-authorities, 0 to 15 of them.
    pub sub_authorities: Vec<u32>,
}

impl Sid {
    /// Builds a SID from its parts.
    #[must_use]
    pub fn new(authority: u64, sub_authorities: &[u32]) -> Self {
        Self { authority, sub_authorities: sub_authorities.to_vec() }
    }

    /// S-1-1-0, Everyone.
    #[must_use]
    pub fn everyone() -> Self {
        Self::new(1, &[0])
    }

    /// S-1-5-7, Anonymous.
    #[must_use]
    pub fn anonymous() -> Self {
        Self::new(5, &[7])
    }

    /// S-1-5-18, Local System.
    #[must_use]
    pub fn system() -> Self {
        Self::new(5, &[18])
    }

    /// S-1-5-32-544, the built-in administrators.
    #[must_use]
    pub fn administrators() -> Self {
        Self::new(5, &[32, 544])
    }

    /// Encodes the wire form: revision, count, authority big-endian, sub-authorities little-endian.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![1, u8::try_from(self.sub_authorities.len()).unwrap_or(15)];
        out.extend_from_slice(&self.authority.to_be_bytes()[2..]);
        for s in self.sub_authorities.iter().take(15) {
            out.extend_from_slice(&s.to_le_bytes());
        }
        out
    }

    /// Decodes the wire form from the start of `b`; returns the SID and its length in bytes, None when the bytes make no sense.
    #[must_use]
    pub fn from_bytes(b: &[u8]) -> Option<(Self, usize)> {
        let (&rev, &count) = (b.first()?, b.get(1)?);
        if rev != 1 || count > 15 {
            return None;
        }
        let len = 8 + 4 * usize::from(count);
        let body = b.get(8..len)?;
        let authority = b.get(2..8)?.iter().fold(0u64, |a, &x| (a << 8) | u64::from(x));
        let sub_authorities = body.chunks_exact(4).map(|c| u32::from_le_bytes([c[0], c[1], c[2], c[3]])).collect();
        Some((Self { authority, sub_authorities }, len))
    }
}

impl fmt::Display for Sid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "S-1-{}", self.authority)?;
        self.sub_authorities.iter().try_for_each(|s| write!(f, "-{s}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sid_bytes_there_and_back() {
        let s = Sid::new(5, &[21, 1, 2, 0xFFFF_FFFF, 1000]);
        let b = s.to_bytes();
        assert_eq!(Sid::from_bytes(&b), Some((s.clone(), b.len())));
        assert_eq!(s.to_string(), "S-1-5-21-1-2-4294967295-1000");
        assert_eq!(Sid::from_bytes(&b[..b.len() - 1]), None, "a cut SID must not decode");
    }
}
