//! FileFsFullSizeInformation, class 7 (MS-FSCC 2.5.4).

use crate::wire::record;

record! {
    /// Room on the volume, for the caller and in all.
    info FileFsFullSizeInformation [32] {
        /// TotalAllocationUnits.
        total_allocation_units: u64;
        /// CallerAvailableAllocationUnits.
        caller_available_allocation_units: u64;
        /// ActualAvailableAllocationUnits.
        actual_available_allocation_units: u64;
        /// SectorsPerAllocationUnit.
        sectors_per_allocation_unit: u32;
        /// BytesPerSector.
        bytes_per_sector: u32;
    }
}
