//! FileStreamInformation, class 22 (MS-FSCC 2.4.49).

use super::list::{EntryWriter, Pushed};
use crate::error::DecodeError;
use crate::utf16;
use crate::wire::{Put, Reader, len_u32};

/// Most streams of one file.
pub const STREAMS_MAX: usize = 4096;
/// Length of an entry's fixed part.
pub const STREAM_FIXED: usize = 24;

/// One stream.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FileStreamInformation {
    /// StreamSize.
    pub stream_size: u64,
    /// StreamAllocationSize.
    pub stream_allocation_size: u64,
    /// StreamName: `::$DATA` or `:name:$DATA`.
    pub stream_name: String,
}

impl FileStreamInformation {
    /// Adds the entry to a list of alignment 8.
    pub fn write(&self, list: &mut EntryWriter) -> Pushed {
        let mut b = Vec::new();
        b.put_u32(0);
        b.put_u32(len_u32(utf16::byte_len(&self.stream_name)));
        b.put_u64(self.stream_size);
        b.put_u64(self.stream_allocation_size);
        utf16::encode(&self.stream_name, &mut b);
        list.push(&b, STREAM_FIXED)
    }

    /// Decodes a list.
    pub fn decode_list(buf: &[u8]) -> Result<Vec<Self>, DecodeError> {
        super::decode_chain(buf, STREAMS_MAX, "FileStreamInformation", |entry| {
            let mut r = Reader::new(entry);
            r.skip(4)?;
            let length = r.len32()?;
            let (stream_size, stream_allocation_size) = (r.u64()?, r.u64()?);
            Ok(Self { stream_size, stream_allocation_size, stream_name: utf16::decode(r.bytes(length)?, "StreamName")? })
        })
    }
}
