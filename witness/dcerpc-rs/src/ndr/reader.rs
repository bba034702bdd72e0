//! Reads NDR. Every length is checked against the bytes that are left before anything is allocated.

use uuid::Uuid;

use crate::association::ContextHandle;
use crate::fault::Fault;
use crate::syntax::TransferSyntax;

/// Stub bytes that make no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NdrError(pub &'static str);

impl NdrError {
    /// The tag of a union names none of its arms: a fault of its own.
    pub const UNKNOWN_ARM: Self = Self("tag of a union names no arm");
}

impl From<NdrError> for Fault {
    fn from(error: NdrError) -> Self {
        if error == NdrError::UNKNOWN_ARM { Self::INVALID_TAG } else { Self::BAD_STUB_DATA }
    }
}

/// A cursor over a stub; alignment is relative to its start.
pub struct NdrReader<'a> {
    data: &'a [u8],
    position: usize,
    syntax: TransferSyntax,
}

impl<'a> NdrReader<'a> {
    /// Starts at the beginning of a stub.
    pub fn new(data: &'a [u8], syntax: TransferSyntax) -> Self {
        Self { data, position: 0, syntax }
    }

    /// In which syntax the stub is.
    pub fn syntax(&self) -> TransferSyntax {
        self.syntax
    }

    /// How many bytes are left.
    pub fn remaining(&self) -> usize {
        self.data.len().saturating_sub(self.position)
    }

    /// How many bytes have been read.
    pub fn position(&self) -> usize {
        self.position
    }

    /// Skips padding up to the boundary.
    pub fn align(&mut self, boundary: usize) -> Result<(), NdrError> {
        let aligned = self.position.next_multiple_of(boundary);
        if aligned > self.data.len() {
            return Err(NdrError("stub ends inside padding"));
        }
        self.position = aligned;
        Ok(())
    }

    /// Skips padding that only NDR64 has: at the end of a structure, around the tag of a union.
    // MS-RPCE 2.2.5
    pub fn align_ndr64(&mut self, boundary: usize) -> Result<(), NdrError> {
        match self.syntax {
            TransferSyntax::Ndr20 => Ok(()),
            TransferSyntax::Ndr64 => self.align(boundary),
        }
    }

    /// Takes bytes as they are.
    pub fn bytes(&mut self, count: usize) -> Result<&'a [u8], NdrError> {
        let end = self.position.checked_add(count).ok_or(NdrError("length overflows"))?;
        let bytes = self.data.get(self.position..end).ok_or(NdrError("stub is too short"))?;
        self.position = end;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], NdrError> {
        self.align(N)?;
        Ok(self.bytes(N)?.try_into().expect("bytes returned N bytes"))
    }

    /// An octet.
    pub fn u8(&mut self) -> Result<u8, NdrError> {
        Ok(self.array::<1>()?[0])
    }

    /// A 16-bit value.
    pub fn u16(&mut self) -> Result<u16, NdrError> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    /// A 32-bit value (also v1 enums).
    pub fn u32(&mut self) -> Result<u32, NdrError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// A 64-bit value.
    pub fn u64(&mut self) -> Result<u64, NdrError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// A UUID.
    pub fn uuid(&mut self) -> Result<Uuid, NdrError> {
        self.align(4)?;
        let bytes: [u8; 16] = self.bytes(16)?.try_into().expect("bytes returned 16 bytes");
        Ok(Uuid::from_bytes_le(bytes))
    }

    /// A context handle.
    pub fn context_handle(&mut self) -> Result<ContextHandle, NdrError> {
        let attributes = self.u32()?;
        Ok(ContextHandle { attributes, uuid: self.uuid()? })
    }

    /// A referent, a count or an offset: 32 or 64 bits.
    pub fn length(&mut self) -> Result<u64, NdrError> {
        match self.syntax {
            TransferSyntax::Ndr20 => Ok(self.u32()?.into()),
            TransferSyntax::Ndr64 => self.u64(),
        }
    }

    /// The referent of a unique pointer: true if a target follows somewhere.
    pub fn pointer(&mut self) -> Result<bool, NdrError> {
        Ok(self.length()? != 0)
    }

    /// The count of a conformant array, refused if that many elements of `element_bytes_min` bytes cannot follow.
    pub fn count(&mut self, element_bytes_min: usize) -> Result<usize, NdrError> {
        let count = self.length()?;
        self.fitting(count, element_bytes_min)
    }

    /// A number of elements as a `usize`, refused if that many of `element_bytes_min` bytes cannot follow.
    pub fn fitting(&self, count: u64, element_bytes_min: usize) -> Result<usize, NdrError> {
        let count = usize::try_from(count).map_err(|_| NdrError("count overflows"))?;
        let bytes = count.checked_mul(element_bytes_min.max(1)).ok_or(NdrError("count overflows"))?;
        if bytes > self.remaining() {
            return Err(NdrError("array is longer than the stub"));
        }
        Ok(count)
    }

    /// A conformant-varying wide string; the terminating NUL and what follows it is taken off.
    pub fn wide_string(&mut self) -> Result<String, NdrError> {
        let max = self.length()?;
        let offset = self.length()?;
        let actual = self.length()?;
        if offset != 0 || actual > max {
            return Err(NdrError("string bounds contradict each other"));
        }
        let units = self.fitting(actual, 2)?;
        Ok(text_of(self.bytes(units * 2)?))
    }

    /// A top-level `[unique, string]` parameter: the pointer with its target right behind it.
    pub fn unique_wide_string(&mut self) -> Result<Option<String>, NdrError> {
        if self.pointer()? { Ok(Some(self.wide_string()?)) } else { Ok(None) }
    }
}

