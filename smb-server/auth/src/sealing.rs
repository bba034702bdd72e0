//! Encrypting and decrypting SMB2 messages (TRANSFORM_HEADER), in place.
//!
//! Does not look inside a message. Nonces come from a `NonceSequence`, one per session and direction, since all channels share the key.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use aes::{Aes128, Aes256};
use aws_lc_rs::aead;
use ccm::aead::{AeadInOut as _, KeyInit as _};
use ccm::consts::{U11, U16};

use crate::keys::CipherKey;

/// Length of the TRANSFORM_HEADER in front of an encrypted message.
pub const TRANSFORM_HEADER_LENGTH: usize = 52;
/// Largest message we seal or open: far above any credit-bounded message, far below every cipher's limit.
pub const SEALED_LENGTH_MAX: usize = 0x0100_0000;
/// First bytes of a TRANSFORM_HEADER.
pub const TRANSFORM_PROTOCOL_ID: [u8; 4] = [0xFD, b'S', b'M', b'B'];
/// Flags in 3.1.1, EncryptionAlgorithm (AES-128-CCM) in 3.0: the same number.
const FLAGS_ENCRYPTED: u16 = 1;
/// Where the authenticated part of the header starts.
const AAD_START: usize = 20;

/// A cipher of SMB2_ENCRYPTION_CAPABILITIES.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum CipherId {
    /// 1.
    Aes128Ccm,
    /// 2.
    Aes128Gcm,
    /// 3.
    Aes256Ccm,
    /// 4.
    Aes256Gcm,
}

impl CipherId {
    /// Decodes a cipher id; None when unknown.
    // MS-SMB2 2.2.3.1.2
    #[must_use]
    pub const fn from_wire(v: u16) -> Option<Self> {
        Some(match v {
            1 => Self::Aes128Ccm,
            2 => Self::Aes128Gcm,
            3 => Self::Aes256Ccm,
            4 => Self::Aes256Gcm,
            _ => return None,
        })
    }

    /// The wire value.
    #[must_use]
    pub const fn to_wire(self) -> u16 {
        match self {
            Self::Aes128Ccm => 1,
            Self::Aes128Gcm => 2,
            Self::Aes256Ccm => 3,
            Self::Aes256Gcm => 4,
        }
    }

    /// Length of its keys in bytes.
    #[must_use]
    pub const fn key_length(self) -> usize {
        match self {
            Self::Aes128Ccm | Self::Aes128Gcm => 16,
            Self::Aes256Ccm | Self::Aes256Gcm => 32,
        }
    }

    /// How many bytes of the Nonce field it uses; the rest are zero.
    #[must_use]
    pub const fn nonce_length(self) -> usize {
        match self {
            Self::Aes128Ccm | Self::Aes256Ccm => 11,
            Self::Aes128Gcm | Self::Aes256Gcm => 12,
        }
    }
}

/// Why a message could not be sealed or opened. When opening, the connection has to go.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SealError {
    /// No TRANSFORM_HEADER, or one of another length, size or flag.
    #[error("malformed transform header")]
    BadHeader,
    /// The tag does not fit: changed on the way, or another key.
    #[error("authentication tag is wrong")]
    BadTag,
    /// Longer than `SEALED_LENGTH_MAX`, or no room for the header.
    #[error("message length cannot be sealed")]
    BadLength,
    /// The session's nonces are used up: it needs a new session.
    #[error("nonces are used up")]
    NoncesExhausted,
}

/// The fields of a TRANSFORM_HEADER that are read before the key is known.
// MS-SMB2 2.2.41
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TransformHeader {
    /// The authentication tag.
    pub signature: [u8; 16],
    /// The Nonce field, with its unused tail.
    pub nonce: [u8; 16],
    /// Length of the message that follows.
    pub original_message_size: u32,
    /// Whose keys are used.
    pub session_id: u64,
}

