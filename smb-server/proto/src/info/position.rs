//! FilePositionInformation, class 14 (MS-FSCC 2.4.40).

use crate::wire::record;

record! {
    /// A position the server only keeps.
    info FilePositionInformation [8] {
        /// CurrentByteOffset.
        current_byte_offset: u64;
    }
}
