//! One PDU as bytes: its header, where its security trailer is, and how to put one together. The bytes stay as they
//! came, because signatures are made over them.

use super::wire::{DecodeError, Wire};
use super::{PacketType, flags};

/// Size of the common header.
pub const HEADER_BYTES: usize = 16;
/// Size of the security trailer before the token.
pub const TRAILER_BYTES: usize = 8;

const DREP_LITTLE_ENDIAN: [u8; 4] = [0x10, 0, 0, 0];

/// The common header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Which PDU.
    pub packet_type: PacketType,
    /// `pfc_flags`.
    pub flags: u8,
    /// Whole length of the PDU.
    pub frag_length: u16,
    /// Length of the security token, 0 if there is no trailer.
    pub auth_length: u16,
    /// Which call.
    pub call_id: u32,
}

/// Why a frame is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Not version 5 of the protocol.
    #[error("protocol version is not 5.0")]
    Version,
    /// Big-endian or EBCDIC peers are not served.
    #[error("data representation is not little-endian ASCII")]
    DataRepresentation,
    /// The packet type is unknown or belongs to the datagram protocol.
    #[error("packet type {0} is not served")]
    PacketType(u8),
    /// The lengths contradict each other.
    #[error("{0}")]
    Malformed(&'static str),
}

impl From<DecodeError> for FrameError {
    fn from(error: DecodeError) -> Self {
        Self::Malformed(error.0)
    }
}

/// The length of the PDU that starts here, once its header is complete.
pub fn frame_length(bytes: &[u8]) -> Option<usize> {
    let length = bytes.get(..HEADER_BYTES)?.get(8..10)?;
    Some(usize::from(u16::from_le_bytes([length[0], length[1]])))
}

/// The security trailer without its token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuthTrailer {
    /// Which security package (9 SPNEGO, 10 NTLM, 16 Kerberos).
    pub auth_type: u8,
    /// Which level of protection.
    pub auth_level: u8,
    /// Bytes of padding between the body and this trailer.
    pub pad_length: u8,
    /// Which security context of the connection.
    pub context_id: u32,
}

impl AuthTrailer {
    /// The eight bytes on the wire.
    pub fn to_bytes(&self) -> [u8; TRAILER_BYTES] {
        let id = self.context_id.to_le_bytes();
        [self.auth_type, self.auth_level, self.pad_length, 0, id[0], id[1], id[2], id[3]]
    }
}

/// One PDU, its header and trailer parsed, its body not yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The whole PDU.
    pub bytes: Vec<u8>,
    /// Its header.
    pub header: Header,
    /// Its security trailer, if it has one.
    pub auth: Option<AuthTrailer>,
}

impl Frame {
    /// Parses one whole PDU.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, FrameError> {
        let mut wire = Wire::new(&bytes);
        let [major, minor] = wire.array()?;
        if major != 5 || minor > 1 {
            return Err(FrameError::Version);
        }
        let packet_type = wire.u8()?;
        let flags = wire.u8()?;
        let drep: [u8; 4] = wire.array()?;
        let frag_length = wire.u16()?;
        let auth_length = wire.u16()?;
        let call_id = wire.u32()?;
        let packet_type = PacketType::from_u8(packet_type).ok_or(FrameError::PacketType(packet_type))?;
        if drep[0] != DREP_LITTLE_ENDIAN[0] {
            return Err(FrameError::DataRepresentation);
        }
        if usize::from(frag_length) != bytes.len() {
            return Err(FrameError::Malformed("frag_length is not the length of the PDU"));
        }
        let header = Header { packet_type, flags, frag_length, auth_length, call_id };
        let auth = Self::trailer_of(&bytes, &header)?;
        Ok(Self { bytes, header, auth })
    }

    fn trailer_of(bytes: &[u8], header: &Header) -> Result<Option<AuthTrailer>, FrameError> {
        if header.auth_length == 0 {
            return Ok(None);
        }
        let offset = bytes
            .len()
            .checked_sub(usize::from(header.auth_length) + TRAILER_BYTES)
            .filter(|offset| *offset >= HEADER_BYTES)
            .ok_or(FrameError::Malformed("auth_length is longer than the PDU"))?;
        let mut wire = Wire::new(&bytes[offset..]);
        let [auth_type, auth_level, pad_length, _reserved] = wire.array()?;
        let context_id = wire.u32()?;
        if HEADER_BYTES + usize::from(pad_length) > offset {
            return Err(FrameError::Malformed("auth padding is longer than the body"));
        }
        Ok(Some(AuthTrailer { auth_type, auth_level, pad_length, context_id }))
    }

    /// Where the security trailer starts; the end of the PDU if there is none.
    pub fn trailer_offset(&self) -> usize {
        match self.auth {
            Some(_) => self.bytes.len() - usize::from(self.header.auth_length) - TRAILER_BYTES,
            None => self.bytes.len(),
        }
    }

    /// True unless the security trailer stands where none may stand: everybody has to align it to four bytes.
    // MS-RPCE 2.2.2.11
    pub fn is_trailer_aligned(&self) -> bool {
        self.auth.is_none() || self.trailer_offset().is_multiple_of(4)
    }

    /// The security token; empty if there is no trailer.
    pub fn token(&self) -> &[u8] {
        match self.auth {
            Some(_) => &self.bytes[self.bytes.len() - usize::from(self.header.auth_length)..],
            None => &[],
        }
    }

    /// The body: behind the header, before padding and trailer.
    pub fn body(&self) -> &[u8] {
        let pad = self.auth.map_or(0, |auth| usize::from(auth.pad_length));
        &self.bytes[HEADER_BYTES..self.trailer_offset() - pad]
    }

    /// Where the stub of a request, response or fault starts.
    pub fn stub_offset(&self) -> usize {
        match self.header.packet_type {
            PacketType::Request if self.header.flags & flags::OBJECT_UUID != 0 => 40,
            _ => 24,
        }
    }
}