/// UTF-16 text up to its first NUL.
pub(super) fn text_of(bytes: &[u8]) -> String {
    let units: Vec<u16> = bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
    let units = units.split(|unit| *unit == 0).next().unwrap_or_default();
    String::from_utf16_lossy(units)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::NdrWriter;
    use super::*;

    const NDR20: TransferSyntax = TransferSyntax::Ndr20;

    #[test]
    fn alignment_counts_from_the_start() {
        let mut reader = NdrReader::new(&[1, 0xEE, 2, 0, 3, 0, 0, 0], NDR20);
        assert_eq!(reader.u8(), Ok(1));
        assert_eq!(reader.u16(), Ok(2));
        assert_eq!(reader.u32(), Ok(3));
        assert_eq!(reader.u8(), Err(NdrError("stub is too short")));
    }

    #[test]
    fn huge_counts_allocate_nothing() {
        let mut stub = vec![0xFF; 24];
        stub[8..16].fill(0);
        for syntax in TransferSyntax::ALL {
            assert!(NdrReader::new(&stub, syntax).wide_string().is_err());
            assert!(NdrReader::new(&stub, syntax).count(1).is_err());
            assert!(NdrReader::new(&stub, syntax).count(usize::MAX).is_err());
        }
    }

    #[test]
    fn ndr64_has_wide_pointers_and_counts() {
        let mut writer = NdrWriter::new(TransferSyntax::Ndr64);
        writer.u8(1);
        writer.unique_wide_string(Some("a"));
        let stub = writer.finish();
        assert_eq!(stub.len(), 8 + 8 + 3 * 8 + 4);
        let mut reader = NdrReader::new(&stub, TransferSyntax::Ndr64);
        reader.u8().unwrap();
        assert_eq!(reader.unique_wide_string(), Ok(Some("a".to_owned())));
    }

    proptest! {
        #[test]
        fn strings_come_back(text in "[^\0]{0,40}", prefix in 0usize..5, wide in any::<bool>()) {
            let syntax = if wide { TransferSyntax::Ndr64 } else { NDR20 };
            let mut writer = NdrWriter::new(syntax);
            writer.bytes(&vec![7; prefix]);
            writer.unique_wide_string(Some(&text));
            writer.u64(9);
            let stub = writer.finish();
            let mut reader = NdrReader::new(&stub, syntax);
            reader.bytes(prefix).unwrap();
            prop_assert_eq!(reader.unique_wide_string().unwrap(), Some(text));
            prop_assert_eq!(reader.u64().unwrap(), 9);
            prop_assert_eq!(reader.remaining(), 0);
        }
    }
}
