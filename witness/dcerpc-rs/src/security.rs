//! The seam to the security packages: who authenticates and protects is told through traits, implemented elsewhere.
//! Here is only where in a PDU protection applies. It knows nothing of NTLM, SPNEGO or Kerberos.

use std::net::IpAddr;

use crate::fault::Fault;
use crate::pdu::{AuthTrailer, DecodeError, Frame, PacketType, TRAILER_BYTES, encode_unsigned};

/// How much of a call is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AuthLevel {
    /// Not at all.
    None = 1,
    /// The identity is proved when the connection is made; calls are not protected.
    Connect = 2,
    /// As integrity here: the packet itself is signed. Level 3 (call) is raised to it by clients and never travels.
    Packet = 4,
    /// Calls are signed.
    Integrity = 5,
    /// Calls are signed and encrypted.
    Privacy = 6,
}

impl AuthLevel {
    /// The level with this number.
    pub fn from_u8(value: u8) -> Option<Self> {
        Some(match value {
            1 => Self::None,
            2 => Self::Connect,
            4 => Self::Packet,
            5 => Self::Integrity,
            6 => Self::Privacy,
            _ => return None,
        })
    }
}

/// Security packages by their number in the trailer.
pub mod auth_type {
    /// SPNEGO.
    pub const SPNEGO: u8 = 9;
    /// Raw NTLMSSP.
    pub const NTLMSSP: u8 = 10;
    /// Raw Kerberos.
    pub const KERBEROS: u8 = 16;
}

/// Who calls, as the security package or the transport (an SMB session) proved it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Identity {
    /// Account name, without its domain.
    pub user: String,
    /// The domain that the client named.
    pub domain: String,
    /// True if nobody was authenticated.
    pub is_anonymous: bool,
    /// True if the account may administer the server.
    pub is_administrator: bool,
}

/// Why a security step or a signature was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SecurityError(pub String);

/// Result of one leg of an authentication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send this token and wait for the peer's next one.
    Continue(Vec<u8>),
    /// Finished; the token, if not empty, is for the peer.
    Done {
        /// The last token to the peer; empty if it needs none.
        token: Vec<u8>,
        /// Who the peer is. The initiating side puts its own name here.
        identity: Identity,
    },
}

/// One authentication and then its protection, either side. Calls come strictly in the order of PDUs.
pub trait SecurityContext: Send {
    /// Takes the peer's token (empty for the initiator's first leg).
    fn step(&mut self, token: &[u8]) -> Result<Step, SecurityError>;

    /// Length of every signature of messages that are signed, or of those that are `sealed`.
    fn signature_bytes(&self, sealed: bool) -> usize;

    /// True if signatures cover the headers whatever the two sides negotiated, as those of NTLM do.
    fn always_signs_headers(&self) -> bool {
        false
    }

    /// Signs a message.
    fn sign(&mut self, message: &[u8]) -> Result<Vec<u8>, SecurityError>;

    /// Checks the signature of a message.
    fn verify(&mut self, message: &[u8], signature: &[u8]) -> Result<(), SecurityError>;

    /// Encrypts `message[sealed]` in place; the signature covers the whole plaintext message.
    fn seal(&mut self, message: &mut [u8], sealed: std::ops::Range<usize>) -> Result<Vec<u8>, SecurityError>;

    /// Decrypts `message[sealed]` in place and checks the signature over the whole plaintext message.
    fn unseal(&mut self, message: &mut [u8], sealed: std::ops::Range<usize>, signature: &[u8]) -> Result<(), SecurityError>;
}

/// Makes acceptors.
pub trait SecurityProvider: Send + Sync {
    /// A fresh acceptor for this security package; `None` if it is not served. The client's first token is there to choose by; it comes
    /// again with the first step.
    fn acceptor(&self, auth_type: u8, first_token: &[u8], peer: Option<IpAddr>) -> Option<Box<dyn SecurityContext>>;
}

/// Finished or unfinished security of one connection, with what its trailers carry.
pub(crate) struct Protection {
    pub(crate) auth_type: u8,
    pub(crate) level: AuthLevel,
    pub(crate) level_byte: u8,
    pub(crate) context_id: u32,
    pub(crate) header_signing: bool,
    pub(crate) context: Box<dyn SecurityContext>,
}

impl Protection {
    pub(crate) fn trailer(&self) -> AuthTrailer {
        AuthTrailer { auth_type: self.auth_type, auth_level: self.level_byte, pad_length: 0, context_id: self.context_id }
    }

