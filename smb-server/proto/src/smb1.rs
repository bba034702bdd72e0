//! The one SMB1 message we understand: a multi-protocol NEGOTIATE (MS-SMB2 3.3.5.3.1).

use crate::error::DecodeError;

/// First four bytes of an SMB1 message.
pub const PROTOCOL_ID: [u8; 4] = [0xFF, b'S', b'M', b'B'];
/// SMB_COM_NEGOTIATE.
const COM_NEGOTIATE: u8 = 0x72;
/// Length of the SMB1 header.
const SMB1_HEADER_SIZE: usize = 32;
/// Most dialect strings we look at.
const DIALECTS_MAX: usize = 64;
/// DialectRevision that asks the client to negotiate again in SMB2.
pub const WILDCARD_REVISION: u16 = 0x02FF;

/// The dialect strings of an SMB1 NEGOTIATE.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Smb1Negotiate {
    /// As offered, in order.
    pub dialects: Vec<String>,
}

impl Smb1Negotiate {
    /// Decodes the message; whatever else SMB1 may say ends the connection.
    pub fn decode(msg: &[u8]) -> Result<Self, DecodeError> {
        let drop = |what| DecodeError::Disconnect { what };
        if msg.get(..4) != Some(&PROTOCOL_ID[..]) || msg.get(4) != Some(&COM_NEGOTIATE) {
            return Err(drop("SMB1 message other than NEGOTIATE"));
        }
        // Behind the header: WordCount u8 = 0, ByteCount u16, then strings, each with 0x02 before and NUL after.
        let body = msg.get(SMB1_HEADER_SIZE..).ok_or(drop("short SMB1 NEGOTIATE"))?;
        let [words, lo, hi, data @ ..] = body else { return Err(drop("short SMB1 NEGOTIATE")) };
        if *words != 0 {
            return Err(drop("SMB1 NEGOTIATE with parameters"));
        }
        let count = usize::from(u16::from_le_bytes([*lo, *hi]));
        let mut data = data.get(..count).ok_or(drop("ByteCount of SMB1 NEGOTIATE"))?;
        let mut dialects = Vec::new();
        while let [2, rest @ ..] = data {
            let end = rest.iter().position(|&b| b == 0).ok_or(drop("SMB1 dialect without end"))?;
            let (text, after) = rest.split_at_checked(end).ok_or(drop("SMB1 dialect"))?;
            if dialects.len() >= DIALECTS_MAX {
                return Err(drop("too many SMB1 dialects"));
            }
            dialects.push(String::from_utf8_lossy(text).into_owned());
            data = after.get(1..).unwrap_or_default();
        }
        Ok(Self { dialects })
    }

    /// The DialectRevision to answer in an SMB2 NEGOTIATE response: 0x02FF, 0x0202, or None when only SMB1 is offered.
    #[must_use]
    pub fn revision(&self) -> Option<u16> {
        let has = |d: &str| self.dialects.iter().any(|x| x == d);
        if has("SMB 2.???") {
            Some(WILDCARD_REVISION)
        } else if has("SMB 2.002") {
            Some(0x0202)
        } else {
            None
        }
    }

    /// Appends the message (for clients).
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&PROTOCOL_ID);
        out.push(COM_NEGOTIATE);
        out.resize(out.len().saturating_add(SMB1_HEADER_SIZE.saturating_sub(5)), 0);
        out.push(0);
        let data: Vec<u8> = self.dialects.iter().flat_map(|d| [2].into_iter().chain(d.bytes()).chain([0])).collect();
        out.extend_from_slice(&crate::wire::len_u16(data.len()).to_le_bytes());
        out.extend_from_slice(&data);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dialect_strings_decide_the_revision() {
        for (offer, want) in [
            (vec!["NT LM 0.12", "SMB 2.002", "SMB 2.???"], Some(0x02FF)),
            (vec!["NT LM 0.12", "SMB 2.002"], Some(0x0202)),
            (vec!["NT LM 0.12"], None),
        ] {
            let n = Smb1Negotiate { dialects: offer.into_iter().map(String::from).collect() };
            let mut b = Vec::new();
            n.encode(&mut b);
            let d = Smb1Negotiate::decode(&b).unwrap();
            assert_eq!(d, n);
            assert_eq!(d.revision(), want);
            assert!(Smb1Negotiate::decode(&b[..b.len() - 1]).unwrap_err().is_disconnect());
        }
    }
}
