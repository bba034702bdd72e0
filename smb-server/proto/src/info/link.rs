//! FileLinkInformation, class 11 (MS-FSCC 2.4.28).

use super::rename::{decode_named, encode_named};
use crate::error::DecodeError;

/// A further name, relative to the share's root.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FileLinkInformation {
    /// ReplaceIfExists.
    pub replace_if_exists: bool,
    /// FileName.
    pub file_name: String,
}

impl FileLinkInformation {
    /// Decodes the buffer.
    pub fn decode(buf: &[u8]) -> Result<Self, DecodeError> {
        decode_named(buf).map(|([replace, ..], file_name)| Self { replace_if_exists: replace != 0, file_name })
    }

    /// Appends the buffer.
    pub fn encode(&self, out: &mut Vec<u8>) {
        encode_named(u32::from(self.replace_if_exists), &self.file_name, out);
    }
}