    pub(crate) fn matches(&self, trailer: &AuthTrailer) -> bool {
        trailer.auth_type == self.auth_type && trailer.auth_level == self.level_byte && trailer.context_id == self.context_id
    }

    /// True if every request and response must carry a signature.
    pub(crate) fn protects(&self) -> bool {
        self.level >= AuthLevel::Packet
    }

    /// True if signatures cover the whole PDU and not only its stub.
    // windows: for NTLM they do so without negotiation.
    fn signs_headers(&self) -> bool {
        self.header_signing || self.context.always_signs_headers()
    }

    fn signature_bytes(&self) -> usize {
        self.context.signature_bytes(self.level == AuthLevel::Privacy)
    }

    /// Bytes that a protected PDU carries behind its (padded) stub.
    pub(crate) fn overhead(&self) -> usize {
        if self.protects() { TRAILER_BYTES + self.signature_bytes() } else { 0 }
    }

    /// Puts one protected PDU together.
    // MS-RPCE 3.3.1.5.2.2: with header signing everything but the token is signed, without it only the stub with its padding.
    pub(crate) fn protect(
        &mut self,
        packet_type: PacketType,
        flags: u8,
        call_id: u32,
        body: &[u8],
        stub_offset: usize,
    ) -> Result<Vec<u8>, SecurityError> {
        let token_bytes = self.signature_bytes();
        let mut pdu = encode_unsigned(packet_type, flags, call_id, body, stub_offset, self.trailer(), token_bytes)
            .map_err(|DecodeError(because)| SecurityError(because.into()))?;
        let trailer_offset = pdu.len() - TRAILER_BYTES;
        let (start, end) = if self.signs_headers() { (0, pdu.len()) } else { (stub_offset, trailer_offset) };
        let message = &mut pdu[start..end];
        let token = match self.level {
            AuthLevel::Privacy => self.context.seal(message, stub_offset - start..trailer_offset - start)?,
            AuthLevel::None | AuthLevel::Connect | AuthLevel::Packet | AuthLevel::Integrity => self.context.sign(message)?,
        };
        if token.len() != token_bytes {
            return Err(SecurityError("signature has an unexpected length".into()));
        }
        pdu.extend_from_slice(&token);
        Ok(pdu)
    }

    /// Checks (and decrypts in place) one PDU that came in.
    pub(crate) fn unprotect(&mut self, frame: &mut Frame) -> Result<(), Fault> {
        match frame.auth {
            None if self.protects() => Err(Fault::ACCESS_DENIED),
            Some(trailer) if !self.matches(&trailer) => Err(Fault::ACCESS_DENIED),
            None | Some(_) => self.unprotect_next(frame),
        }
    }

    /// As [`Self::unprotect`] for a fragment behind the first one: what its trailer says of itself is not looked at, it
    /// belongs to the security context of the first.
    // windows: the servers of every version do so.
    pub(crate) fn unprotect_next(&mut self, frame: &mut Frame) -> Result<(), Fault> {
        if !self.protects() {
            return Ok(());
        }
        let Some(trailer) = frame.auth else { return Err(Fault::PROTOCOL_ERROR) };
        let trailer_offset = frame.trailer_offset();
        let stub_offset = match frame.header.packet_type {
            PacketType::CoCancel | PacketType::Orphaned => crate::pdu::HEADER_BYTES,
            _ => frame.stub_offset(),
        };
        if stub_offset + usize::from(trailer.pad_length) > trailer_offset {
            return Err(Fault::PROTOCOL_ERROR);
        }
        let signs_headers = self.signs_headers();
        let (pdu, token) = frame.bytes.split_at_mut(trailer_offset + TRAILER_BYTES);
        let (start, end) = if signs_headers { (0, pdu.len()) } else { (stub_offset, trailer_offset) };
        let message = &mut pdu[start..end];
        let checked = match self.level {
            AuthLevel::Privacy => self.context.unseal(message, stub_offset - start..trailer_offset - start, token),
            AuthLevel::None | AuthLevel::Connect | AuthLevel::Packet | AuthLevel::Integrity => self.context.verify(message, token),
        };
        checked.map_err(|error| {
            tracing::debug!(%error, "signature of a PDU does not verify");
            Fault::SECURITY_PACKAGE
        })
    }
}