impl TransformHeader {
    /// Reads the header at the start of `packet` and checks it against the packet's length.
    ///
    /// # Errors
    /// `BadHeader`.
    // MS-SMB2 3.3.5.2.1.1
    pub fn parse(packet: &[u8]) -> Result<Self, SealError> {
        let header = packet.get(..TRANSFORM_HEADER_LENGTH).ok_or(SealError::BadHeader)?;
        let size = u32::from_le_bytes([header[36], header[37], header[38], header[39]]);
        let flags = u16::from_le_bytes([header[42], header[43]]);
        let fits = usize::try_from(size).is_ok_and(|s| s == packet.len() - TRANSFORM_HEADER_LENGTH && s <= SEALED_LENGTH_MAX);
        if header[..4] != TRANSFORM_PROTOCOL_ID || flags != FLAGS_ENCRYPTED || !fits {
            return Err(SealError::BadHeader);
        }
        let (mut signature, mut nonce, mut id) = ([0; 16], [0; 16], [0; 8]);
        signature.copy_from_slice(&header[4..20]);
        nonce.copy_from_slice(&header[20..36]);
        id.copy_from_slice(&header[44..52]);
        Ok(Self { signature, nonce, original_message_size: size, session_id: u64::from_le_bytes(id) })
    }
}

/// Nonces of one key: a counter all channels of the session draw from, and a random tail.
// MS-SMB2 3.1.4.3
#[derive(Debug)]
pub struct NonceSequence {
    next: AtomicU64,
    tail: [u8; 4],
}

impl NonceSequence {
    /// Nonces handed out before the key counts as used up. Far below 2^64, so that racing callers cannot wrap the counter.
    pub const COUNT_MAX: u64 = 1 << 62;

    /// Starts a sequence; `tail` is random.
    #[must_use]
    pub const fn new(tail: [u8; 4]) -> Self {
        Self { next: AtomicU64::new(0), tail }
    }

    /// Draws a nonce nobody else gets.
    ///
    /// # Errors
    /// `NoncesExhausted`.
    pub fn draw(&self) -> Result<SealNonce, SealError> {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        if n >= Self::COUNT_MAX {
            return Err(SealError::NoncesExhausted);
        }
        let mut field = [0; 16];
        field[..8].copy_from_slice(&n.to_le_bytes());
        field[8..12].copy_from_slice(&self.tail);
        Ok(SealNonce(field))
    }
}

/// A nonce that is used for one message. It cannot be copied.
#[derive(Debug)]
pub struct SealNonce([u8; 16]);

impl SealNonce {
    /// A nonce made elsewhere; the caller answers for its being unique under its key.
    #[must_use]
    pub const fn assume_unique(field: [u8; 16]) -> Self {
        Self(field)
    }
}

/// A cipher key ready for use in one direction: the key schedule is done once, here.
pub struct SealingKey {
    cipher: CipherId,
    prepared: Prepared,
}

type Ccm<C> = ccm::Ccm<C, U16, U11>;

enum Prepared {
    Gcm(Box<aead::LessSafeKey>),
    Ccm128(Box<Ccm<Aes128>>),
    Ccm256(Box<Ccm<Aes256>>),
}

impl SealingKey {
    /// Prepares a key. Which of the two lengths `key` has was decided with the cipher in `keys`; a wrong pair is a mistake in this program.
    ///
    /// # Panics
    /// When the key's length is not the cipher's.
    #[must_use]
    pub fn new(cipher: CipherId, key: &CipherKey) -> Self {
        let bytes = key.expose();
        assert_eq!(bytes.len(), cipher.key_length(), "a cipher key is derived for its cipher");
        let gcm = |algorithm| {
            let key = aead::UnboundKey::new(algorithm, bytes).expect("the length was checked");
            Prepared::Gcm(Box::new(aead::LessSafeKey::new(key)))
        };
        let prepared = match cipher {
            CipherId::Aes128Gcm => gcm(&aead::AES_128_GCM),
            CipherId::Aes256Gcm => gcm(&aead::AES_256_GCM),
            CipherId::Aes128Ccm => Prepared::Ccm128(Box::new(Ccm::new_from_slice(bytes).expect("the length was checked"))),
            CipherId::Aes256Ccm => Prepared::Ccm256(Box::new(Ccm::new_from_slice(bytes).expect("the length was checked"))),
        };
        Self { cipher, prepared }
    }

    /// The cipher this key is for.
    #[must_use]
    pub const fn cipher(&self) -> CipherId {
        self.cipher
    }

