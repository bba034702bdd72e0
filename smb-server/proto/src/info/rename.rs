//! FileRenameInformation, class 10, and FileRenameInformationEx, class 65 (MS-FSCC 2.4.42, 2.4.43).

use crate::error::DecodeError;
use crate::utf16;
use crate::wire::{Put, Reader, flags, len_u32};

flags! {
    /// How to rename (class 65; class 10 knows the first only).
    RenameFlags(u32) {
        /// FILE_RENAME_REPLACE_IF_EXISTS.
        REPLACE_IF_EXISTS = 0x1;
        /// FILE_RENAME_POSIX_SEMANTICS.
        POSIX_SEMANTICS = 0x2;
        /// FILE_RENAME_SUPPRESS_PIN_STATE_INHERITANCE.
        SUPPRESS_PIN_STATE_INHERITANCE = 0x4;
        /// FILE_RENAME_SUPPRESS_STORAGE_RESERVE_INHERITANCE.
        SUPPRESS_STORAGE_RESERVE_INHERITANCE = 0x8;
        /// FILE_RENAME_NO_INCREASE_AVAILABLE_SPACE.
        NO_INCREASE_AVAILABLE_SPACE = 0x10;
        /// FILE_RENAME_NO_DECREASE_AVAILABLE_SPACE.
        NO_DECREASE_AVAILABLE_SPACE = 0x20;
        /// FILE_RENAME_IGNORE_READONLY_ATTRIBUTE.
        IGNORE_READONLY_ATTRIBUTE = 0x40;
    }
}

/// A new name, relative to the share's root.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FileRenameInformation {
    /// Flags; class 10 has one byte ReplaceIfExists in their place.
    pub flags: RenameFlags,
    /// FileName.
    pub file_name: String,
}

impl FileRenameInformation {
    /// Tells whether an existing target is replaced.
    #[must_use]
    pub const fn replaces(&self) -> bool {
        self.flags.contains(RenameFlags::REPLACE_IF_EXISTS)
    }

    /// Decodes class 10.
    pub fn decode(buf: &[u8]) -> Result<Self, DecodeError> {
        decode_named(buf).map(|(head, file_name)| {
            let replace = head.first().is_some_and(|&b| b != 0);
            Self { flags: if replace { RenameFlags::REPLACE_IF_EXISTS } else { RenameFlags::NONE }, file_name }
        })
    }

    /// Decodes class 65.
    pub fn decode_ex(buf: &[u8]) -> Result<Self, DecodeError> {
        decode_named(buf).map(|([a, b, c, d, ..], file_name)| Self { flags: RenameFlags(u32::from_le_bytes([a, b, c, d])), file_name })
    }

    /// Appends class 10.
    pub fn encode(&self, out: &mut Vec<u8>) {
        encode_named(u32::from(self.replaces()), &self.file_name, out);
    }

    /// Appends class 65.
    pub fn encode_ex(&self, out: &mut Vec<u8>) {
        encode_named(self.flags.0, &self.file_name, out);
    }
}

/// The common form of renames and links: eight bytes of flags, RootDirectory, name.
pub(super) fn decode_named(buf: &[u8]) -> Result<([u8; 8], String), DecodeError> {
    if buf.len() < 20 {
        return Err(DecodeError::Length { what: "FileRenameInformation" });
    }
    let mut r = Reader::new(buf);
    let head = r.array()?;
    // MS-FSCC 2.4.42.2: on the network the root directory is always zero.
    if r.u64()? != 0 {
        return Err(DecodeError::malformed("RootDirectory"));
    }
    let length = r.len32()?;
    Ok((head, utf16::decode(r.bytes(length)?, "FileName")?))
}

pub(super) fn encode_named(head: u32, name: &str, out: &mut Vec<u8>) {
    let start = out.len();
    out.put_u32(head);
    out.put_zeros(12);
    out.put_u32(len_u32(utf16::byte_len(name)));
    utf16::encode(name, out);
    // windows: buffers shorter than the structure with its tail padding (24) are refused, so short names are padded.
    let missing = 24usize.saturating_sub(out.len().saturating_sub(start));
    out.put_zeros(missing);
}
