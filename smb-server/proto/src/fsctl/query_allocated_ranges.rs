//! FSCTL_QUERY_ALLOCATED_RANGES (MS-FSCC 2.3.53, 2.3.54): input and output have the same form.

use smb_types::NtStatus;

use crate::error::DecodeError;
use crate::wire::record;

record! {
    /// A range to look at, or one that holds data.
    AllocatedRange [16] {
        /// FileOffset.
        file_offset: u64;
        /// Length.
        length: u64;
    }
}

impl AllocatedRange {
    /// The output and its status: what does not fit makes it BUFFER_OVERFLOW, not even one range BUFFER_TOO_SMALL.
    pub fn encode_list(ranges: &[Self], max_output: u32) -> Result<(Vec<u8>, NtStatus), NtStatus> {
        let room = usize::try_from(max_output).unwrap_or(usize::MAX) / Self::SIZE;
        if room == 0 && !ranges.is_empty() {
            return Err(NtStatus::BUFFER_TOO_SMALL);
        }
        let mut out = Vec::new();
        ranges.iter().take(room).for_each(|r| r.encode(&mut out));
        Ok((out, if ranges.len() > room { NtStatus::BUFFER_OVERFLOW } else { NtStatus::SUCCESS }))
    }

    /// Decodes the output.
    pub fn decode_list(buf: &[u8]) -> Result<Vec<Self>, DecodeError> {
        buf.chunks_exact(Self::SIZE).map(Self::decode).collect()
    }
}
