//! FileEndOfFileInformation, class 20 (MS-FSCC 2.4.14).

use crate::wire::record;

record! {
    /// Where the file shall end.
    info FileEndOfFileInformation [8] {
        /// EndOfFile.
        end_of_file: u64;
    }
}
