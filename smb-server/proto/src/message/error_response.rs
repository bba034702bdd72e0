//! ERROR response (MS-SMB2 2.2.2): the body of every refusal, and of interim responses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::error::DecodeError;
use crate::utf16;
use crate::wire::{Put, Reader, align, len_u16, len_u32, part, patch_u32};

/// ErrorId of ordinary data.
const ERROR_ID_DEFAULT: u32 = 0;
/// ErrorId of a share redirect.
pub const ERROR_ID_SHARE_REDIRECT: u32 = 0x7264_5253;
/// Most contexts in one response.
const ERROR_CONTEXTS_MAX: usize = 8;

/// What a refusal carries.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum ErrorData {
    /// Nothing.
    #[default]
    Empty,
    /// Bytes that depend on the status: u32 with BUFFER_TOO_SMALL, u16 with BAD_CLUSTER_DIALECT, a symlink with STOPPED_ON_SYMLINK.
    Plain(Vec<u8>),
    /// Where the share is to be found (3.1.1 only).
    ShareRedirect(ShareRedirect),
}

impl ErrorData {
    /// The size that BUFFER_TOO_SMALL asks for.
    #[must_use]
    pub fn needed_size(bytes: u32) -> Self {
        Self::Plain(bytes.to_le_bytes().to_vec())
    }

    /// The highest dialect of the cluster, with BAD_CLUSTER_DIALECT.
    #[must_use]
    pub fn cluster_dialect(revision: u16) -> Self {
        Self::Plain(revision.to_le_bytes().to_vec())
    }

    /// The link that STOPPED_ON_SYMLINK names.
    #[must_use]
    pub fn symlink(link: &SymlinkError) -> Self {
        Self::Plain(link.to_bytes())
    }

    /// Reads the size that BUFFER_TOO_SMALL asks for.
    #[must_use]
    pub fn as_needed_size(&self) -> Option<u32> {
        match self {
            Self::Plain(b) => b.as_slice().try_into().ok().map(u32::from_le_bytes),
            Self::Empty | Self::ShareRedirect(_) => None,
        }
    }
}

/// ERROR response.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ErrorResponse {
    /// What it carries.
    pub data: ErrorData,
}

impl ErrorResponse {
    /// A refusal with data.
    #[must_use]
    pub const fn new(data: ErrorData) -> Self {
        Self { data }
    }

    /// Decodes the element `msg`; with ErrorContextCount 0 the data is plain, as in older dialects.
    pub fn decode(msg: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::body(msg, 9)?;
        let count = usize::from(r.u8()?);
        r.skip(1)?;
        let length = r.len32()?;
        let data = if length == 0 { &[][..] } else { r.bytes(length)? };
        if count == 0 {
            return Ok(Self { data: if data.is_empty() { ErrorData::Empty } else { ErrorData::Plain(data.to_vec()) } });
        }
        if count > ERROR_CONTEXTS_MAX {
            return Err(DecodeError::malformed("ErrorContextCount"));
        }
        // Only the first context means something to us; the others are checked and left.
        let mut first = None;
        let mut at = 0usize;
        for _ in 0..count {
            let mut c = Reader::new(part(data, at, 8, "error context")?);
            let (context_length, id) = (c.len32()?, c.u32()?);
            let data_at = at.checked_add(8).ok_or(DecodeError::malformed("error context"))?;
            let inner = part(data, data_at, context_length, "error context data")?;
            if first.is_none() {
                first = Some(match id {
                    ERROR_ID_SHARE_REDIRECT => ErrorData::ShareRedirect(ShareRedirect::decode(inner)?),
                    _ if inner.is_empty() => ErrorData::Empty,
                    _ => ErrorData::Plain(inner.to_vec()),
                });
            }
            at = data_at.checked_add(context_length).ok_or(DecodeError::malformed("error context"))?.next_multiple_of(8);
        }
        Ok(Self { data: first.unwrap_or_default() })
    }

    /// Appends the body; `contexts` is whether the connection speaks 3.1.1, where data travels in error contexts.
    pub fn encode(&self, contexts: bool, out: &mut Vec<u8>) {
        let (id, data) = match &self.data {
            ErrorData::Empty => (ERROR_ID_DEFAULT, Vec::new()),
            ErrorData::Plain(b) => (ERROR_ID_DEFAULT, b.clone()),
            ErrorData::ShareRedirect(s) => (ERROR_ID_SHARE_REDIRECT, s.to_bytes()),
        };
        let wrapped = contexts && !data.is_empty();
        out.put_u16(9);
        out.put_u8(u8::from(wrapped));
        out.put_u8(0);
        if wrapped {
            out.put_u32(len_u32(data.len().saturating_add(8)));
            out.put_u32(len_u32(data.len()));
            out.put_u32(id);
        } else {
            out.put_u32(len_u32(data.len()));
        }
        out.put_bytes(&data);
        if data.is_empty() {
            // MS-SMB2 2.2.2: an empty buffer is sent as one zero byte.
            out.put_u8(0);
        }
    }
}

