//! SESSION_SETUP (MS-SMB2 2.2.5, 2.2.6).

use crate::error::DecodeError;
use crate::header::HEADER_SIZE;
use crate::message::negotiate::{Capabilities, SecurityMode};
use crate::wire::{Put, Reader, body_part, flags, len_u16};

flags! {
    /// Flags of a request.
    SessionSetupFlags(u8) {
        /// SMB2_SESSION_FLAG_BINDING: a further channel of an existing session.
        BINDING = 0x1;
    }
}

flags! {
    /// SessionFlags of a response.
    SessionFlags(u16) {
        /// SMB2_SESSION_FLAG_IS_GUEST.
        IS_GUEST = 0x1;
        /// SMB2_SESSION_FLAG_IS_NULL.
        IS_NULL = 0x2;
        /// SMB2_SESSION_FLAG_ENCRYPT_DATA.
        ENCRYPT_DATA = 0x4;
    }
}

/// SESSION_SETUP request.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SessionSetupRequest {
    /// Flags.
    pub flags: SessionSetupFlags,
    /// SecurityMode; one byte on the wire.
    pub security_mode: SecurityMode,
    /// Capabilities.
    pub capabilities: Capabilities,
    /// PreviousSessionId.
    pub previous_session_id: u64,
    /// Security buffer: a token.
    pub security_buffer: Vec<u8>,
}

impl SessionSetupRequest {
    /// Tells whether a channel is to be bound to an existing session.
    #[must_use]
    pub const fn is_binding(&self) -> bool {
        self.flags.contains(SessionSetupFlags::BINDING)
    }

    /// Decodes the element `msg`.
    pub fn decode(msg: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::body(msg, 25)?;
        let flags = r.get()?;
        let security_mode = SecurityMode(u16::from(r.u8()?));
        let capabilities = r.get()?;
        r.skip(4)?;
        let (offset, length) = (r.len16()?, r.len16()?);
        let previous_session_id = r.u64()?;
        let security_buffer = body_part(msg, offset, length, "security buffer")?.to_vec();
        Ok(Self { flags, security_mode, capabilities, previous_session_id, security_buffer })
    }

    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let [mode, _] = self.security_mode.0.to_le_bytes();
        out.put_u16(25);
        out.put(&self.flags);
        out.put_u8(mode);
        out.put(&self.capabilities);
        out.put_u32(0);
        out.put_u16(len_u16(HEADER_SIZE + 24));
        out.put_u16(len_u16(self.security_buffer.len()));
        out.put_u64(self.previous_session_id);
        out.put_bytes(&self.security_buffer);
        if self.security_buffer.is_empty() {
            out.put_u8(0);
        }
    }
}

/// SESSION_SETUP response.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SessionSetupResponse {
    /// SessionFlags.
    pub session_flags: SessionFlags,
    /// Security buffer: a token.
    pub security_buffer: Vec<u8>,
}

impl SessionSetupResponse {
    /// Decodes the element `msg`.
    pub fn decode(msg: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::body(msg, 9)?;
        let session_flags = r.get()?;
        let (offset, length) = (r.len16()?, r.len16()?);
        Ok(Self { session_flags, security_buffer: body_part(msg, offset, length, "security buffer")?.to_vec() })
    }

    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u16(9);
        out.put(&self.session_flags);
        out.put_u16(len_u16(HEADER_SIZE + 8));
        out.put_u16(len_u16(self.security_buffer.len()));
        out.put_bytes(&self.security_buffer);
        if self.security_buffer.is_empty() {
            out.put_u8(0);
        }
    }
}
