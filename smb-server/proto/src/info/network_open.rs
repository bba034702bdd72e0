//! FileNetworkOpenInformation, class 34 (MS-FSCC 2.4.34).

use smb_types::{FileAttributes, FileTime};

use crate::wire::record;

record! {
    /// What an open returns.
    info FileNetworkOpenInformation [56] {
        /// CreationTime.
        creation_time: FileTime;
        /// LastAccessTime.
        last_access_time: FileTime;
        /// LastWriteTime.
        last_write_time: FileTime;
        /// ChangeTime.
        change_time: FileTime;
        /// AllocationSize.
        allocation_size: u64;
        /// EndOfFile.
        end_of_file: u64;
        /// FileAttributes.
        file_attributes: FileAttributes, pad 4;
    }
}
