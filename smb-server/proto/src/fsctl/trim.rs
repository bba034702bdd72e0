//! FSCTL_FILE_LEVEL_TRIM (MS-FSCC 2.3.13).

use crate::error::DecodeError;
use crate::wire::{Put, Reader, Wire, len_u32, record};

record! {
    /// A range whose content is no longer needed.
    TrimRange [16] {
        /// Offset.
        offset: u64;
        /// Length.
        length: u64;
    }
}

/// The ranges.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TrimRequest {
    /// Key: 0.
    pub key: u32,
    /// In order.
    pub ranges: Vec<TrimRange>,
}

impl TrimRequest {
    /// Decodes the input.
    pub fn decode(buf: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(buf);
        let (key, count) = (r.u32()?, r.len32()?);
        if r.rest().len() / TrimRange::SIZE < count {
            return Err(DecodeError::malformed("NumRanges"));
        }
        Ok(Self { key, ranges: (0..count).map(|_| TrimRange::get(&mut r)).collect::<Result<_, _>>()? })
    }

    /// Appends the input.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u32(self.key);
        out.put_u32(len_u32(self.ranges.len()));
        for r in &self.ranges {
            r.encode(out);
        }
    }
}

record! {
    /// How many ranges were trimmed.
    TrimResponse [4] {
        /// NumRangesProcessed.
        ranges_processed: u32;
    }
}
