//! FileCompressionInformation, class 28 (MS-FSCC 2.4.9).

use crate::wire::record;

record! {
    /// How the file is compressed: not at all, here.
    info FileCompressionInformation [16] {
        /// CompressedFileSize.
        compressed_file_size: u64;
        /// CompressionFormat: 0 is none.
        compression_format: u16;
        /// CompressionUnitShift.
        compression_unit_shift: u8;
        /// ChunkShift.
        chunk_shift: u8;
        /// ClusterShift.
        cluster_shift: u8, pad 3;
    }
}
