//! Negotiate contexts of 3.1.1 (MS-SMB2 2.2.3.1, 2.2.4.1); requests and responses share their layouts.

use crate::error::DecodeError;
use crate::utf16;
use crate::wire::{Put, Reader, align, len_u16, part};

/// Hash SHA-512.
pub const HASH_SHA512: u16 = 1;
/// Cipher AES-128-CCM.
pub const CIPHER_AES_128_CCM: u16 = 1;
/// Cipher AES-128-GCM.
pub const CIPHER_AES_128_GCM: u16 = 2;
/// Cipher AES-256-CCM.
pub const CIPHER_AES_256_CCM: u16 = 3;
/// Cipher AES-256-GCM.
pub const CIPHER_AES_256_GCM: u16 = 4;
/// No compression.
pub const COMPRESSION_NONE: u16 = 0;
/// LZNT1.
pub const COMPRESSION_LZNT1: u16 = 1;
/// LZ77.
pub const COMPRESSION_LZ77: u16 = 2;
/// LZ77+Huffman.
pub const COMPRESSION_LZ77_HUFFMAN: u16 = 3;
/// Pattern_V1.
pub const COMPRESSION_PATTERN_V1: u16 = 4;
/// LZ4.
pub const COMPRESSION_LZ4: u16 = 5;
/// Compression flag: chained payloads.
pub const COMPRESSION_FLAG_CHAINED: u32 = 1;
/// Signing by HMAC-SHA256.
pub const SIGNING_HMAC_SHA256: u16 = 0;
/// Signing by AES-CMAC.
pub const SIGNING_AES_CMAC: u16 = 1;
/// Signing by AES-GMAC.
pub const SIGNING_AES_GMAC: u16 = 2;
/// Transport flag: the transport's own security is accepted.
pub const TRANSPORT_ACCEPT_SECURITY: u32 = 1;

/// Most contexts in one message.
pub const CONTEXTS_MAX: usize = 64;

const PREAUTH_INTEGRITY: u16 = 1;
const ENCRYPTION: u16 = 2;
const COMPRESSION: u16 = 3;
const NETNAME: u16 = 5;
const TRANSPORT: u16 = 6;
const RDMA_TRANSFORM: u16 = 7;
const SIGNING: u16 = 8;
const POSIX: u16 = 0x100;

/// One context.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NegotiateContext {
    /// SMB2_PREAUTH_INTEGRITY_CAPABILITIES.
    PreauthIntegrity {
        /// HashAlgorithms.
        hash_algorithms: Vec<u16>,
        /// Salt.
        salt: Vec<u8>,
    },
    /// SMB2_ENCRYPTION_CAPABILITIES.
    Encryption {
        /// Ciphers.
        ciphers: Vec<u16>,
    },
    /// SMB2_COMPRESSION_CAPABILITIES.
    Compression {
        /// Flags.
        flags: u32,
        /// CompressionAlgorithms.
        algorithms: Vec<u16>,
    },
    /// SMB2_NETNAME_NEGOTIATE_CONTEXT_ID: the server's name as the client sees it.
    NetName(String),
    /// SMB2_TRANSPORT_CAPABILITIES.
    Transport {
        /// Flags.
        flags: u32,
    },
    /// SMB2_RDMA_TRANSFORM_CAPABILITIES.
    RdmaTransform {
        /// RDMATransformIds.
        ids: Vec<u16>,
    },
    /// SMB2_SIGNING_CAPABILITIES.
    Signing {
        /// SigningAlgorithms.
        algorithms: Vec<u16>,
    },
    /// The POSIX extensions of Samba and Linux: a GUID.
    Posix(Vec<u8>),
    /// Any other, as sent.
    Unknown {
        /// ContextType.
        context_type: u16,
        /// Data.
        data: Vec<u8>,
    },
}

fn ids(r: &mut Reader<'_>, count: usize) -> Result<Vec<u16>, DecodeError> {
    if r.rest().len() / 2 < count {
        return Err(DecodeError::malformed("negotiate context count"));
    }
    (0..count).map(|_| r.u16()).collect()
}

