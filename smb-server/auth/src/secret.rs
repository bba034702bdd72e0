//! Key material that does not print itself.

use std::fmt;

use crate::crypto::equal;

/// Key bytes of a fixed length. Debug shows nothing; comparison takes constant time.
#[derive(Clone)]
pub struct Secret<const N: usize>([u8; N]);

impl<const N: usize> Secret<N> {
    /// Wraps key bytes.
    #[must_use]
    pub const fn new(bytes: [u8; N]) -> Self {
        Self(bytes)
    }

    /// The bytes, for whoever really needs them.
    #[must_use]
    pub const fn expose(&self) -> &[u8; N] {
        &self.0
    }
}

impl<const N: usize> fmt::Debug for Secret<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl<const N: usize> PartialEq for Secret<N> {
    fn eq(&self, other: &Self) -> bool {
        equal(&self.0, &other.0)
    }
}

impl<const N: usize> Eq for Secret<N> {}

/// What a security mechanism exports: the full key, and its first 16 bytes as SMB2's Session.SessionKey.
#[derive(Clone)]
pub struct SessionKey {
    full: Vec<u8>,
}

impl SessionKey {
    /// Longest exported key that is kept; the rest of a longer one is ignored.
    pub const LENGTH_MAX: usize = 64;

    /// Wraps an exported key (NTLM: 16 bytes, Kerberos: 16 or 32).
    #[must_use]
    pub fn new(exported: &[u8]) -> Self {
        Self { full: exported.iter().copied().take(Self::LENGTH_MAX).collect() }
    }

    /// The key as exported. Only AES-256 cipher keys are derived from it.
    #[must_use]
    pub fn full(&self) -> &[u8] {
        &self.full
    }

    /// Session.SessionKey: the first 16 bytes, padded with zeros on the right.
    // MS-SMB2 3.3.5.5.3
    #[must_use]
    pub fn first_16(&self) -> [u8; 16] {
        let mut out = [0; 16];
        out.iter_mut().zip(&self.full).for_each(|(o, &k)| *o = k);
        out
    }
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionKey(…)")
    }
}

impl PartialEq for SessionKey {
    fn eq(&self, other: &Self) -> bool {
        equal(&self.full, &other.full)
    }
}

impl Eq for SessionKey {}
