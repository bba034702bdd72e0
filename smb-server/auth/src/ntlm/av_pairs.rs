//! AV pairs: the attribute list of TargetInfo and of NTLMv2 responses (MS-NLMP 2.2.2.1).

use smb_types::FileTime;

use crate::AuthError;
use crate::crypto::utf16;

/// Most pairs a list may have; eleven kinds are defined.
pub const PAIRS_MAX: usize = 64;

/// MsvAvEOL.
const EOL: u16 = 0;
/// MsvAvNbComputerName.
pub const NB_COMPUTER_NAME: u16 = 1;
/// MsvAvNbDomainName.
pub const NB_DOMAIN_NAME: u16 = 2;
/// MsvAvDnsComputerName.
pub const DNS_COMPUTER_NAME: u16 = 3;
/// MsvAvDnsDomainName.
pub const DNS_DOMAIN_NAME: u16 = 4;
/// MsvAvFlags.
pub const FLAGS: u16 = 6;
/// MsvAvTimestamp.
pub const TIMESTAMP: u16 = 7;
/// MsvAvTargetName: the SPN the client means to reach.
pub const TARGET_NAME: u16 = 9;
/// MsvAvChannelBindings.
pub const CHANNEL_BINDINGS: u16 = 10;
/// Bit of MsvAvFlags: the AUTHENTICATE message has a MIC.
pub const FLAG_MIC_PRESENT: u32 = 2;

/// A list of pairs, in wire order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AvPairs(Vec<(u16, Vec<u8>)>);

impl AvPairs {
    /// Reads a list up to its end mark; what follows the mark is ignored.
    ///
    /// # Errors
    /// `BadToken` for a pair that leaves the buffer, a missing end mark, too many pairs.
    pub fn parse(mut b: &[u8]) -> Result<Self, AuthError> {
        const BAD: AuthError = AuthError::BadToken("AV pairs");
        let mut pairs = Vec::new();
        while let Some((&[id0, id1, len0, len1], rest)) = b.split_first_chunk() {
            let (id, length) = (u16::from_le_bytes([id0, id1]), usize::from(u16::from_le_bytes([len0, len1])));
            if id == EOL {
                return Ok(Self(pairs));
            }
            let (value, rest) = rest.split_at_checked(length).ok_or(BAD)?;
            if pairs.len() == PAIRS_MAX {
                return Err(BAD);
            }
            pairs.push((id, value.to_vec()));
            b = rest;
        }
        Err(BAD)
    }

    /// Encodes the list with its end mark.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (id, value) in &self.0 {
            out.extend_from_slice(&id.to_le_bytes());
            out.extend_from_slice(&u16::try_from(value.len()).unwrap_or(u16::MAX).to_le_bytes());
            out.extend(value.iter().take(usize::from(u16::MAX)));
        }
        out.extend_from_slice(&[0; 4]);
        out
    }

    /// The first value with this id.
    #[must_use]
    pub fn find(&self, id: u16) -> Option<&[u8]> {
        self.0.iter().find(|(i, _)| *i == id).map(|(_, v)| v.as_slice())
    }

    /// Puts a value, in place of an earlier one with the same id.
    pub fn put(&mut self, id: u16, value: Vec<u8>) {
        match self.0.iter_mut().find(|(i, _)| *i == id) {
            Some((_, v)) => *v = value,
            None => self.0.push((id, value)),
        }
    }

    /// Puts a name.
    pub fn put_name(&mut self, id: u16, name: &str) {
        self.put(id, utf16(name));
    }

    /// MsvAvFlags, or 0.
    #[must_use]
    pub fn flags(&self) -> u32 {
        self.find(FLAGS).and_then(|v| v.try_into().ok()).map_or(0, u32::from_le_bytes)
    }

    /// MsvAvTimestamp.
    #[must_use]
    pub fn timestamp(&self) -> Option<FileTime> {
        self.find(TIMESTAMP).and_then(|v| v.try_into().ok()).map(|v| FileTime(u64::from_le_bytes(v)))
    }
}
