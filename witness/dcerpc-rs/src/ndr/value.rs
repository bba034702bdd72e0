//! Values that know how they travel: what a declaration is made of.

use uuid::Uuid;

use super::{NdrError, NdrReader, NdrWriter};
use crate::association::ContextHandle;
use crate::syntax::TransferSyntax;

/// A value with its wire form in both transfer syntaxes.
///
/// A value that holds pointers is written in two parts, because their targets come behind the outermost structure or
/// array: [`encode`](Self::encode) writes the value itself with its referents, [`encode_deferred`](Self::encode_deferred)
/// the targets. Reading goes the same way into a value that was made by [`Default`].
///
/// `Option<T>` is a unique pointer, `Vec<T>` a conformant array (behind a pointer), `String` a NUL-terminated wide
/// string (behind a pointer, or a top-level reference).
pub trait Ndr: Default {
    /// The fewest bytes that a value takes, at least 1: what a count of elements is checked with.
    const BYTES_MIN: usize;

    /// Its alignment in bytes.
    fn alignment(syntax: TransferSyntax) -> usize;

    /// Writes the value, without what its pointers point to.
    fn encode(&self, out: &mut NdrWriter);

    /// Writes what its pointers point to.
    fn encode_deferred(&self, out: &mut NdrWriter) {
        _ = out;
    }

    /// Reads the value, without what its pointers point to.
    fn decode(&mut self, reader: &mut NdrReader<'_>) -> Result<(), NdrError>;

    /// Reads what its pointers point to.
    fn decode_deferred(&mut self, reader: &mut NdrReader<'_>) -> Result<(), NdrError> {
        _ = reader;
        Ok(())
    }

    /// Writes the elements of an array, without what their pointers point to.
    fn encode_elements(elements: &[Self], out: &mut NdrWriter) {
        for element in elements {
            element.encode(out);
        }
    }

    /// Reads `count` elements of an array, a count that [`NdrReader::fitting`] has checked.
    fn decode_elements(count: usize, reader: &mut NdrReader<'_>) -> Result<Vec<Self>, NdrError> {
        let mut elements = Vec::new();
        for _ in 0..count {
            let mut element = Self::default();
            element.decode(reader)?;
            elements.push(element);
        }
        Ok(elements)
    }
}

/// The parameters of one direction of an operation: each with its pointees right behind it.
pub trait Parameters: Sized {
    /// Writes a stub.
    fn to_stub(&self, syntax: TransferSyntax) -> Vec<u8>;

    /// Reads a stub. Bytes behind the last parameter are left alone.
    fn from_stub(stub: &[u8], syntax: TransferSyntax) -> Result<Self, NdrError>;
}

/// The parameters of an operation that has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct NoParameters;

impl Parameters for NoParameters {
    fn to_stub(&self, _syntax: TransferSyntax) -> Vec<u8> {
        Vec::new()
    }

    fn from_stub(_stub: &[u8], _syntax: TransferSyntax) -> Result<Self, NdrError> {
        Ok(Self)
    }
}

macro_rules! plain {
    ($($kind:ty, $name:ident, $bytes:literal, $alignment:literal;)*) => {$(
        impl Ndr for $kind {
            const BYTES_MIN: usize = $bytes;

            fn alignment(_syntax: TransferSyntax) -> usize {
                $alignment
            }

            fn encode(&self, out: &mut NdrWriter) {
                out.$name(*self);
            }

            fn decode(&mut self, reader: &mut NdrReader<'_>) -> Result<(), NdrError> {
                *self = reader.$name()?;
                Ok(())
            }
        }
    )*};
}

plain! {
    u16, u16, 2, 2;
    u32, u32, 4, 4;
    u64, u64, 8, 8;
    Uuid, uuid, 16, 4;
    ContextHandle, context_handle, 20, 4;
}

impl Ndr for u8 {
    const BYTES_MIN: usize = 1;

    fn alignment(_syntax: TransferSyntax) -> usize {
        1
    }

    fn encode(&self, out: &mut NdrWriter) {
        out.u8(*self);
    }

    fn decode(&mut self, reader: &mut NdrReader<'_>) -> Result<(), NdrError> {
        *self = reader.u8()?;
        Ok(())
    }

    fn encode_elements(elements: &[Self], out: &mut NdrWriter) {
        out.bytes(elements);
    }

    fn decode_elements(count: usize, reader: &mut NdrReader<'_>) -> Result<Vec<Self>, NdrError> {
        Ok(reader.bytes(count)?.to_vec())
    }
}

/// A unique pointer.
impl<T: Ndr> Ndr for Option<T> {
    const BYTES_MIN: usize = 4;

    fn alignment(syntax: TransferSyntax) -> usize {
        syntax.pointer_bytes()
    }

    fn encode(&self, out: &mut NdrWriter) {
        out.pointer(self.is_some());
    }

    fn encode_deferred(&self, out: &mut NdrWriter) {
        if let Some(target) = self {
            target.encode(out);
            target.encode_deferred(out);
        }
    }

    fn decode(&mut self, reader: &mut NdrReader<'_>) -> Result<(), NdrError> {
        *self = reader.pointer()?.then(T::default);
        Ok(())
    }

    fn decode_deferred(&mut self, reader: &mut NdrReader<'_>) -> Result<(), NdrError> {
        let Some(target) = self else { return Ok(()) };
        target.decode(reader)?;
        target.decode_deferred(reader)
    }
}

/// A conformant array: its count, then its elements.
impl<T: Ndr> Ndr for Vec<T> {
    const BYTES_MIN: usize = 4;

    fn alignment(syntax: TransferSyntax) -> usize {
        syntax.pointer_bytes().max(T::alignment(syntax))
    }

    fn encode(&self, out: &mut NdrWriter) {
        out.length(self.len());
        T::encode_elements(self, out);
    }

    fn encode_deferred(&self, out: &mut NdrWriter) {
        for element in self {
            element.encode_deferred(out);
        }
    }

    fn decode(&mut self, reader: &mut NdrReader<'_>) -> Result<(), NdrError> {
        let count = reader.count(T::BYTES_MIN)?;
        *self = T::decode_elements(count, reader)?;
        Ok(())
    }

    fn decode_deferred(&mut self, reader: &mut NdrReader<'_>) -> Result<(), NdrError> {
        self.iter_mut().try_for_each(|element| element.decode_deferred(reader))
    }
}

/// A conformant-varying wide string with its NUL.
impl Ndr for String {
    const BYTES_MIN: usize = 12;

    fn alignment(syntax: TransferSyntax) -> usize {
        syntax.pointer_bytes()
    }

    fn encode(&self, out: &mut NdrWriter) {
        out.wide_string(self);
    }

    fn decode(&mut self, reader: &mut NdrReader<'_>) -> Result<(), NdrError> {
        *self = reader.wide_string()?;
        Ok(())
    }
}
