//! CLOSE (MS-SMB2 2.2.15, 2.2.16).

use smb_types::{FileAttributes, FileId, FileTime};

use crate::error::DecodeError;
use crate::wire::{Put, Reader};

/// Flag: the response shall carry the attributes.
pub const CLOSE_FLAG_POSTQUERY_ATTRIB: u16 = 1;

/// CLOSE request.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CloseRequest {
    /// Flags.
    pub flags: u16,
    /// FileId.
    pub file_id: FileId,
}

impl CloseRequest {
    /// Tells whether the response shall carry the attributes.
    #[must_use]
    pub const fn wants_attributes(&self) -> bool {
        self.flags & CLOSE_FLAG_POSTQUERY_ATTRIB != 0
    }

    /// Decodes the element `msg`.
    pub fn decode(msg: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::body(msg, 24)?;
        let flags = r.u16()?;
        r.skip(4)?;
        Ok(Self { flags, file_id: r.get()? })
    }

    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u16(24);
        out.put_u16(self.flags);
        out.put_u32(0);
        out.put(&self.file_id);
    }
}

/// CLOSE response; everything but `flags` is zero unless the attributes were asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CloseResponse {
    /// Flags.
    pub flags: u16,
    /// CreationTime.
    pub creation_time: FileTime,
    /// LastAccessTime.
    pub last_access_time: FileTime,
    /// LastWriteTime.
    pub last_write_time: FileTime,
    /// ChangeTime.
    pub change_time: FileTime,
    /// AllocationSize.
    pub allocation_size: u64,
    /// EndofFile.
    pub end_of_file: u64,
    /// FileAttributes.
    pub file_attributes: FileAttributes,
}

impl CloseResponse {
    /// Decodes the element `msg`.
    pub fn decode(msg: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::body(msg, 60)?;
        let flags = r.u16()?;
        r.skip(4)?;
        Ok(Self {
            flags,
            creation_time: r.get()?,
            last_access_time: r.get()?,
            last_write_time: r.get()?,
            change_time: r.get()?,
            allocation_size: r.u64()?,
            end_of_file: r.u64()?,
            file_attributes: r.get()?,
        })
    }

    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u16(60);
        out.put_u16(self.flags);
        out.put_u32(0);
        for t in [self.creation_time, self.last_access_time, self.last_write_time, self.change_time] {
            out.put(&t);
        }
        out.put_u64(self.allocation_size);
        out.put_u64(self.end_of_file);
        out.put(&self.file_attributes);
    }
}