/// Symbolic Link Error Response (MS-SMB2 2.2.2.2.1).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SymlinkError {
    /// Length in bytes of the part of the path behind the link.
    pub unparsed_path_length: u16,
    /// Where the link leads.
    pub substitute_name: String,
    /// The same for the eye.
    pub print_name: String,
    /// The target is relative to the link.
    pub relative: bool,
}

/// Tag "SYML".
const SYMLINK_TAG: u32 = 0x4C4D_5953;
/// IO_REPARSE_TAG_SYMLINK.
const REPARSE_TAG_SYMLINK: u32 = 0xA000_000C;

impl SymlinkError {
    /// Decodes the error data.
    pub fn decode(data: &[u8]) -> Result<Self, DecodeError> {
        let bad = DecodeError::malformed("symlink error");
        let mut r = Reader::new(data);
        r.skip(4)?;
        if r.u32()? != SYMLINK_TAG || r.u32()? != REPARSE_TAG_SYMLINK {
            return Err(bad);
        }
        r.skip(2)?;
        let unparsed_path_length = r.u16()?;
        let (so, sl, po, pl) = (r.len16()?, r.len16()?, r.len16()?, r.len16()?);
        let relative = r.u32()? & 1 != 0;
        let paths = r.rest();
        let name = |o, l| utf16::decode(part(paths, o, l, "symlink error")?, "symlink error");
        Ok(Self { unparsed_path_length, substitute_name: name(so, sl)?, print_name: name(po, pl)?, relative })
    }

    /// The error data.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let (sub, print) = (utf16::to_bytes(&self.substitute_name), utf16::to_bytes(&self.print_name));
        let mut out = Vec::new();
        out.put_u32(0);
        out.put_u32(SYMLINK_TAG);
        out.put_u32(REPARSE_TAG_SYMLINK);
        out.put_u16(len_u16(sub.len().saturating_add(print.len()).saturating_add(12)));
        out.put_u16(self.unparsed_path_length);
        out.put_u16(0);
        out.put_u16(len_u16(sub.len()));
        out.put_u16(len_u16(sub.len()));
        out.put_u16(len_u16(print.len()));
        out.put_u32(u32::from(self.relative));
        out.put_bytes(&sub);
        out.put_bytes(&print);
        let rest = len_u32(out.len().saturating_sub(4));
        patch_u32(&mut out, 0, rest);
        out
    }
}

/// Share Redirect Error Context Response (MS-SMB2 2.2.2.2.2).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ShareRedirect {
    /// Name of the share.
    pub resource_name: String,
    /// Addresses of the node to go to.
    pub addresses: Vec<IpAddr>,
}

/// Most addresses in one redirect.
pub const REDIRECT_ADDRESSES_MAX: usize = 64;

impl ShareRedirect {
    fn decode(data: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(data);
        r.skip(8)?;
        let (name_offset, name_length) = (r.len32()?, r.len32()?);
        r.skip(4)?;
        let count = r.len32()?;
        if count > REDIRECT_ADDRESSES_MAX {
            return Err(DecodeError::malformed("IPAddrCount"));
        }
        let mut addresses = Vec::new();
        for _ in 0..count {
            let kind = r.u32()?;
            r.skip(4)?;
            let a: [u8; 16] = r.array()?;
            addresses.push(match kind {
                1 => {
                    let [a, b, c, d, ..] = a;
                    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
                }
                2 => IpAddr::V6(Ipv6Addr::from(a)),
                _ => return Err(DecodeError::malformed("IP address type")),
            });
        }
        let name = part(data, name_offset, name_length, "resource name")?;
        Ok(Self { resource_name: utf16::decode(name, "resource name")?, addresses })
    }

    /// The error context's data.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_u32(48);
        out.put_u32(3);
        let name_at = out.len();
        out.put_u32(0);
        out.put_u32(len_u32(utf16::byte_len(&self.resource_name)));
        out.put_u32(0);
        out.put_u32(len_u32(self.addresses.len()));
        for a in &self.addresses {
            match a {
                IpAddr::V4(v4) => {
                    out.put_u32(1);
                    out.put_u32(0);
                    out.put_bytes(&v4.octets());
                    out.put_zeros(12);
                }
                IpAddr::V6(v6) => {
                    out.put_u32(2);
                    out.put_u32(0);
                    out.put_bytes(&v6.octets());
                }
            }
        }
        let offset = len_u32(out.len());
        patch_u32(&mut out, name_at, offset);
        utf16::encode(&self.resource_name, &mut out);
        align(&mut out, 0, 4);
        out
    }
}
