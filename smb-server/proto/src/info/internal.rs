//! FileInternalInformation, class 6 (MS-FSCC 2.4.27).

use crate::wire::record;

record! {
    /// The file id on its volume.
    info FileInternalInformation [8] {
        /// IndexNumber.
        index_number: u64;
    }
}
