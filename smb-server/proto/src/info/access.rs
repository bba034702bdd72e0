//! FileAccessInformation, class 8 (MS-FSCC 2.4.1).

use smb_types::AccessMask;

use crate::wire::record;

record! {
    /// What the open may do.
    info FileAccessInformation [4] {
        /// AccessFlags.
        access_flags: AccessMask;
    }
}
