//! FSCTL_DFS_GET_REFERRALS and _EX (MS-DFSC 2.2.2, 2.2.3): the request only, since no referrals are given.

use crate::error::DecodeError;
use crate::utf16;
use crate::wire::{Put, Reader, len_u16, len_u32};

/// Asks where a path leads.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DfsReferralRequest {
    /// MaxReferralLevel.
    pub max_referral_level: u16,
    /// RequestFileName.
    pub file_name: String,
    /// SiteName (EX only).
    pub site_name: Option<String>,
}

impl DfsReferralRequest {
    /// Decodes the input of the plain form: the name ends at its NUL or with the buffer.
    pub fn decode(buf: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(buf);
        let max_referral_level = r.u16()?;
        let name = r.rest();
        let end = name.chunks_exact(2).take_while(|c| *c != [0, 0]).count().saturating_mul(2);
        Ok(Self { max_referral_level, file_name: utf16::decode(name.get(..end).unwrap_or_default(), "DFS path")?, site_name: None })
    }

    /// Decodes the input of the EX form.
    pub fn decode_ex(buf: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(buf);
        let (max_referral_level, flags, length) = (r.u16()?, r.u16()?, r.len32()?);
        let mut data = Reader::new(r.bytes(length)?);
        let mut text = |what| {
            let n = data.len16()?;
            utf16::decode(data.bytes(n)?, what).map(|s| s.trim_end_matches('\0').to_owned())
        };
        let file_name = text("DFS path")?;
        let site_name = if flags & 1 != 0 { Some(text("DFS site")?) } else { None };
        Ok(Self { max_referral_level, file_name, site_name })
    }

    /// Appends the input of the plain form.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u16(self.max_referral_level);
        utf16::encode(&self.file_name, out);
        out.put_u16(0);
    }

    /// Appends the input of the EX form.
    pub fn encode_ex(&self, out: &mut Vec<u8>) {
        let mut data = Vec::new();
        for s in [Some(&self.file_name), self.site_name.as_ref()].into_iter().flatten() {
            data.put_u16(len_u16(utf16::byte_len(s)));
            utf16::encode(s, &mut data);
        }
        out.put_u16(self.max_referral_level);
        out.put_u16(u16::from(self.site_name.is_some()));
        out.put_u32(len_u32(data.len()));
        out.put_bytes(&data);
    }
}
