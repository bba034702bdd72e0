//! The legacy primitives NTLM needs, in the shape it needs them. Nothing else in the crate names MD4, MD5 or RC4.

use hmac::{Hmac, KeyInit as _, Mac as _};
use md4::Md4;
use md5::{Digest as _, Md5};
use rc4::StreamCipher as _;

/// MD4 of `data`.
pub(crate) fn md4(data: &[u8]) -> [u8; 16] {
    Md4::digest(data).into()
}

/// MD5 of the parts, one after the other.
pub(crate) fn md5(parts: &[&[u8]]) -> [u8; 16] {
    let mut h = Md5::new();
    parts.iter().for_each(|p| h.update(p));
    h.finalize().into()
}

/// HMAC-MD5 of the parts, one after the other.
pub(crate) fn hmac_md5(key: &[u8], parts: &[&[u8]]) -> [u8; 16] {
    let mut h = <Hmac<Md5> as hmac::KeyInit>::new_from_slice(key).expect("HMAC takes keys of any length");
    parts.iter().for_each(|p| h.update(p));
    h.finalize().into_bytes().into()
}

/// An RC4 key stream that remembers where it is.
pub(crate) struct Rc4(rc4::Rc4);

impl Rc4 {
    /// Starts the stream of a 16-byte key.
    pub(crate) fn new(key: &[u8; 16]) -> Self {
        Self(rc4::Rc4::new_from_slice(key).expect("RC4 takes 16-byte keys"))
    }

    /// Encrypts or decrypts `data` with the next bytes of the stream.
    pub(crate) fn apply(&mut self, data: &mut [u8]) {
        self.0.apply_keystream(data);
    }
}

/// RC4 of one 16-byte block with a fresh stream.
pub(crate) fn rc4_block(key: &[u8; 16], block: &[u8; 16]) -> [u8; 16] {
    let mut out = *block;
    Rc4::new(key).apply(&mut out);
    out
}

/// Compares in constant time (the lengths are no secret).
pub(crate) fn equal(a: &[u8], b: &[u8]) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(a, b).is_ok()
}

/// UTF-16LE bytes of a string.
pub(crate) fn utf16(s: &str) -> Vec<u8> {
    s.encode_utf16().flat_map(u16::to_le_bytes).collect()
}
