//! The three NTLM messages on the wire (MS-NLMP 2.2.1).
//!
//! Decoders trust offsets only, never the order or place of payloads. Nobody re-encodes a received message: MICs are made over the raw bytes.

use crate::AuthError;
use crate::crypto::utf16;
use crate::ntlm::flags::NegotiateFlags;

/// What every NTLM message starts with.
pub const SIGNATURE: &[u8; 8] = b"NTLMSSP\0";
/// Longest NTLM message we read.
pub const MESSAGE_LENGTH_MAX: usize = 0x1_0000;
/// Where an AUTHENTICATE message has its MIC, if it has one.
pub(crate) const MIC: std::ops::Range<usize> = 72..88;
/// Our Version field: 10.0, build 0, NTLM revision 15.
const VERSION: [u8; 8] = [10, 0, 0, 0, 0, 0, 0, 15];

/// NEGOTIATE_MESSAGE: only its flags matter to a server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Negotiate {
    /// What the client asks for.
    pub flags: NegotiateFlags,
}

/// CHALLENGE_MESSAGE.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Challenge {
    /// What the server grants.
    pub flags: NegotiateFlags,
    /// The server's random bytes.
    pub server_challenge: [u8; 8],
    /// The server's NetBIOS name.
    pub target_name: String,
    /// AV pairs, encoded.
    pub target_info: Vec<u8>,
}

/// AUTHENTICATE_MESSAGE.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Authenticate {
    /// What the client settled on.
    pub flags: NegotiateFlags,
    /// LmChallengeResponse.
    pub lm_response: Vec<u8>,
    /// NtChallengeResponse.
    pub nt_response: Vec<u8>,
    /// Domain, as typed.
    pub domain: String,
    /// User, as typed.
    pub user: String,
    /// The client's NetBIOS name.
    pub workstation: String,
    /// EncryptedRandomSessionKey.
    pub encrypted_session_key: Vec<u8>,
    /// The MIC's bytes, where the message is long enough and no payload lies there. They are a MIC only if the AV pairs say so.
    pub mic: Option<[u8; 16]>,
}

impl Negotiate {
    /// Reads a message, which may be cut after the flags.
    ///
    /// # Errors
    /// `BadToken`.
    // MS-NLMP 2.2.1.1
    pub fn parse(b: &[u8]) -> Result<Self, AuthError> {
        let r = Reader::new(b, 1, "NTLM NEGOTIATE")?;
        Ok(Self { flags: NegotiateFlags(r.u32(12)?) })
    }

    /// Encodes a message without names.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut w = Writer::new(1, 40);
        w.u32(12, self.flags.0);
        w.empty_field(16);
        w.empty_field(24);
        w.put(32, &VERSION);
        w.0
    }
}

impl Challenge {
    /// Reads a message.
    ///
    /// # Errors
    /// `BadToken`.
    // MS-NLMP 2.2.1.2
    pub fn parse(b: &[u8]) -> Result<Self, AuthError> {
        let r = Reader::new(b, 2, "NTLM CHALLENGE")?;
        let flags = NegotiateFlags(r.u32(20)?);
        let server_challenge = r.array(24)?;
        let target_name = if flags.contains(NegotiateFlags::UNICODE) { r.name(12)? } else { String::new() };
        let target_info = if flags.contains(NegotiateFlags::TARGET_INFO) { r.field(40)?.to_vec() } else { Vec::new() };
        Ok(Self { flags, server_challenge, target_name, target_info })
    }

    /// Encodes a message.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut w = Writer::new(2, 56);
        w.u32(20, self.flags.0);
        w.put(24, &self.server_challenge);
        w.put(48, &VERSION);
        w.field(12, &utf16(&self.target_name));
        w.field(40, &self.target_info);
        w.0
    }
}

impl Authenticate {
    /// Reads a message.
    ///
    /// # Errors
    /// `BadToken`; `WeakFlags` when its names are not in Unicode.
    // MS-NLMP 2.2.1.3
    pub fn parse(b: &[u8]) -> Result<Self, AuthError> {
        let r = Reader::new(b, 3, "NTLM AUTHENTICATE")?;
        let flags = NegotiateFlags(r.u32(60)?);
        if !flags.contains(NegotiateFlags::UNICODE) {
            return Err(AuthError::WeakFlags);
        }
        let payload_overlaps_mic = r.any_payload_before(&[12, 20, 28, 36, 44, 52], MIC.end)?;
        Ok(Self {
            flags,
            lm_response: r.field(12)?.to_vec(),
            nt_response: r.field(20)?.to_vec(),
            domain: r.name(28)?,
            user: r.name(36)?,
            workstation: r.name(44)?,
            encrypted_session_key: r.field(52)?.to_vec(),
            mic: if payload_overlaps_mic { None } else { r.array(MIC.start).ok() },
        })
    }

