//! Security identifiers (MS-DTYP 2.4.2).

use std::{fmt, str::FromStr};

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

    /// S-1-5-32-545, the built-in users.
    #[must_use]
    pub fn users() -> Self {
        Self::new(5, &[32, 545])
    }

    /// S-1-5-32-551, the built-in backup operators.
    #[must_use]
    pub fn backup_operators() -> Self {
        Self::new(5, &[32, 551])
    }

    /// S-1-5-11, Authenticated Users.
    #[must_use]
    pub fn authenticated_users() -> Self {
        Self::new(5, &[11])
    }

    /// S-1-5-2, who comes over the network.
    #[must_use]
    pub fn network() -> Self {
        Self::new(5, &[2])
    }

    /// S-1-3-0, CREATOR OWNER: in an inheritable entry, the owner of what inherits it.
    #[must_use]
    pub fn creator_owner() -> Self {
        Self::new(3, &[0])
    }

    /// S-1-3-1, CREATOR GROUP: in an inheritable entry, the primary group of what inherits it.
    #[must_use]
    pub fn creator_group() -> Self {
        Self::new(3, &[1])
    }

    /// S-1-3-4, OWNER RIGHTS: an entry for it replaces what an owner is given by being one.
    #[must_use]
    pub fn owner_rights() -> Self {
        Self::new(3, &[4])
    }

    /// S-1-22-1-uid: a user on disk that no account stands for, as Samba writes it.
    #[must_use]
    pub fn unix_user(uid: u32) -> Self {
        Self::new(22, &[1, uid])
    }

    /// S-1-22-2-gid: a group on disk that no account stands for, as Samba writes it.
    #[must_use]
    pub fn unix_group(gid: u32) -> Self {
        Self::new(22, &[2, gid])
    }

    /// Tells whether it is of the domain BUILTIN.
    #[must_use]
    pub fn is_built_in(&self) -> bool {
        self.authority == 5 && self.sub_authorities.first() == Some(&32)
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

impl FromStr for Sid {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("{text:?} is no SID: write S-1-AUTHORITY-NUMBER-NUMBER...");
        let mut parts = text.strip_prefix("S-1-").or_else(|| text.strip_prefix("s-1-")).ok_or_else(bad)?.split('-');
        let authority = parts.next().and_then(|part| part.parse().ok()).filter(|authority| *authority < 1 << 48).ok_or_else(bad)?;
        let sub_authorities = parts.map(|part| part.parse().map_err(|_| bad())).collect::<Result<Vec<u32>, _>>()?;
        if sub_authorities.is_empty() || sub_authorities.len() > 15 {
            return Err(bad());
        }
        Ok(Self { authority, sub_authorities })
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
        assert_eq!(s.to_string().parse(), Ok(s.clone()));
        for bad in ["", "S-1", "S-1-5", "S-1-5-", "S-1-5-x", "S-2-5-1", "S-1-281474976710656-1", "S-1-5-4294967296"] {
            assert!(bad.parse::<Sid>().is_err(), "{bad:?}");
        }
        assert_eq!(Sid::from_bytes(&b[..b.len() - 1]), None, "a cut SID must not decode");
    }
}
