//! FilePipeInformation, class 23 (MS-FSCC 2.4.37).

use crate::wire::record;

record! {
    /// How a pipe is read.
    info FilePipeInformation [8] {
        /// ReadMode: 0 bytes, 1 messages.
        read_mode: u32;
        /// CompletionMode: 0 waits, 1 does not.
        completion_mode: u32;
    }
}
