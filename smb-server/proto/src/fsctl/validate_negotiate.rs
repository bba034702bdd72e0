//! FSCTL_VALIDATE_NEGOTIATE_INFO (MS-SMB2 2.2.31.4, 2.2.32.6).

use smb_types::Guid;

use crate::error::DecodeError;
use crate::message::negotiate::{Capabilities, DIALECTS_MAX, SecurityMode};
use crate::wire::{Put, Reader, len_u16, record};

/// What the client says it negotiated.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ValidateNegotiateRequest {
    /// Capabilities.
    pub capabilities: Capabilities,
    /// Guid of the client.
    pub client_guid: Guid,
    /// SecurityMode.
    pub security_mode: SecurityMode,
    /// Dialects.
    pub dialects: Vec<u16>,
}

impl ValidateNegotiateRequest {
    /// Decodes the input.
    pub fn decode(buf: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(buf);
        let (capabilities, client_guid, security_mode, count) = (r.get()?, r.get()?, r.get()?, r.len16()?);
        if count > DIALECTS_MAX {
            return Err(DecodeError::malformed("DialectCount"));
        }
        let dialects = (0..count).map(|_| r.u16()).collect::<Result<_, _>>()?;
        Ok(Self { capabilities, client_guid, security_mode, dialects })
    }

    /// Appends the input.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put(&self.capabilities);
        out.put(&self.client_guid);
        out.put(&self.security_mode);
        out.put_u16(len_u16(self.dialects.len()));
        for d in &self.dialects {
            out.put_u16(*d);
        }
    }
}

record! {
    /// What the server says it negotiated.
    ValidateNegotiateResponse [24] {
        /// Capabilities.
        capabilities: Capabilities;
        /// Guid of the server.
        server_guid: Guid;
        /// SecurityMode.
        security_mode: SecurityMode;
        /// Dialect.
        dialect: u16;
    }
}