fn put_header(out: &mut Vec<u8>, packet_type: PacketType, flags: u8, call_id: u32) {
    out.extend_from_slice(&[5, 0, packet_type as u8, flags]);
    out.extend_from_slice(&DREP_LITTLE_ENDIAN);
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&call_id.to_le_bytes());
}

fn put_lengths(out: &mut [u8], frag_length: usize, auth_length: usize) -> Result<(), DecodeError> {
    let frag_length = u16::try_from(frag_length).map_err(|_| DecodeError("PDU would be longer than 65535 bytes"))?;
    let auth_length = u16::try_from(auth_length).map_err(|_| DecodeError("token would be longer than 65535 bytes"))?;
    out[8..10].copy_from_slice(&frag_length.to_le_bytes());
    out[10..12].copy_from_slice(&auth_length.to_le_bytes());
    Ok(())
}

/// Puts a PDU together: header, body, and a trailer with its token if there is one (4-aligned, as bind PDUs have it).
pub fn encode(
    packet_type: PacketType,
    flags: u8,
    call_id: u32,
    body: &[u8],
    auth: Option<(AuthTrailer, &[u8])>,
) -> Result<Vec<u8>, DecodeError> {
    let mut out = Vec::with_capacity(HEADER_BYTES + body.len() + auth.map_or(0, |(_, token)| token.len() + TRAILER_BYTES + 3));
    put_header(&mut out, packet_type, flags, call_id);
    out.extend_from_slice(body);
    let mut auth_length = 0;
    if let Some((mut trailer, token)) = auth {
        let padded = out.len().next_multiple_of(4);
        trailer.pad_length = u8::try_from(padded - out.len()).expect("less than four");
        out.resize(padded, 0);
        out.extend_from_slice(&trailer.to_bytes());
        out.extend_from_slice(token);
        auth_length = token.len();
    }
    let length = out.len();
    put_lengths(&mut out, length, auth_length)?;
    Ok(out)
}

/// Puts a protected PDU together up to and including its trailer; the token of `token_bytes` bytes is still missing,
/// but the lengths in the header already count it, because they are signed.
///
/// `body` starts behind the common header; its first eight bytes (request, response) are followed by the stub, which is
/// padded to 16 bytes here.
pub fn encode_unsigned(
    packet_type: PacketType,
    flags: u8,
    call_id: u32,
    body: &[u8],
    stub_offset: usize,
    mut trailer: AuthTrailer,
    token_bytes: usize,
) -> Result<Vec<u8>, DecodeError> {
    let mut out = Vec::with_capacity(HEADER_BYTES + body.len() + 16 + TRAILER_BYTES + token_bytes);
    put_header(&mut out, packet_type, flags, call_id);
    out.extend_from_slice(body);
    let stub_bytes = out.len().checked_sub(stub_offset).ok_or(DecodeError("body shorter than its own header"))?;
    let pad = stub_bytes.next_multiple_of(16) - stub_bytes;
    trailer.pad_length = u8::try_from(pad).expect("less than sixteen");
    out.resize(out.len() + pad, 0);
    out.extend_from_slice(&trailer.to_bytes());
    let length = out.len() + token_bytes;
    put_lengths(&mut out, length, token_bytes)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn trailer_is_found_and_padding_is_not_body() {
        let trailer = AuthTrailer { auth_type: 9, auth_level: 5, pad_length: 0, context_id: 7 };
        let bytes = encode(PacketType::Auth3, flags::WHOLE, 3, &[1, 2, 3], Some((trailer, &[9; 5]))).unwrap();
        let frame = Frame::parse(bytes).unwrap();
        assert_eq!(frame.body(), [1, 2, 3]);
        assert_eq!(frame.token(), [9; 5]);
        assert_eq!(frame.auth.unwrap().pad_length, 1);
        assert_eq!(frame.trailer_offset() % 4, 0);
    }

    #[test]
    fn lengths_that_contradict_are_refused() {
        let mut bytes = encode(PacketType::CoCancel, flags::WHOLE, 3, &[], None).unwrap();
        bytes[10] = 1;
        assert!(matches!(Frame::parse(bytes.clone()), Err(FrameError::Malformed(_))));
        bytes[10] = 0;
        bytes[8] = 17;
        assert!(matches!(Frame::parse(bytes.clone()), Err(FrameError::Malformed(_))));
        bytes[0] = 4;
        assert_eq!(Frame::parse(bytes), Err(FrameError::Version));
    }

    proptest! {
        #[test]
        fn garbage_never_panics(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), fix in any::<bool>()) {
            if fix && bytes.len() >= 16 {
                bytes[0] = 5; bytes[1] = 0; bytes[4] = 0x10; bytes[2] %= 20;
                let length = u16::try_from(bytes.len()).unwrap().to_le_bytes();
                bytes[8] = length[0]; bytes[9] = length[1]; bytes[11] = 0;
            }
            if let Ok(frame) = Frame::parse(bytes) {
                let _ = (frame.body(), frame.token(), frame.stub_offset());
            }
        }
    }
}