impl NegotiateContext {
    /// ContextType.
    #[must_use]
    pub const fn context_type(&self) -> u16 {
        match self {
            Self::PreauthIntegrity { .. } => PREAUTH_INTEGRITY,
            Self::Encryption { .. } => ENCRYPTION,
            Self::Compression { .. } => COMPRESSION,
            Self::NetName(_) => NETNAME,
            Self::Transport { .. } => TRANSPORT,
            Self::RdmaTransform { .. } => RDMA_TRANSFORM,
            Self::Signing { .. } => SIGNING,
            Self::Posix(_) => POSIX,
            Self::Unknown { context_type, .. } => *context_type,
        }
    }

    fn decode(context_type: u16, data: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(data);
        Ok(match context_type {
            PREAUTH_INTEGRITY => {
                let (count, salt_length) = (r.len16()?, r.len16()?);
                let hash_algorithms = ids(&mut r, count)?;
                Self::PreauthIntegrity { hash_algorithms, salt: r.bytes(salt_length)?.to_vec() }
            }
            ENCRYPTION => {
                let count = r.len16()?;
                Self::Encryption { ciphers: ids(&mut r, count)? }
            }
            COMPRESSION => {
                let count = r.len16()?;
                r.skip(2)?;
                let flags = r.u32()?;
                Self::Compression { flags, algorithms: ids(&mut r, count)? }
            }
            // Only a hint: a name that makes no sense is kept raw, not refused.
            NETNAME => match utf16::decode(data, "NetName") {
                Ok(name) => Self::NetName(name),
                Err(_) => Self::Unknown { context_type, data: data.to_vec() },
            },
            TRANSPORT => Self::Transport { flags: r.u32()? },
            RDMA_TRANSFORM => {
                let count = r.len16()?;
                r.skip(6)?;
                Self::RdmaTransform { ids: ids(&mut r, count)? }
            }
            SIGNING => {
                let count = r.len16()?;
                Self::Signing { algorithms: ids(&mut r, count)? }
            }
            POSIX => Self::Posix(data.to_vec()),
            _ => Self::Unknown { context_type, data: data.to_vec() },
        })
    }

    fn data(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let list = |out: &mut Vec<u8>, ids: &[u16]| ids.iter().for_each(|i| out.put_u16(*i));
        match self {
            Self::PreauthIntegrity { hash_algorithms, salt } => {
                out.put_u16(len_u16(hash_algorithms.len()));
                out.put_u16(len_u16(salt.len()));
                list(&mut out, hash_algorithms);
                out.put_bytes(salt);
            }
            Self::Encryption { ciphers: ids } | Self::Signing { algorithms: ids } => {
                out.put_u16(len_u16(ids.len()));
                list(&mut out, ids);
            }
            Self::Compression { flags, algorithms } => {
                out.put_u16(len_u16(algorithms.len()));
                out.put_u16(0);
                out.put_u32(*flags);
                list(&mut out, algorithms);
            }
            Self::NetName(name) => utf16::encode(name, &mut out),
            Self::Transport { flags } => out.put_u32(*flags),
            Self::RdmaTransform { ids } => {
                out.put_u16(len_u16(ids.len()));
                out.put_zeros(6);
                list(&mut out, ids);
            }
            Self::Posix(data) | Self::Unknown { data, .. } => out.put_bytes(data),
        }
        out
    }
}

/// Decodes `count` contexts at `offset` of the message.
pub(super) fn decode_list(msg: &[u8], offset: usize, count: usize) -> Result<Vec<NegotiateContext>, DecodeError> {
    if count > CONTEXTS_MAX {
        return Err(DecodeError::malformed("NegotiateContextCount"));
    }
    let mut at = offset;
    let mut all = Vec::with_capacity(count);
    for _ in 0..count {
        let mut head = Reader::new(part(msg, at, 8, "negotiate context")?);
        let (context_type, length) = (head.u16()?, head.len16()?);
        let data_at = at.checked_add(8).ok_or(DecodeError::malformed("negotiate context"))?;
        all.push(NegotiateContext::decode(context_type, part(msg, data_at, length, "negotiate context data")?)?);
        at = data_at.checked_add(length).ok_or(DecodeError::malformed("negotiate context"))?.next_multiple_of(8);
    }
    Ok(all)
}

/// Appends the contexts; `out` is aligned to 8 already.
pub(super) fn encode_list(contexts: &[NegotiateContext], out: &mut Vec<u8>) {
    let start = out.len();
    for c in contexts {
        align(out, start, 8);
        let data = c.data();
        out.put_u16(c.context_type());
        out.put_u16(len_u16(data.len()));
        out.put_u32(0);
        out.put_bytes(&data);
    }
}
