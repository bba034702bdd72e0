//! FSCTL_GET_COMPRESSION and FSCTL_SET_COMPRESSION (MS-FSCC 2.3.19, 2.3.61).

use crate::wire::record;

/// COMPRESSION_FORMAT_NONE.
pub const FORMAT_NONE: u16 = 0;

record! {
    /// How a file is compressed.
    CompressionState [2] {
        /// CompressionState.
        format: u16;
    }
}
