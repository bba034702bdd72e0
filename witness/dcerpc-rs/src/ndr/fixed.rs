//! Arrays whose length belongs to their type.

use super::reader::text_of;
use super::{Ndr, NdrError, NdrReader, NdrWriter};
use crate::syntax::TransferSyntax;

/// An array of `UNITS` wide characters in place, filled up with NULs; a text that is longer is cut to leave one NUL.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct FixedWide<const UNITS: usize>(pub String);

impl<const UNITS: usize> Ndr for FixedWide<UNITS> {
    const BYTES_MIN: usize = UNITS * 2;

    fn alignment(_syntax: TransferSyntax) -> usize {
        2
    }

    fn encode(&self, out: &mut NdrWriter) {
        out.align(2);
        let mut units: Vec<u16> = self.0.encode_utf16().take(UNITS.saturating_sub(1)).collect();
        units.resize(UNITS, 0);
        for unit in units {
            out.bytes(&unit.to_le_bytes());
        }
    }

    fn decode(&mut self, reader: &mut NdrReader<'_>) -> Result<(), NdrError> {
        reader.align(2)?;
        self.0 = text_of(reader.bytes(UNITS * 2)?);
        Ok(())
    }
}

/// Bytes in place that keep their order (an address in network order), aligned as the integers of the declaration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Octets<const BYTES: usize, const ALIGNMENT: usize>(pub [u8; BYTES]);

impl<const BYTES: usize, const ALIGNMENT: usize> Default for Octets<BYTES, ALIGNMENT> {
    fn default() -> Self {
        Self([0; BYTES])
    }
}

impl<const BYTES: usize, const ALIGNMENT: usize> Ndr for Octets<BYTES, ALIGNMENT> {
    const BYTES_MIN: usize = BYTES;

    fn alignment(_syntax: TransferSyntax) -> usize {
        ALIGNMENT
    }

    fn encode(&self, out: &mut NdrWriter) {
        out.align(ALIGNMENT);
        out.bytes(&self.0);
    }

    fn decode(&mut self, reader: &mut NdrReader<'_>) -> Result<(), NdrError> {
        reader.align(ALIGNMENT)?;
        self.0 = reader.bytes(BYTES)?.try_into().expect("bytes returned as many");
        Ok(())
    }
}
