//! FileFsControlInformation, class 6 (MS-FSCC 2.5.2).

use crate::wire::record;

record! {
    /// Quota of the volume.
    info FileFsControlInformation [48] {
        /// FreeSpaceStartFiltering.
        free_space_start_filtering: u64;
        /// FreeSpaceThreshold.
        free_space_threshold: u64;
        /// FreeSpaceStopFiltering.
        free_space_stop_filtering: u64;
        /// DefaultQuotaThreshold.
        default_quota_threshold: u64;
        /// DefaultQuotaLimit.
        default_quota_limit: u64;
        /// FileSystemControlFlags.
        file_system_control_flags: u32, pad 4;
    }
}
