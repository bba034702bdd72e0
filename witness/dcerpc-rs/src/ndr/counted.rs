//! The commonest container of interfaces: how many, then a pointer to that many.

use super::{Ndr, NdrError, NdrReader, NdrWriter};
use crate::syntax::TransferSyntax;

/// A structure of a 32-bit number and a unique pointer to a conformant array of that many elements. A number that is
/// not the array's count is refused; a null array counts as empty and is written only for [`Self::null`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted<T> {
    /// The number, as it travels beside the array.
    number: u32,
    array: Option<Vec<T>>,
}

impl<T> Counted<T> {
    /// No elements and no array.
    pub const fn null() -> Self {
        Self { number: 0, array: None }
    }

    /// The elements.
    pub fn elements(&self) -> &[T] {
        self.array.as_deref().unwrap_or_default()
    }

    /// The elements, taken out.
    pub fn into_elements(self) -> Vec<T> {
        self.array.unwrap_or_default()
    }
}

impl<T> Default for Counted<T> {
    fn default() -> Self {
        Self::null()
    }
}

impl<T> From<Vec<T>> for Counted<T> {
    fn from(elements: Vec<T>) -> Self {
        let number = u32::try_from(elements.len()).expect("nothing of ours has 2^32 elements");
        Self { number, array: Some(elements) }
    }
}

impl<T: Ndr> Ndr for Counted<T> {
    const BYTES_MIN: usize = 8;

    fn alignment(syntax: TransferSyntax) -> usize {
        syntax.pointer_bytes()
    }

    fn encode(&self, out: &mut NdrWriter) {
        out.align(Self::alignment(out.syntax()));
        out.u32(self.number);
        self.array.encode(out);
    }

    fn encode_deferred(&self, out: &mut NdrWriter) {
        self.array.encode_deferred(out);
    }

    fn decode(&mut self, reader: &mut NdrReader<'_>) -> Result<(), NdrError> {
        reader.align(Self::alignment(reader.syntax()))?;
        self.number = reader.u32()?;
        self.array.decode(reader)
    }

    fn decode_deferred(&mut self, reader: &mut NdrReader<'_>) -> Result<(), NdrError> {
        self.array.decode_deferred(reader)?;
        if self.array.as_ref().is_some_and(|array| u32::try_from(array.len()) != Ok(self.number)) {
            return Err(NdrError("number of elements is not their count"));
        }
        Ok(())
    }
}
