//! FileStandardInformation, class 5 (MS-FSCC 2.4.47).

use crate::wire::record;

record! {
    /// Sizes and links.
    info FileStandardInformation [24] {
        /// AllocationSize.
        allocation_size: u64;
        /// EndOfFile.
        end_of_file: u64;
        /// NumberOfLinks.
        number_of_links: u32;
        /// DeletePending.
        delete_pending: bool;
        /// Directory.
        directory: bool, pad 2;
    }
}
