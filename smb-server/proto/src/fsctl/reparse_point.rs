//! Reparse data of FSCTL_GET, SET and DELETE_REPARSE_POINT (MS-FSCC 2.1.2).

use crate::error::DecodeError;
use crate::utf16;
use crate::wire::{Put, Reader, len_u16, part};

/// IO_REPARSE_TAG_SYMLINK.
pub const TAG_SYMLINK: u32 = 0xA000_000C;

/// What a reparse point holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ReparseData {
    /// A symbolic link.
    Symlink {
        /// Where it leads.
        substitute_name: String,
        /// The same for the eye.
        print_name: String,
        /// The target is relative to the link.
        relative: bool,
    },
    /// Any other tag, as sent.
    Other {
        /// ReparseTag.
        tag: u32,
        /// Data.
        data: Vec<u8>,
    },
}

impl ReparseData {
    /// ReparseTag.
    #[must_use]
    pub const fn tag(&self) -> u32 {
        match self {
            Self::Symlink { .. } => TAG_SYMLINK,
            Self::Other { tag, .. } => *tag,
        }
    }

    /// Decodes the buffer.
    pub fn decode(buf: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(buf);
        let (tag, length) = (r.u32()?, r.len16()?);
        r.skip(2)?;
        let data = r.bytes(length)?;
        if tag != TAG_SYMLINK {
            return Ok(Self::Other { tag, data: data.to_vec() });
        }
        let mut r = Reader::new(data);
        let (so, sl, po, pl) = (r.len16()?, r.len16()?, r.len16()?, r.len16()?);
        let relative = r.u32()? & 1 != 0;
        let name = |o, l| utf16::decode(part(r.rest(), o, l, "symlink")?, "symlink");
        Ok(Self::Symlink { substitute_name: name(so, sl)?, print_name: name(po, pl)?, relative })
    }

    /// Appends the buffer.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let data = match self {
            Self::Symlink { substitute_name, print_name, relative } => {
                let (sub, print) = (utf16::to_bytes(substitute_name), utf16::to_bytes(print_name));
                let mut d = Vec::new();
                d.put_u16(0);
                d.put_u16(len_u16(sub.len()));
                d.put_u16(len_u16(sub.len()));
                d.put_u16(len_u16(print.len()));
                d.put_u32(u32::from(*relative));
                d.put_bytes(&sub);
                d.put_bytes(&print);
                d
            }
            Self::Other { data, .. } => data.clone(),
        };
        out.put_u32(self.tag());
        out.put_u16(len_u16(data.len()));
        out.put_u16(0);
        out.put_bytes(&data);
    }
}