    /// Encodes a message, with room for a MIC (zeros, or `mic`).
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut w = Writer::new(3, MIC.end);
        w.u32(60, self.flags.0);
        w.put(64, &VERSION);
        w.put(MIC.start, &self.mic.unwrap_or_default());
        w.field(28, &utf16(&self.domain));
        w.field(36, &utf16(&self.user));
        w.field(44, &utf16(&self.workstation));
        w.field(12, &self.lm_response);
        w.field(20, &self.nt_response);
        w.field(52, &self.encrypted_session_key);
        w.0
    }
}

/// Reads fixed fields and the {length, room, offset} fields that point to payloads.
struct Reader<'a> {
    bytes: &'a [u8],
    bad: AuthError,
}

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8], kind: u32, what: &'static str) -> Result<Self, AuthError> {
        let r = Self { bytes, bad: AuthError::BadToken(what) };
        if bytes.len() > MESSAGE_LENGTH_MAX || !bytes.starts_with(SIGNATURE) || r.u32(8)? != kind {
            return Err(r.bad);
        }
        Ok(r)
    }

    fn array<const N: usize>(&self, at: usize) -> Result<[u8; N], AuthError> {
        self.bytes.get(at..).and_then(|b| b.first_chunk()).copied().ok_or(self.bad)
    }

    fn u32(&self, at: usize) -> Result<u32, AuthError> {
        self.array(at).map(u32::from_le_bytes)
    }

    /// Length and offset of the payload a field points to.
    fn extent(&self, at: usize) -> Result<(usize, usize), AuthError> {
        let length = u16::from_le_bytes(self.array(at)?);
        let offset = usize::try_from(self.u32(at + 4)?).map_err(|_| self.bad)?;
        Ok((usize::from(length), offset))
    }

    fn field(&self, at: usize) -> Result<&'a [u8], AuthError> {
        let (length, offset) = self.extent(at)?;
        // The offset of an empty payload may be anything.
        if length == 0 {
            return Ok(&[]);
        }
        self.bytes.get(offset..).and_then(|b| b.get(..length)).ok_or(self.bad)
    }

    fn name(&self, at: usize) -> Result<String, AuthError> {
        let raw = self.field(at)?;
        let (pairs, odd) = raw.as_chunks::<2>();
        if !odd.is_empty() {
            return Err(self.bad);
        }
        char::decode_utf16(pairs.iter().map(|&p| u16::from_le_bytes(p))).collect::<Result<_, _>>().map_err(|_| self.bad)
    }

    fn any_payload_before(&self, fields: &[usize], limit: usize) -> Result<bool, AuthError> {
        for &at in fields {
            let (length, offset) = self.extent(at)?;
            if length > 0 && offset < limit {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Writes into a zeroed fixed part and appends payloads.
struct Writer(Vec<u8>);

impl Writer {
    fn new(kind: u32, fixed: usize) -> Self {
        let mut w = Self(vec![0; fixed]);
        w.put(0, SIGNATURE);
        w.u32(8, kind);
        w
    }

    fn put(&mut self, at: usize, value: &[u8]) {
        self.0[at..at + value.len()].copy_from_slice(value);
    }

    fn u32(&mut self, at: usize, value: u32) {
        self.put(at, &value.to_le_bytes());
    }

    fn empty_field(&mut self, at: usize) {
        self.field(at, &[]);
    }

    /// Appends a payload (cut at 65535 bytes, which no caller reaches) and points the field at it.
    fn field(&mut self, at: usize, payload: &[u8]) {
        let length = u16::try_from(payload.len()).unwrap_or(u16::MAX);
        let offset = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        self.put(at, &length.to_le_bytes());
        self.put(at + 2, &length.to_le_bytes());
        self.u32(at + 4, offset);
        self.0.extend(payload.iter().take(usize::from(length)));
    }
}
