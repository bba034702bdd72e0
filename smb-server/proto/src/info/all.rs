//! FileAllInformation, class 18 (MS-FSCC 2.4.2).

use super::access::FileAccessInformation;
use super::alignment::FileAlignmentInformation;
use super::basic::FileBasicInformation;
use super::ea::FileEaInformation;
use super::internal::FileInternalInformation;
use super::mode::FileModeInformation;
use super::name::FileNameInformation;
use super::position::FilePositionInformation;
use super::standard::FileStandardInformation;
use crate::error::DecodeError;
use crate::wire::{Reader, Wire};

/// Nine classes in one.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FileAllInformation {
    /// Times and attributes.
    pub basic: FileBasicInformation,
    /// Sizes.
    pub standard: FileStandardInformation,
    /// File id.
    pub internal: FileInternalInformation,
    /// Size of the extended attributes.
    pub ea: FileEaInformation,
    /// Access of the open.
    pub access: FileAccessInformation,
    /// Position.
    pub position: FilePositionInformation,
    /// Mode.
    pub mode: FileModeInformation,
    /// Alignment.
    pub alignment: FileAlignmentInformation,
    /// Name; may be empty.
    pub name: FileNameInformation,
}

impl FileAllInformation {
    /// Length of the fixed part, for `super::fit`.
    pub const FIXED: usize = 100;

    /// Decodes the buffer.
    pub fn decode(buf: &[u8]) -> Result<Self, DecodeError> {
        if buf.len() < Self::FIXED {
            return Err(DecodeError::Length { what: "FileAllInformation" });
        }
        let mut r = Reader::new(buf);
        Ok(Self {
            basic: r.get()?,
            standard: r.get()?,
            internal: r.get()?,
            ea: r.get()?,
            access: r.get()?,
            position: r.get()?,
            mode: r.get()?,
            alignment: r.get()?,
            name: FileNameInformation::decode(r.rest())?,
        })
    }

    /// Appends the buffer.
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.basic.put(out);
        self.standard.put(out);
        self.internal.put(out);
        self.ea.put(out);
        self.access.put(out);
        self.position.put(out);
        self.mode.put(out);
        self.alignment.put(out);
        self.name.encode(out);
    }
}
