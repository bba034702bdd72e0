//! FileEaInformation, class 7 (MS-FSCC 2.4.13).

use crate::wire::record;

record! {
    /// Size of the extended attributes.
    info FileEaInformation [4] {
        /// EaSize.
        ea_size: u32;
    }
}
