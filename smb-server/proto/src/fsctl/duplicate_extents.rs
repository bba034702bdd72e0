//! FSCTL_DUPLICATE_EXTENTS_TO_FILE and _EX (MS-FSCC 2.3.7, 2.3.9).

use smb_types::FileId;

use crate::error::DecodeError;
use crate::wire::record;

record! {
    /// A range to share between two files.
    DuplicateExtents [40] {
        /// SourceFileId.
        source_file_id: FileId;
        /// SourceFileOffset.
        source_file_offset: u64;
        /// TargetFileOffset.
        target_file_offset: u64;
        /// ByteCount.
        byte_count: u64;
    }
}

/// DUPLICATE_EXTENTS_DATA_EX_SOURCE_ATOMIC.
pub const FLAG_SOURCE_ATOMIC: u32 = 1;

/// The longer form: its size first, flags last.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DuplicateExtentsEx {
    /// The range.
    pub extents: DuplicateExtents,
    /// Flags.
    pub flags: u32,
}

impl DuplicateExtentsEx {
    /// StructureSize.
    const SIZE: u64 = 0x30;

    /// Decodes the input.
    pub fn decode(buf: &[u8]) -> Result<Self, DecodeError> {
        let mut r = crate::wire::Reader::new(buf);
        if r.u64()? != Self::SIZE {
            return Err(DecodeError::malformed("StructureSize of DUPLICATE_EXTENTS_EX"));
        }
        Ok(Self { extents: r.get()?, flags: r.u32()? })
    }

    /// Appends the input.
    pub fn encode(&self, out: &mut Vec<u8>) {
        use crate::wire::Put;
        out.put_u64(Self::SIZE);
        out.put(&self.extents);
        out.put_u32(self.flags);
        out.put_u32(0);
    }
}
