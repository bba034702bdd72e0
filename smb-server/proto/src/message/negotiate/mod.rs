//! NEGOTIATE (MS-SMB2 2.2.3, 2.2.4).

pub mod context;

use smb_types::{Dialect, FileTime, Guid};

pub use context::{
    CIPHER_AES_128_CCM, CIPHER_AES_128_GCM, CIPHER_AES_256_CCM, CIPHER_AES_256_GCM, COMPRESSION_LZ4, COMPRESSION_LZ77,
    COMPRESSION_LZ77_HUFFMAN, COMPRESSION_LZNT1, COMPRESSION_NONE, COMPRESSION_PATTERN_V1, HASH_SHA512, NegotiateContext, SIGNING_AES_CMAC,
    SIGNING_AES_GMAC, SIGNING_HMAC_SHA256,
};

use crate::error::DecodeError;
use crate::header::HEADER_SIZE;
use crate::wire::{Put, Reader, align, body_part, flags, len_u16, len_u32, patch_u32};

flags! {
    /// SecurityMode.
    SecurityMode(u16) {
        /// SMB2_NEGOTIATE_SIGNING_ENABLED.
        SIGNING_ENABLED = 0x1;
        /// SMB2_NEGOTIATE_SIGNING_REQUIRED.
        SIGNING_REQUIRED = 0x2;
    }
}

flags! {
    /// Capabilities (SMB2_GLOBAL_CAP_).
    Capabilities(u32) {
        /// DFS.
        DFS = 0x1;
        /// LEASING.
        LEASING = 0x2;
        /// LARGE_MTU.
        LARGE_MTU = 0x4;
        /// MULTI_CHANNEL.
        MULTI_CHANNEL = 0x8;
        /// PERSISTENT_HANDLES.
        PERSISTENT_HANDLES = 0x10;
        /// DIRECTORY_LEASING.
        DIRECTORY_LEASING = 0x20;
        /// ENCRYPTION.
        ENCRYPTION = 0x40;
        /// NOTIFICATIONS.
        NOTIFICATIONS = 0x80;
    }
}

/// Most dialects that a request may offer.
pub const DIALECTS_MAX: usize = 64;
/// Length of the fixed part of a request, which the dialects follow.
const REQUEST_FIXED: usize = 36;
/// Length of the fixed part of a response, which the security buffer follows.
const RESPONSE_FIXED: usize = 64;

/// NEGOTIATE request.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NegotiateRequest {
    /// SecurityMode.
    pub security_mode: SecurityMode,
    /// Capabilities.
    pub capabilities: Capabilities,
    /// ClientGuid.
    pub client_guid: Guid,
    /// DialectRevisions as offered; never empty in a decoded request.
    pub dialects: Vec<u16>,
    /// Negotiate contexts; only with 3.1.1 among the dialects.
    pub contexts: Vec<NegotiateContext>,
}

impl NegotiateRequest {
    /// Tells whether a dialect is offered.
    #[must_use]
    pub fn offers(&self, dialect: Dialect) -> bool {
        self.dialects.contains(&dialect.to_wire())
    }

