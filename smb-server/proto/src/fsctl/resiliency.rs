//! FSCTL_LMR_REQUEST_RESILIENCY (MS-SMB2 2.2.31.3).

use crate::wire::record;

record! {
    /// Asks that an open survive a lost connection.
    ResiliencyRequest [8] {
        /// Timeout; 0 leaves it to the server.
        timeout_ms: u32, pad 4;
    }
}
