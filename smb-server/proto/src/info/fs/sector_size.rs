//! FileFsSectorSizeInformation, class 11 (MS-FSCC 2.5.7).

use crate::wire::record;

record! {
    /// Sectors of the device.
    info FileFsSectorSizeInformation [28] {
        /// LogicalBytesPerSector.
        logical_bytes_per_sector: u32;
        /// PhysicalBytesPerSectorForAtomicity.
        physical_bytes_per_sector_for_atomicity: u32;
        /// PhysicalBytesPerSectorForPerformance.
        physical_bytes_per_sector_for_performance: u32;
        /// FileSystemEffectivePhysicalBytesPerSectorForAtomicity.
        effective_physical_bytes_per_sector_for_atomicity: u32;
        /// Flags: 1 aligned, 2 partition aligned, 4 no seek penalty, 8 TRIM.
        flags: u32;
        /// ByteOffsetForSectorAlignment.
        byte_offset_for_sector_alignment: u32;
        /// ByteOffsetForPartitionAlignment.
        byte_offset_for_partition_alignment: u32;
    }
}
