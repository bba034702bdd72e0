//! FileBasicInformation, class 4 (MS-FSCC 2.4.7).

use smb_types::{FileAttributes, FileTime};

use crate::wire::record;

record! {
    /// Times and attributes; when set, 0 keeps a value, all ones freezes a time, all ones but the last thaws it.
    info FileBasicInformation [40] {
        /// CreationTime.
        creation_time: FileTime;
        /// LastAccessTime.
        last_access_time: FileTime;
        /// LastWriteTime.
        last_write_time: FileTime;
        /// ChangeTime.
        change_time: FileTime;
        /// FileAttributes.
        file_attributes: FileAttributes, pad 4;
    }
}

/// What a SET_INFO wants of one time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TimeChange {
    /// 0: leave it.
    Keep,
    /// −1: this open's operations no longer change it.
    Freeze,
    /// −2: this open's operations change it again.
    Thaw,
    /// Anything else: this time.
    Set(FileTime),
}

impl TimeChange {
    /// Reads the wish out of a time.
    #[must_use]
    pub const fn of(time: FileTime) -> Self {
        match time.0 {
            0 => Self::Keep,
            u64::MAX => Self::Freeze,
            0xFFFF_FFFF_FFFF_FFFE => Self::Thaw,
            _ => Self::Set(time),
        }
    }
}
