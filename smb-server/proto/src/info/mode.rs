//! FileModeInformation, class 16 (MS-FSCC 2.4.31).

use smb_types::CreateOptions;

use crate::wire::record;

record! {
    /// Create options that may be changed later.
    info FileModeInformation [4] {
        /// Mode.
        mode: CreateOptions;
    }
}
