//! Checked little-endian reading for PDUs (which, unlike NDR, are not aligned by themselves).

use crate::syntax::SyntaxId;

/// Bytes that make no sense, with the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DecodeError(pub &'static str);

pub(crate) struct Wire<'a> {
    data: &'a [u8],
    position: usize,
}

impl<'a> Wire<'a> {
    pub(crate) fn new(data: &'a [u8]) -> Self {
        Self { data, position: 0 }
    }

    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let end = self.position.checked_add(count).ok_or(DecodeError("length overflows"))?;
        let bytes = self.data.get(self.position..end).ok_or(DecodeError("truncated"))?;
        self.position = end;
        Ok(bytes)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        Ok(self.take(N)?.try_into().expect("take returned N bytes"))
    }

    pub(crate) fn u8(&mut self) -> Result<u8, DecodeError> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn u16(&mut self) -> Result<u16, DecodeError> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, DecodeError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(crate) fn syntax(&mut self) -> Result<SyntaxId, DecodeError> {
        Ok(SyntaxId::from_bytes(&self.array()?))
    }

    pub(crate) fn align(&mut self, boundary: usize) -> Result<(), DecodeError> {
        self.take(self.position.next_multiple_of(boundary) - self.position).map(|_| ())
    }

    pub(crate) fn rest(&mut self) -> &'a [u8] {
        let rest = self.data.get(self.position..).unwrap_or_default();
        self.position = self.data.len();
        rest
    }
}
