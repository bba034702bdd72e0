//! FSCTL_SRV_ENUMERATE_SNAPSHOTS (MS-SMB2 2.2.32.2).

use crate::error::DecodeError;
use crate::utf16;
use crate::wire::{Put, Reader, len_u32};

/// Least room the client must offer.
pub const OUTPUT_MIN: u32 = 16;

/// The snapshots of a volume.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Snapshots {
    /// Names: `@GMT-YYYY.MM.DD-HH.MM.SS`.
    pub names: Vec<String>,
}

impl Snapshots {
    fn array(&self) -> Vec<u8> {
        let mut b = Vec::new();
        for n in &self.names {
            utf16::encode(n, &mut b);
            b.put_u16(0);
        }
        b.put_u16(0);
        b
    }

    /// The output: all names if they fit, else only their number and size.
    #[must_use]
    pub fn to_bytes(&self, max_output: u32) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_u32(len_u32(self.names.len()));
        let array = self.array();
        let fits = array.len().saturating_add(12) <= usize::try_from(max_output).unwrap_or(usize::MAX);
        let shown = fits && !self.names.is_empty();
        out.put_u32(if shown { len_u32(self.names.len()) } else { 0 });
        out.put_u32(len_u32(array.len()));
        if shown {
            out.put_bytes(&array);
        } else {
            // Clients take less than OUTPUT_MIN for a broken answer.
            out.put_u32(0);
        }
        out
    }

    /// Decodes the output.
    pub fn decode(buf: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(buf);
        r.skip(4)?;
        let (returned, length) = (r.len32()?, r.len32()?);
        if returned == 0 {
            return Ok(Self::default());
        }
        let text = utf16::decode(r.bytes(length)?, "snapshots")?;
        Ok(Self { names: text.split('\0').filter(|n| !n.is_empty()).take(returned).map(String::from).collect() })
    }
}