    /// Decodes the element `msg`.
    pub fn decode(msg: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::body(msg, 36)?;
        let count = r.len16()?;
        let security_mode = r.get()?;
        r.skip(2)?;
        let (capabilities, client_guid) = (r.get()?, r.get()?);
        let (contexts_offset, contexts_count) = (r.len32()?, r.len16()?);
        r.skip(2)?;
        // MS-SMB2 3.3.5.4: no dialect at all is refused.
        if count == 0 || count > DIALECTS_MAX {
            return Err(DecodeError::malformed("DialectCount"));
        }
        let dialects: Vec<u16> = (0..count).map(|_| r.u16()).collect::<Result<_, _>>()?;
        // Without 3.1.1 the same eight bytes are the client's start time.
        let contexts = if dialects.contains(&Dialect::Smb311.to_wire()) && contexts_count != 0 {
            if contexts_offset < r.position() {
                return Err(DecodeError::malformed("NegotiateContextOffset"));
            }
            context::decode_list(msg, contexts_offset, contexts_count)?
        } else {
            Vec::new()
        };
        Ok(Self { security_mode, capabilities, client_guid, dialects, contexts })
    }

    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.put_u16(36);
        out.put_u16(len_u16(self.dialects.len()));
        out.put(&self.security_mode);
        out.put_u16(0);
        out.put(&self.capabilities);
        out.put(&self.client_guid);
        let contexts_at = out.len();
        out.put_u32(0);
        out.put_u16(len_u16(self.contexts.len()));
        out.put_u16(0);
        debug_assert_eq!(out.len() - start, REQUEST_FIXED);
        for d in &self.dialects {
            out.put_u16(*d);
        }
        if !self.contexts.is_empty() {
            align(out, start, 8);
            let offset = len_u32(out.len() - start + HEADER_SIZE);
            patch_u32(out, contexts_at, offset);
            context::encode_list(&self.contexts, out);
        }
    }
}

/// NEGOTIATE response.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NegotiateResponse {
    /// SecurityMode.
    pub security_mode: SecurityMode,
    /// DialectRevision: a dialect, or the wildcard 0x02FF.
    pub dialect_revision: u16,
    /// ServerGuid.
    pub server_guid: Guid,
    /// Capabilities.
    pub capabilities: Capabilities,
    /// MaxTransactSize.
    pub max_transact_size: u32,
    /// MaxReadSize.
    pub max_read_size: u32,
    /// MaxWriteSize.
    pub max_write_size: u32,
    /// SystemTime.
    pub system_time: FileTime,
    /// ServerStartTime.
    pub server_start_time: FileTime,
    /// Security buffer: a NegTokenInit2.
    pub security_buffer: Vec<u8>,
    /// Negotiate contexts; only with 3.1.1.
    pub contexts: Vec<NegotiateContext>,
}

impl NegotiateResponse {
    /// Decodes the element `msg`.
    pub fn decode(msg: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::body(msg, 65)?;
        let (security_mode, dialect_revision, contexts_count) = (r.get()?, r.u16()?, r.len16()?);
        let (server_guid, capabilities) = (r.get()?, r.get()?);
        let (max_transact_size, max_read_size, max_write_size) = (r.u32()?, r.u32()?, r.u32()?);
        let (system_time, server_start_time) = (r.get()?, r.get()?);
        let (offset, length, contexts_offset) = (r.len16()?, r.len16()?, r.len32()?);
        let security_buffer = body_part(msg, offset, length, "security buffer")?.to_vec();
        let contexts = if dialect_revision == Dialect::Smb311.to_wire() && contexts_count != 0 {
            context::decode_list(msg, contexts_offset, contexts_count)?
        } else {
            Vec::new()
        };
        Ok(Self {
            security_mode,
            dialect_revision,
            server_guid,
            capabilities,
            max_transact_size,
            max_read_size,
            max_write_size,
            system_time,
            server_start_time,
            security_buffer,
            contexts,
        })
    }

    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.put_u16(65);
        out.put(&self.security_mode);
        out.put_u16(self.dialect_revision);
        out.put_u16(len_u16(self.contexts.len()));
        out.put(&self.server_guid);
        out.put(&self.capabilities);
        out.put_u32(self.max_transact_size);
        out.put_u32(self.max_read_size);
        out.put_u32(self.max_write_size);
        out.put(&self.system_time);
        out.put(&self.server_start_time);
        out.put_u16(len_u16(HEADER_SIZE + RESPONSE_FIXED));
        out.put_u16(len_u16(self.security_buffer.len()));
        let contexts_at = out.len();
        out.put_u32(0);
        out.put_bytes(&self.security_buffer);
        if !self.contexts.is_empty() {
            align(out, start, 8);
            let offset = len_u32(out.len() - start + HEADER_SIZE);
            patch_u32(out, contexts_at, offset);
            context::encode_list(&self.contexts, out);
        } else if self.security_buffer.is_empty() {
            out.put_u8(0);
        }
    }
}
