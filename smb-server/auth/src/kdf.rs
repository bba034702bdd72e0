//! SP800-108 counter mode with HMAC-SHA256, as SMB 3.x uses it.

use aws_lc_rs::hmac;

/// Derives `N` bytes (at most 32: one round) from `key`. Labels and contexts carry their terminating NUL, where they have one.
// MS-SMB2 3.1.4.2
// 32-bit counter and length, both big-endian; only the first block is ever needed.
#[must_use]
pub fn derive<const N: usize>(key: &[u8], label: &[u8], context: &[u8]) -> [u8; N] {
    const { assert!(N <= 32, "one block of HMAC-SHA256 has 32 bytes") };
    let mut h = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    h.update(&1u32.to_be_bytes());
    h.update(label);
    h.update(&[0]);
    h.update(context);
    h.update(&(N as u32 * 8).to_be_bytes());
    let tag = h.sign();
    let mut out = [0; N];
    out.iter_mut().zip(tag.as_ref()).for_each(|(o, &t)| *o = t);
    out
}
