//! FSCTL_SET_ZERO_DATA (MS-FSCC 2.3.71).

use crate::wire::record;

record! {
    /// A range to fill with zeros.
    SetZeroData [16] {
        /// FileOffset.
        file_offset: u64;
        /// BeyondFinalZero: the first byte to keep.
        beyond_final_zero: u64;
    }
}
