//! FileAlignmentInformation, class 17 (MS-FSCC 2.4.3).

use crate::wire::record;

record! {
    /// Alignment that the device wants.
    info FileAlignmentInformation [4] {
        /// AlignmentRequirement: 0 is a byte.
        alignment_requirement: u32;
    }
}
