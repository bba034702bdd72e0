//! Writes NDR.

use uuid::Uuid;

use crate::association::ContextHandle;
use crate::syntax::TransferSyntax;

const REFERENT_FIRST: u32 = 0x0002_0000;

/// Builds a stub; alignment is relative to its start.
pub struct NdrWriter {
    out: Vec<u8>,
    referents: u32,
    syntax: TransferSyntax,
}

impl NdrWriter {
    /// An empty stub.
    pub fn new(syntax: TransferSyntax) -> Self {
        Self { out: Vec::new(), referents: 0, syntax }
    }

    /// In which syntax it writes.
    pub fn syntax(&self) -> TransferSyntax {
        self.syntax
    }

    /// The finished stub.
    pub fn finish(self) -> Vec<u8> {
        self.out
    }

    /// How many bytes have been written.
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// True if nothing has been written.
    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// Pads with zeros up to the boundary.
    pub fn align(&mut self, boundary: usize) {
        self.out.resize(self.out.len().next_multiple_of(boundary), 0);
    }

    /// Padding that only NDR64 has: at the end of a structure, around the tag of a union.
    // MS-RPCE 2.2.5
    pub fn align_ndr64(&mut self, boundary: usize) {
        match self.syntax {
            TransferSyntax::Ndr20 => {}
            TransferSyntax::Ndr64 => self.align(boundary),
        }
    }

    /// Bytes as they are.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// An octet.
    pub fn u8(&mut self, value: u8) {
        self.out.push(value);
    }

    /// A 16-bit value.
    pub fn u16(&mut self, value: u16) {
        self.align(2);
        self.bytes(&value.to_le_bytes());
    }

    /// A 32-bit value.
    pub fn u32(&mut self, value: u32) {
        self.align(4);
        self.bytes(&value.to_le_bytes());
    }

    /// A 64-bit value.
    pub fn u64(&mut self, value: u64) {
        self.align(8);
        self.bytes(&value.to_le_bytes());
    }

    /// A referent, a count or an offset: 32 or 64 bits. Lengths of ours are far below 2^32.
    pub fn length(&mut self, value: usize) {
        let value = u32::try_from(value).expect("nothing of ours has 2^32 elements");
        match self.syntax {
            TransferSyntax::Ndr20 => self.u32(value),
            TransferSyntax::Ndr64 => self.u64(value.into()),
        }
    }

    /// A UUID.
    pub fn uuid(&mut self, value: Uuid) {
        self.align(4);
        self.bytes(&value.to_bytes_le());
    }

    /// A context handle.
    pub fn context_handle(&mut self, handle: ContextHandle) {
        self.u32(handle.attributes);
        self.uuid(handle.uuid);
    }

    /// A pointer: a fresh referent or null; the target must be written where its turn comes.
    pub fn pointer(&mut self, present: bool) {
        if !present {
            return self.length(0);
        }
        let id = REFERENT_FIRST + self.referents * 4;
        self.referents += 1;
        self.length(usize::try_from(id).expect("32 bits fit"));
    }

    /// A conformant-varying wide string with its NUL.
    pub fn wide_string(&mut self, text: &str) {
        let units = text.encode_utf16().count() + 1;
        self.length(units);
        self.length(0);
        self.length(units);
        for unit in text.encode_utf16() {
            self.bytes(&unit.to_le_bytes());
        }
        self.bytes(&[0, 0]);
    }

    /// A top-level `[unique, string]` parameter: the pointer with its target right behind it.
    pub fn unique_wide_string(&mut self, text: Option<&str>) {
        self.pointer(text.is_some());
        if let Some(text) = text {
            self.wide_string(text);
        }
    }
}
