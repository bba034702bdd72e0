//! FileFsSizeInformation, class 3 (MS-FSCC 2.5.8).

use crate::wire::record;

record! {
    /// Room on the volume.
    info FileFsSizeInformation [24] {
        /// TotalAllocationUnits.
        total_allocation_units: u64;
        /// AvailableAllocationUnits.
        available_allocation_units: u64;
        /// SectorsPerAllocationUnit.
        sectors_per_allocation_unit: u32;
        /// BytesPerSector.
        bytes_per_sector: u32;
    }
}
