//! The value of `user.DOSATTRIB`: DOS attributes and creation time in Samba's NDR layout, so that both servers agree about a file.
//!
//! Version 4 is written: an empty string padded to 2 bytes, version u16, version u16 and 2 bytes of padding (the union's switch),
//! valid flags u32, attributes u32, itime u64, creation time u64. Versions 3, 4, 5 and the bare `0x…` string of old days are read.

use smb_types::{FileAttributes, FileTime};

/// The name of the extended attribute.
pub(crate) const XATTR_NAME: &str = "user.DOSATTRIB";

const VALID_ATTRIBUTES: u32 = 0x1;
const VALID_CREATION: u32 = 0x10;
const VERSION: u16 = 4;

/// What the attribute says; None is for what it does not say.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct DosAttrib {
    pub(crate) attributes: Option<FileAttributes>,
    pub(crate) creation: Option<FileTime>,
}

impl DosAttrib {
    pub(crate) fn encode(self) -> Vec<u8> {
        let mut flags = 0;
        if self.attributes.is_some() {
            flags |= VALID_ATTRIBUTES;
        }
        if self.creation.is_some() {
            flags |= VALID_CREATION;
        }
        let creation = self.creation.unwrap_or_default().0;
        let mut out = Vec::with_capacity(32);
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&u32::from(VERSION).to_le_bytes());
        out.extend_from_slice(&flags.to_le_bytes());
        out.extend_from_slice(&self.attributes.unwrap_or_default().0.to_le_bytes());
        out.extend_from_slice(&creation.to_le_bytes());
        out.extend_from_slice(&creation.to_le_bytes());
        out
    }

    /// Reads a value; what makes no sense is as good as absent, because the file must stay reachable.
    pub(crate) fn decode(value: &[u8]) -> Self {
        Self::decode_binary(value).or_else(|| Self::decode_text(value)).unwrap_or_default()
    }

    fn decode_binary(value: &[u8]) -> Option<Self> {
        let text_end = value.iter().take(12).position(|b| *b == 0)? + 1;
        let version_at = text_end.next_multiple_of(2);
        let version = u16::from_le_bytes(bytes(value, version_at)?);
        let body = (version_at + 4).next_multiple_of(4);
        let flags = u32::from_le_bytes(bytes(value, body)?);
        let attributes = u32::from_le_bytes(bytes(value, body + 4)?);
        let creation_at = match version {
            3 => body + 28,
            4 => body + 16,
            5 => body + 8,
            _ => return None,
        };
        let creation = u64::from_le_bytes(bytes(value, creation_at)?);
        Some(Self {
            attributes: (flags & VALID_ATTRIBUTES != 0).then_some(FileAttributes(attributes)),
            creation: (flags & VALID_CREATION != 0 && creation != 0).then_some(FileTime(creation)),
        })
    }

    fn decode_text(value: &[u8]) -> Option<Self> {
        let end = value.iter().position(|b| *b == 0).unwrap_or(value.len());
        let text = std::str::from_utf8(value.get(..end)?).ok()?;
        let attributes = u32::from_str_radix(text.strip_prefix("0x")?, 16).ok()?;
        Some(Self { attributes: Some(FileAttributes(attributes)), creation: None })
    }
}

fn bytes<const N: usize>(value: &[u8], at: usize) -> Option<[u8; N]> {
    value.get(at..at.checked_add(N)?)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back_with_golden_bytes() {
        let a = DosAttrib { attributes: Some(FileAttributes(0x22)), creation: Some(FileTime(0x01d0_0203_0405_0607)) };
        let golden = [0, 0, 4, 0, 4, 0, 0, 0, 0x11, 0, 0, 0, 0x22, 0, 0, 0, 7, 6, 5, 4, 3, 2, 0xd0, 1, 7, 6, 5, 4, 3, 2, 0xd0, 1];
        assert_eq!(a.encode(), golden);
        assert_eq!(DosAttrib::decode(&golden), a);
    }

    #[test]
    fn reads_other_versions_and_survives_rubbish() {
        let mut v3 = b"0x20\0\0\x03\0\x03\0\0\0".to_vec();
        v3.extend_from_slice(&0x11u32.to_le_bytes());
        v3.extend_from_slice(&0x20u32.to_le_bytes());
        v3.extend_from_slice(&[0; 20]);
        v3.extend_from_slice(&77u64.to_le_bytes());
        v3.extend_from_slice(&[0; 8]);
        assert_eq!(DosAttrib::decode(&v3), DosAttrib { attributes: Some(FileAttributes(0x20)), creation: Some(FileTime(77)) });
        let mut v5 = vec![0, 0, 5, 0, 5, 0, 0, 0, 0x11, 0, 0, 0, 0x06, 0, 0, 0];
        v5.extend_from_slice(&78u64.to_le_bytes());
        assert_eq!(DosAttrib::decode(&v5), DosAttrib { attributes: Some(FileAttributes(6)), creation: Some(FileTime(78)) });
        assert_eq!(DosAttrib::decode(b"0x23").attributes, Some(FileAttributes(0x23)));
        for n in 0..v5.len() {
            let _ = DosAttrib::decode(&v5[..n]);
        }
        assert_eq!(DosAttrib::decode(&[0xff; 40]), DosAttrib::default());
    }
}
