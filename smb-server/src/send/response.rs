//! A handler's answer: a status and an encoded body, in a buffer that already has room for the headers (MS-SMB2 3.3.4.1).

use std::sync::Arc;

use smb_auth::SigningKey;
use smb_proto::HEADER_SIZE;
use smb_types::{Dialect, NtStatus};

use super::frame::HEADROOM;
use crate::{
    error::Refusal,
    state::{ConnectionId, Session},
};

/// Where a body begins in the buffer.
pub(crate) const BODY: usize = HEADROOM + HEADER_SIZE;

/// How a response is signed.
#[derive(Debug, Clone, Default)]
pub(crate) enum SignWith {
    /// As the session's rules say.
    #[default]
    Session,
    /// With this key, unless the message is encrypted.
    Key(Arc<SigningKey>),
    /// With this key, inside an encrypted message too: the end of a SESSION_SETUP, which proves the key.
    Proof(Arc<SigningKey>),
    /// Not at all: a SESSION_SETUP that has no keys yet, NEGOTIATE.
    Nothing,
}

/// The answer to one request.
#[derive(Debug)]
pub struct Response {
    /// Status of the header.
    pub status: NtStatus,
    buffer: Vec<u8>,
    pub(crate) sign: SignWith,
    pub(crate) session_id: Option<u64>,
    pub(crate) tree_id: Option<u32>,
    /// The encoded response continues the hash of this session's authentication on that connection.
    pub(crate) hash_into: Option<(Arc<Session>, ConnectionId)>,
}

impl Response {
    /// A response whose body `encode` appends (it must begin with StructureSize; offsets count from the SMB2 header).
    #[must_use]
    pub fn encode(status: NtStatus, encode: impl FnOnce(&mut Vec<u8>)) -> Self {
        let mut buffer = Vec::with_capacity(BODY + 192);
        buffer.resize(BODY, 0);
        encode(&mut buffer);
        Self::with_buffer(status, buffer)
    }

    /// A successful response whose body `encode` appends.
    #[must_use]
    pub fn success(encode: impl FnOnce(&mut Vec<u8>)) -> Self {
        Self::encode(NtStatus::SUCCESS, encode)
    }

    /// A successful response with an empty body and room for `length` bytes, to be appended to [`Self::body_end`]: READ allocates once.
    #[must_use]
    pub fn with_room(length: usize) -> Self {
        let mut buffer = Vec::with_capacity(BODY + length);
        buffer.resize(BODY, 0);
        Self::with_buffer(NtStatus::SUCCESS, buffer)
    }

    /// A response with an encoded body.
    #[must_use]
    pub fn from_body(status: NtStatus, body: &[u8]) -> Self {
        Self::encode(status, |out| out.extend_from_slice(body))
    }

    fn with_buffer(status: NtStatus, buffer: Vec<u8>) -> Self {
        Self { status, buffer, sign: SignWith::Session, session_id: None, tree_id: None, hash_into: None }
    }

    /// The same with another status (BUFFER_OVERFLOW and the like).
    #[must_use]
    pub fn status(mut self, status: NtStatus) -> Self {
        self.status = status;
        self
    }

    /// The error response of a refusal.
    // MS-SMB2 2.2.2
    // 3.1.1 wraps error data in a context; every error body has at least one byte behind its fixed part.
    #[must_use]
    pub fn refused(refusal: &Refusal, dialect: Option<Dialect>) -> Self {
        if let Some(body) = &refusal.body {
            return Self::from_body(refusal.status, body);
        }
        Self::encode(refusal.status, |out| {
            let data = &refusal.data;
            let length = u32::try_from(data.len()).unwrap_or(0);
            let wrapped = dialect == Some(Dialect::Smb311) && length > 0;
            out.extend_from_slice(&9u16.to_le_bytes());
            out.extend_from_slice(&[u8::from(wrapped), 0]);
            out.extend_from_slice(&(if wrapped { length + 8 } else { length }).to_le_bytes());
            if wrapped {
                out.extend_from_slice(&length.to_le_bytes());
                out.extend_from_slice(&refusal.error_id.to_le_bytes());
            }
            out.extend_from_slice(data);
            if length == 0 {
                out.push(0);
            }
        })
    }

    /// The body.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.buffer[BODY..]
    }

    /// The body, to be filled in place.
    pub fn body_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[BODY..]
    }

    /// The end of the body, to append to.
    pub fn body_end(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// The whole buffer: room, header (still zero), body.
    pub(crate) fn into_buffer(self) -> Vec<u8> {
        self.buffer
    }
}
