//! FileValidDataLengthInformation, class 39 (MS-FSCC 2.4.51).

use crate::wire::record;

record! {
    /// How much of the file is written.
    info FileValidDataLengthInformation [8] {
        /// ValidDataLength.
        valid_data_length: u64;
    }
}
