//! FileDispositionInformation, class 13 (MS-FSCC 2.4.11).

use crate::wire::record;

record! {
    /// Delete when the last open is closed.
    info FileDispositionInformation [1] {
        /// DeletePending.
        delete_pending: bool;
    }
}
