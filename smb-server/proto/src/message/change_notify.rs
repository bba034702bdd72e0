//! CHANGE_NOTIFY (MS-SMB2 2.2.35, 2.2.36). The entries are in `crate::info::notify`.

use smb_types::FileId;

pub use super::buffer_response::BufferResponse as ChangeNotifyResponse;
use crate::error::DecodeError;
use crate::wire::{Put, Reader, flags};

/// Flag: the whole tree below the directory.
pub const CHANGE_NOTIFY_WATCH_TREE: u16 = 1;

flags! {
    /// CompletionFilter: which changes count.
    CompletionFilter(u32) {
        /// FILE_NOTIFY_CHANGE_FILE_NAME.
        FILE_NAME = 0x1;
        /// FILE_NOTIFY_CHANGE_DIR_NAME.
        DIR_NAME = 0x2;
        /// FILE_NOTIFY_CHANGE_ATTRIBUTES.
        ATTRIBUTES = 0x4;
        /// FILE_NOTIFY_CHANGE_SIZE.
        SIZE = 0x8;
        /// FILE_NOTIFY_CHANGE_LAST_WRITE.
        LAST_WRITE = 0x10;
        /// FILE_NOTIFY_CHANGE_LAST_ACCESS.
        LAST_ACCESS = 0x20;
        /// FILE_NOTIFY_CHANGE_CREATION.
        CREATION = 0x40;
        /// FILE_NOTIFY_CHANGE_EA.
        EA = 0x80;
        /// FILE_NOTIFY_CHANGE_SECURITY.
        SECURITY = 0x100;
        /// FILE_NOTIFY_CHANGE_STREAM_NAME.
        STREAM_NAME = 0x200;
        /// FILE_NOTIFY_CHANGE_STREAM_SIZE.
        STREAM_SIZE = 0x400;
        /// FILE_NOTIFY_CHANGE_STREAM_WRITE.
        STREAM_WRITE = 0x800;
    }
}

/// CHANGE_NOTIFY request.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ChangeNotifyRequest {
    /// Flags.
    pub flags: u16,
    /// OutputBufferLength.
    pub output_buffer_length: u32,
    /// FileId.
    pub file_id: FileId,
    /// CompletionFilter.
    pub completion_filter: CompletionFilter,
}

impl ChangeNotifyRequest {
    /// Tells whether the whole tree is watched.
    #[must_use]
    pub const fn watches_tree(&self) -> bool {
        self.flags & CHANGE_NOTIFY_WATCH_TREE != 0
    }

    /// Decodes the element `msg`.
    pub fn decode(msg: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::body(msg, 32)?;
        let (flags, output_buffer_length, file_id, completion_filter) = (r.u16()?, r.u32()?, r.get()?, r.get()?);
        r.skip(4)?;
        Ok(Self { flags, output_buffer_length, file_id, completion_filter })
    }

    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u16(32);
        out.put_u16(self.flags);
        out.put_u32(self.output_buffer_length);
        out.put(&self.file_id);
        out.put(&self.completion_filter);
        out.put_u32(0);
    }
}
