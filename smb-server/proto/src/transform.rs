//! The header around an encrypted message (MS-SMB2 2.2.41). Bytes only: the sealing is done elsewhere.

use crate::error::DecodeError;
use crate::wire::{Put, Reader};

/// First four bytes of an encrypted message.
pub const PROTOCOL_ID: [u8; 4] = [0xFD, b'S', b'M', b'B'];
/// First four bytes of a compressed message.
pub const COMPRESSED_PROTOCOL_ID: [u8; 4] = [0xFC, b'S', b'M', b'B'];
/// Length of the header.
pub const TRANSFORM_HEADER_SIZE: usize = 52;
/// Where the authenticated, unencrypted part of the header begins.
pub const AAD_OFFSET: usize = 20;
/// Flags value "encrypted".
pub const FLAG_ENCRYPTED: u16 = 1;

/// SMB2 TRANSFORM_HEADER.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TransformHeader {
    /// The tag of the authenticated encryption.
    pub signature: [u8; 16],
    /// Nonce: CCM uses the first 11 bytes, GCM the first 12.
    pub nonce: [u8; 16],
    /// Length of the message that was encrypted.
    pub original_message_size: u32,
    /// 1 = encrypted (3.1.1), or the algorithm (3.0: 1 too).
    pub flags: u16,
    /// Whose keys.
    pub session_id: u64,
}

impl TransformHeader {
    /// Decodes the header; the encrypted message is what follows it, and must have the announced length.
    pub fn decode(msg: &[u8]) -> Result<(Self, &[u8]), DecodeError> {
        // MS-SMB2 3.3.5.2.1.1: whatever is wrong here ends the connection.
        let drop = |what| DecodeError::Disconnect { what };
        let head = msg.get(..TRANSFORM_HEADER_SIZE).ok_or(drop("short transform header"))?;
        let mut r = Reader::new(head);
        if r.array()? != PROTOCOL_ID {
            return Err(drop("ProtocolId of the transform header"));
        }
        let (signature, nonce, original_message_size) = (r.array()?, r.array()?, r.u32()?);
        r.skip(2)?;
        let h = Self { signature, nonce, original_message_size, flags: r.u16()?, session_id: r.u64()? };
        if h.flags != FLAG_ENCRYPTED {
            return Err(drop("flags of the transform header"));
        }
        let payload = msg.get(TRANSFORM_HEADER_SIZE..).unwrap_or_default();
        if u32::try_from(payload.len()) != Ok(h.original_message_size) {
            return Err(drop("OriginalMessageSize"));
        }
        Ok((h, payload))
    }

    /// Appends the 52 bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_bytes(&PROTOCOL_ID);
        out.put_bytes(&self.signature);
        out.put_bytes(&self.nonce);
        out.put_u32(self.original_message_size);
        out.put_u16(0);
        out.put_u16(self.flags);
        out.put_u64(self.session_id);
    }

    /// The part of the header that the tag covers.
    #[must_use]
    pub fn aad(&self) -> [u8; 32] {
        let mut out = Vec::with_capacity(TRANSFORM_HEADER_SIZE);
        self.encode(&mut out);
        let mut aad = [0; 32];
        aad.copy_from_slice(out.get(AAD_OFFSET..).unwrap_or(&[0; 32]));
        aad
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transform_header_there_and_back() {
        let h = TransformHeader { signature: [1; 16], nonce: [2; 16], original_message_size: 3, flags: 1, session_id: 0x25 };
        let mut b = Vec::new();
        h.encode(&mut b);
        b.extend_from_slice(&[7, 8, 9]);
        assert_eq!(TransformHeader::decode(&b), Ok((h.clone(), &[7u8, 8, 9][..])));
        assert_eq!(h.aad(), b[20..52]);
        b.push(0);
        assert!(TransformHeader::decode(&b).unwrap_err().is_disconnect(), "length must match");
    }
}
