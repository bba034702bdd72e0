//! The NT hash: what a server stores instead of a password.

use std::fmt;

use crate::crypto::{equal, md4, utf16};

/// NTOWFv1: MD4 of the UTF-16LE password. As good as the password itself for a logon, so it never prints.
#[derive(Clone)]
pub struct NtHash([u8; 16]);

impl NtHash {
    /// Computes the hash of a password.
    // MS-NLMP 3.3.1
    #[must_use]
    pub fn of_password(password: &str) -> Self {
        Self(md4(&utf16(password)))
    }

    /// Takes a stored hash.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Reads 32 hexadecimal digits; None when it is anything else.
    #[must_use]
    pub fn from_hex(hex: &str) -> Option<Self> {
        if hex.len() != 32 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        let mut out = [0; 16];
        for (i, o) in out.iter_mut().enumerate() {
            *o = u8::from_str_radix(hex.get(2 * i..2 * i + 2)?, 16).ok()?;
        }
        Some(Self(out))
    }

    /// The bytes, for storing them.
    #[must_use]
    pub const fn expose(&self) -> &[u8; 16] {
        &self.0
    }
}

impl PartialEq for NtHash {
    fn eq(&self, other: &Self) -> bool {
        equal(&self.0, &other.0)
    }
}

impl Eq for NtHash {}

impl fmt::Debug for NtHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NtHash(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_reads_hex_and_never_prints() {
        let h = NtHash::from_hex("a4f49c406510bdcab6824ee7c30fd852").unwrap();
        assert_eq!(h, NtHash::of_password("Password"));
        assert_eq!(format!("{h:?}"), "NtHash(…)");
        for bad in ["", "a4", "a4f49c406510bdcab6824ee7c30fd85g", "+4f49c406510bdcab6824ee7c30fd852", "a4f49c406510bdcab6824ee7c30fd8521"] {
            assert_eq!(NtHash::from_hex(bad), None, "{bad}");
        }
    }
}
