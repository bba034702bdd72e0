//! FileAllocationInformation, class 19 (MS-FSCC 2.4.4).

use crate::wire::record;

record! {
    /// Room to allocate.
    info FileAllocationInformation [8] {
        /// AllocationSize.
        allocation_size: u64;
    }
}
