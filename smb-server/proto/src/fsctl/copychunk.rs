//! FSCTL_SRV_COPYCHUNK and _WRITE (MS-SMB2 2.2.31.1, 2.2.32.1).

use crate::error::DecodeError;
use crate::wire::{Put, Reader, Wire, len_u32, record};

record! {
    /// One range to copy.
    CopychunkChunk [24] {
        /// SourceOffset.
        source_offset: u64;
        /// TargetOffset.
        target_offset: u64;
        /// Length.
        length: u32, pad 4;
    }
}

/// What to copy.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CopychunkRequest {
    /// SourceKey: a resume key.
    pub source_key: [u8; 24],
    /// The ranges.
    pub chunks: Vec<CopychunkChunk>,
}

impl CopychunkRequest {
    /// Decodes the input.
    pub fn decode(buf: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(buf);
        let (source_key, count) = (r.array()?, r.len32()?);
        r.skip(4)?;
        if r.rest().len() / CopychunkChunk::SIZE < count {
            return Err(DecodeError::malformed("ChunkCount"));
        }
        let chunks = (0..count).map(|_| CopychunkChunk::get(&mut r)).collect::<Result<_, _>>()?;
        Ok(Self { source_key, chunks })
    }

    /// Appends the input.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put(&self.source_key);
        out.put_u32(len_u32(self.chunks.len()));
        out.put_u32(0);
        for c in &self.chunks {
            c.encode(out);
        }
    }
}

record! {
    /// What was copied; with INVALID_PARAMETER the three limits instead.
    CopychunkResponse [12] {
        /// ChunksWritten, or the most chunks of a request.
        chunks_written: u32;
        /// ChunkBytesWritten, or the most bytes of a chunk.
        chunk_bytes_written: u32;
        /// TotalBytesWritten, or the most bytes of a request.
        total_bytes_written: u32;
    }
}