    /// Seals a packet in place. The first `TRANSFORM_HEADER_LENGTH` bytes of `packet` are room for the header, the message (or compound) follows.
    ///
    /// # Errors
    /// `BadLength`.
    // MS-SMB2 3.1.4.3
    pub fn encrypt(&self, packet: &mut [u8], session_id: u64, nonce: SealNonce) -> Result<(), SealError> {
        let Some((header, message)) = packet.split_at_mut_checked(TRANSFORM_HEADER_LENGTH) else { return Err(SealError::BadLength) };
        let size = u32::try_from(message.len()).ok().filter(|&s| s as usize <= SEALED_LENGTH_MAX).ok_or(SealError::BadLength)?;
        let used = self.cipher.nonce_length();
        header.fill(0);
        header[..4].copy_from_slice(&TRANSFORM_PROTOCOL_ID);
        header[20..20 + used].copy_from_slice(&nonce.0[..used]);
        header[36..40].copy_from_slice(&size.to_le_bytes());
        header[42..44].copy_from_slice(&FLAGS_ENCRYPTED.to_le_bytes());
        header[44..52].copy_from_slice(&session_id.to_le_bytes());
        let tag = self.seal(&nonce.0, &header[AAD_START..], message)?;
        header[4..20].copy_from_slice(&tag);
        Ok(())
    }

    /// Seals a copy of `message`: for small ones, and for tests.
    ///
    /// # Errors
    /// `BadLength`.
    pub fn encrypt_copy(&self, message: &[u8], session_id: u64, nonce: SealNonce) -> Result<Vec<u8>, SealError> {
        let mut packet = Vec::with_capacity(TRANSFORM_HEADER_LENGTH + message.len());
        packet.resize(TRANSFORM_HEADER_LENGTH, 0);
        packet.extend_from_slice(message);
        self.encrypt(&mut packet, session_id, nonce)?;
        Ok(packet)
    }

    /// Opens a packet in place; the message lies at `packet[TRANSFORM_HEADER_LENGTH..]` afterwards. On an error the packet's content is undefined.
    ///
    /// # Errors
    /// `BadHeader`, `BadTag`.
    // MS-SMB2 3.3.5.2.1.1
    pub fn decrypt(&self, packet: &mut [u8]) -> Result<TransformHeader, SealError> {
        let parsed = TransformHeader::parse(packet)?;
        let (header, message) = packet.split_at_mut(TRANSFORM_HEADER_LENGTH);
        self.open(&parsed, &header[AAD_START..], message)?;
        Ok(parsed)
    }

    /// Seals with a Nonce field that is filled beyond the cipher's part, as some published examples have it.
    #[cfg(test)]
    pub(crate) fn seal_for_test(&self, nonce: &[u8; 16], aad: &[u8], message: &mut [u8]) -> [u8; 16] {
        self.seal(nonce, aad, message).unwrap()
    }

    fn seal(&self, nonce: &[u8; 16], aad: &[u8], message: &mut [u8]) -> Result<[u8; 16], SealError> {
        match &self.prepared {
            Prepared::Gcm(key) => {
                let tag =
                    key.seal_in_place_separate_tag(gcm_nonce(nonce), aead::Aad::from(aad), message).map_err(|_| SealError::BadLength)?;
                tag.as_ref().try_into().map_err(|_| SealError::BadLength)
            }
            Prepared::Ccm128(key) => {
                key.encrypt_inout_detached(&ccm_nonce(nonce), aad, message.into()).map(Into::into).map_err(|_| SealError::BadLength)
            }
            Prepared::Ccm256(key) => {
                key.encrypt_inout_detached(&ccm_nonce(nonce), aad, message.into()).map(Into::into).map_err(|_| SealError::BadLength)
            }
        }
    }

    fn open(&self, header: &TransformHeader, aad: &[u8], message: &mut [u8]) -> Result<(), SealError> {
        let nonce = &header.nonce;
        let tag = &header.signature;
        match &self.prepared {
            Prepared::Gcm(key) => key
                .open_in_place_separate_tag(gcm_nonce(nonce), aead::Aad::from(aad), tag, message)
                .map(|_| ())
                .map_err(|_| SealError::BadTag),
            Prepared::Ccm128(key) => {
                key.decrypt_inout_detached(&ccm_nonce(nonce), aad, message.into(), &(*tag).into()).map_err(|_| SealError::BadTag)
            }
            Prepared::Ccm256(key) => {
                key.decrypt_inout_detached(&ccm_nonce(nonce), aad, message.into(), &(*tag).into()).map_err(|_| SealError::BadTag)
            }
        }
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealingKey({:?})", self.cipher)
    }
}

fn gcm_nonce(field: &[u8; 16]) -> aead::Nonce {
    let mut nonce = [0; 12];
    nonce.copy_from_slice(&field[..12]);
    aead::Nonce::assume_unique_for_key(nonce)
}

fn ccm_nonce(field: &[u8; 16]) -> ccm::Nonce<U11> {
    let mut nonce = [0; 11];
    nonce.copy_from_slice(&field[..11]);
    nonce.into()
}
