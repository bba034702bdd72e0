//! Signing and verifying SMB2 messages.
//!
//! Looks at three header fields: Command, MessageId and Signature. Does not know who must sign when, nor the SIGNED flag, which the caller sets
//! before signing. Each element of a compound is a message of its own here, padding included.

use std::fmt;

use aws_lc_rs::{aead, cmac, hmac};
use smb_types::Dialect;

use crate::Role;
use crate::crypto::equal;
use crate::secret::Secret;

/// Where the Signature field lies in the SMB2 header.
const SIGNATURE: std::ops::Range<usize> = 48..64;
/// Length of the SMB2 header; nothing shorter is a message.
const HEADER_LENGTH: usize = 64;
/// SMB2 CANCEL.
const COMMAND_CANCEL: u16 = 0x000C;

/// How messages are signed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SigningAlgorithm {
    /// 0: HMAC-SHA256, cut to 16 bytes.
    HmacSha256,
    /// 1: AES-128-CMAC.
    AesCmac,
    /// 2: AES-128-GMAC.
    AesGmac,
}

impl SigningAlgorithm {
    /// Decodes an id of SMB2_SIGNING_CAPABILITIES; None when unknown.
    // MS-SMB2 2.2.3.1.7
    #[must_use]
    pub const fn from_wire(v: u16) -> Option<Self> {
        Some(match v {
            0 => Self::HmacSha256,
            1 => Self::AesCmac,
            2 => Self::AesGmac,
            _ => return None,
        })
    }

    /// The id in SMB2_SIGNING_CAPABILITIES.
    #[must_use]
    pub const fn to_wire(self) -> u16 {
        match self {
            Self::HmacSha256 => 0,
            Self::AesCmac => 1,
            Self::AesGmac => 2,
        }
    }

    /// The algorithm of a connection: `negotiated` counts in 3.1.1 only.
    // MS-SMB2 3.1.4.1
    #[must_use]
    pub const fn of(dialect: Dialect, negotiated: Option<Self>) -> Self {
        match (dialect, negotiated) {
            (Dialect::Smb202 | Dialect::Smb210, _) => Self::HmacSha256,
            (Dialect::Smb311, Some(a)) => a,
            (Dialect::Smb300 | Dialect::Smb302 | Dialect::Smb311, _) => Self::AesCmac,
        }
    }
}

/// A key ready for use: the key schedule is done once, here.
pub struct SigningKey(Prepared);

enum Prepared {
    Hmac(Box<hmac::Key>),
    Cmac(cmac::Key),
    Gmac(Box<aead::LessSafeKey>),
}

impl SigningKey {
    /// Prepares a key.
    #[must_use]
    pub fn new(algorithm: SigningAlgorithm, key: &Secret<16>) -> Self {
        let key = key.expose();
        Self(match algorithm {
            SigningAlgorithm::HmacSha256 => Prepared::Hmac(Box::new(hmac::Key::new(hmac::HMAC_SHA256, key))),
            SigningAlgorithm::AesCmac => Prepared::Cmac(cmac::Key::new(cmac::AES_128, key).expect("the key has AES-128's length")),
            SigningAlgorithm::AesGmac => {
                let key = aead::UnboundKey::new(&aead::AES_128_GCM, key).expect("the key has AES-128's length");
                Prepared::Gmac(Box::new(aead::LessSafeKey::new(key)))
            }
        })
    }

    /// The algorithm this key is for.
    #[must_use]
    pub const fn algorithm(&self) -> SigningAlgorithm {
        match self.0 {
            Prepared::Hmac(_) => SigningAlgorithm::HmacSha256,
            Prepared::Cmac(_) => SigningAlgorithm::AesCmac,
            Prepared::Gmac(_) => SigningAlgorithm::AesGmac,
        }
    }

    /// Writes the Signature field of `message`, which starts at the SMB2 header and has its SIGNED flag set. `sender` is who sends it.
    ///
    /// A message shorter than the SMB2 header is left alone: only our own encoder calls this.
    pub fn sign(&self, message: &mut [u8], sender: Role) {
        debug_assert!(message.len() >= HEADER_LENGTH, "only whole messages are signed");
        let Some(field) = message.get_mut(SIGNATURE) else { return };
        field.fill(0);
        if let Some(signature) = self.compute_zeroed(message, sender) {
            message[SIGNATURE].copy_from_slice(&signature);
        }
    }

    /// Checks the Signature field without copying the message; the message is unchanged afterwards.
    #[must_use]
    pub fn verify(&self, message: &mut [u8], sender: Role) -> bool {
        let Some(field) = message.get_mut(SIGNATURE) else { return false };
        let Ok(claimed) = <[u8; 16]>::try_from(&*field) else { return false };
        field.fill(0);
        let expected = self.compute_zeroed(message, sender);
        message[SIGNATURE].copy_from_slice(&claimed);
        expected.is_some_and(|e| equal(&e, &claimed))
    }

    /// Checks the Signature field of a message that is shared and so cannot be touched. GMAC copies the message for it.
    #[must_use]
    pub fn verify_shared(&self, message: &[u8], sender: Role) -> bool {
        let (Some(before), Some(claimed), Some(after)) =
            (message.get(..SIGNATURE.start), message.get(SIGNATURE), message.get(SIGNATURE.end..))
        else {
            return false;
        };
        let parts = [before, &[0; 16], after];
        match &self.0 {
            Prepared::Hmac(key) => equal(&hmac_parts(key, &parts), claimed),
            Prepared::Cmac(key) => cmac_parts(key, &parts).is_some_and(|e| equal(&e, claimed)),
            Prepared::Gmac(_) => self.compute_zeroed(&parts.concat(), sender).is_some_and(|e| equal(&e, claimed)),
        }
    }

    /// The signature of a message whose Signature field is zero.
    fn compute_zeroed(&self, message: &[u8], sender: Role) -> Option<[u8; 16]> {
        match &self.0 {
            Prepared::Hmac(key) => Some(hmac_parts(key, &[message])),
            Prepared::Cmac(key) => cmac_parts(key, &[message]),
            Prepared::Gmac(key) => {
                let nonce = aead::Nonce::assume_unique_for_key(gmac_nonce(message, sender)?);
                let tag = key.seal_in_place_separate_tag(nonce, aead::Aad::from(message), &mut []).ok()?;
                tag.as_ref().try_into().ok()
            }
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({:?})", self.algorithm())
    }
}

fn hmac_parts(key: &hmac::Key, parts: &[&[u8]]) -> [u8; 16] {
    let mut h = hmac::Context::with_key(key);
    parts.iter().for_each(|p| h.update(p));
    let mut out = [0; 16];
    out.iter_mut().zip(h.sign().as_ref()).for_each(|(o, &t)| *o = t);
    out
}

fn cmac_parts(key: &cmac::Key, parts: &[&[u8]]) -> Option<[u8; 16]> {
    let mut c = cmac::Context::with_key(key);
    for p in parts {
        c.update(p).ok()?;
    }
    c.sign().ok()?.as_ref().try_into().ok()
}

/// MessageId, then a word with bit 0 for the server and bit 1 for CANCEL.
// MS-SMB2 3.1.4.1
fn gmac_nonce(message: &[u8], sender: Role) -> Option<[u8; 12]> {
    let command = u16::from_le_bytes(message.get(12..14)?.try_into().ok()?);
    let mut nonce = [0; 12];
    nonce[..8].copy_from_slice(message.get(24..32)?);
    nonce[8] = u8::from(sender == Role::Server) | u8::from(command == COMMAND_CANCEL) << 1;
    Some(nonce)
}
