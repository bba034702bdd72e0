//! UTF-16LE names. Unpaired surrogates are refused, not carried.

use crate::error::DecodeError;

/// Decodes a name; `what` names it in the error.
pub fn decode(bytes: &[u8], what: &'static str) -> Result<String, DecodeError> {
    if !bytes.len().is_multiple_of(2) {
        return Err(DecodeError::Malformed { what });
    }
    let units = bytes.chunks_exact(2).map(|c| u16::from_le_bytes([c.first().copied().unwrap_or(0), c.last().copied().unwrap_or(0)]));
    char::decode_utf16(units).collect::<Result<String, _>>().map_err(|_| DecodeError::Name { what })
}

/// Appends a name without terminator.
pub fn encode(name: &str, out: &mut Vec<u8>) {
    for u in name.encode_utf16() {
        out.extend_from_slice(&u.to_le_bytes());
    }
}

/// The name's bytes.
#[must_use]
pub fn to_bytes(name: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len().saturating_mul(2));
    encode(name, &mut out);
    out
}

/// The name's length on the wire in bytes.
#[must_use]
pub fn byte_len(name: &str) -> usize {
    name.encode_utf16().count().saturating_mul(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_there_and_back() {
        for s in ["", "a", "Grüße", "日本", "😀.txt"] {
            assert_eq!(decode(&to_bytes(s), "x").unwrap(), s);
            assert_eq!(to_bytes(s).len(), byte_len(s));
        }
    }

    #[test]
    fn unpaired_surrogate_is_an_invalid_name_and_odd_length_malformed() {
        assert_eq!(decode(&[0x00, 0xD8, 0x41, 0x00], "x"), Err(DecodeError::Name { what: "x" }));
        assert_eq!(decode(&[0x41], "x"), Err(DecodeError::Malformed { what: "x" }));
    }
}
