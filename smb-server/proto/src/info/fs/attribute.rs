//! FileFsAttributeInformation, class 5 (MS-FSCC 2.5.1).

use crate::error::DecodeError;
use crate::utf16;
use crate::wire::{Put, Reader, flags, len_u32};

flags! {
    /// What the file system can do.
    FsAttributes(u32) {
        /// FILE_CASE_SENSITIVE_SEARCH.
        CASE_SENSITIVE_SEARCH = 0x1;
        /// FILE_CASE_PRESERVED_NAMES.
        CASE_PRESERVED_NAMES = 0x2;
        /// FILE_UNICODE_ON_DISK.
        UNICODE_ON_DISK = 0x4;
        /// FILE_PERSISTENT_ACLS.
        PERSISTENT_ACLS = 0x8;
        /// FILE_FILE_COMPRESSION.
        FILE_COMPRESSION = 0x10;
        /// FILE_VOLUME_QUOTAS.
        VOLUME_QUOTAS = 0x20;
        /// FILE_SUPPORTS_SPARSE_FILES.
        SUPPORTS_SPARSE_FILES = 0x40;
        /// FILE_SUPPORTS_REPARSE_POINTS.
        SUPPORTS_REPARSE_POINTS = 0x80;
        /// FILE_SUPPORTS_OBJECT_IDS.
        SUPPORTS_OBJECT_IDS = 0x1_0000;
        /// FILE_NAMED_STREAMS.
        NAMED_STREAMS = 0x4_0000;
        /// FILE_SUPPORTS_HARD_LINKS.
        SUPPORTS_HARD_LINKS = 0x40_0000;
        /// FILE_SUPPORTS_EXTENDED_ATTRIBUTES.
        SUPPORTS_EXTENDED_ATTRIBUTES = 0x80_0000;
        /// FILE_SUPPORTS_BLOCK_REFCOUNTING.
        SUPPORTS_BLOCK_REFCOUNTING = 0x0800_0000;
    }
}

/// The file system's abilities and name.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FileFsAttributeInformation {
    /// FileSystemAttributes.
    pub attributes: FsAttributes,
    /// MaximumComponentNameLength.
    pub maximum_component_name_length: u32,
    /// FileSystemName.
    pub file_system_name: String,
}

impl FileFsAttributeInformation {
    /// Length of the fixed part, for `crate::info::fit`.
    pub const FIXED: usize = 12;

    /// Decodes the buffer.
    pub fn decode(buf: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(buf);
        let (attributes, maximum_component_name_length, length) = (r.get()?, r.u32()?, r.len32()?);
        Ok(Self { attributes, maximum_component_name_length, file_system_name: utf16::decode(r.bytes(length)?, "FileSystemName")? })
    }

    /// Appends the buffer.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put(&self.attributes);
        out.put_u32(self.maximum_component_name_length);
        out.put_u32(len_u32(utf16::byte_len(&self.file_system_name)));
        utf16::encode(&self.file_system_name, out);
    }
}
