//! NTSTATUS values (MS-ERREF 2.3).

use std::fmt;

use serde::{Deserialize, Serialize};

/// An NTSTATUS. Equality is by value; unknown values are kept as they are.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NtStatus(pub u32);

macro_rules! statuses {
    ($($name:ident = $value:expr;)*) => {
        impl NtStatus {
            $(#[doc = concat!("STATUS_", stringify!($name), ".")] pub const $name: Self = Self($value);)*

            /// The name without `STATUS_`; None for a value this crate does not name.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($value => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }
    };
}

statuses! {
    SUCCESS = 0x0;
    PENDING = 0x103;
    NOTIFY_CLEANUP = 0x10B;
    NOTIFY_ENUM_DIR = 0x10C;
    BUFFER_OVERFLOW = 0x80000005;
    NO_MORE_FILES = 0x80000006;
    EA_LIST_INCONSISTENT = 0x80000014;
    STOPPED_ON_SYMLINK = 0x8000002D;
    UNSUCCESSFUL = 0xC0000001;
    NOT_IMPLEMENTED = 0xC0000002;
    INVALID_INFO_CLASS = 0xC0000003;
    INFO_LENGTH_MISMATCH = 0xC0000004;
    INVALID_HANDLE = 0xC0000008;
    INVALID_PARAMETER = 0xC000000D;
    NO_SUCH_FILE = 0xC000000F;
    INVALID_DEVICE_REQUEST = 0xC0000010;
    END_OF_FILE = 0xC0000011;
    MORE_PROCESSING_REQUIRED = 0xC0000016;
    ACCESS_DENIED = 0xC0000022;
    BUFFER_TOO_SMALL = 0xC0000023;
    OBJECT_NAME_INVALID = 0xC0000033;
    OBJECT_NAME_NOT_FOUND = 0xC0000034;
    OBJECT_NAME_COLLISION = 0xC0000035;
    OBJECT_PATH_NOT_FOUND = 0xC000003A;
    OBJECT_PATH_SYNTAX_BAD = 0xC000003B;
    SHARING_VIOLATION = 0xC0000043;
    EAS_NOT_SUPPORTED = 0xC000004F;
    NO_EAS_ON_FILE = 0xC0000052;
    FILE_LOCK_CONFLICT = 0xC0000054;
    LOCK_NOT_GRANTED = 0xC0000055;
    DELETE_PENDING = 0xC0000056;
    PRIVILEGE_NOT_HELD = 0xC0000061;
    INVALID_OWNER = 0xC000005A;
    LOGON_FAILURE = 0xC000006D;
    ACCOUNT_DISABLED = 0xC0000072;
    NONE_MAPPED = 0xC0000073;
    INVALID_SECURITY_DESCR = 0xC0000079;
    RANGE_NOT_LOCKED = 0xC000007E;
    DISK_FULL = 0xC000007F;
    INSUFFICIENT_RESOURCES = 0xC000009A;
    MEDIA_WRITE_PROTECTED = 0xC00000A2;
    BAD_IMPERSONATION_LEVEL = 0xC00000A5;
    PIPE_NOT_AVAILABLE = 0xC00000AC;
    PIPE_BUSY = 0xC00000AD;
    PIPE_DISCONNECTED = 0xC00000B0;
    IO_TIMEOUT = 0xC00000B5;
    FILE_FORCED_CLOSED = 0xC00000B6;
    FILE_IS_A_DIRECTORY = 0xC00000BA;
    NOT_SUPPORTED = 0xC00000BB;
    BAD_NETWORK_PATH = 0xC00000BE;
    NETWORK_NAME_DELETED = 0xC00000C9;
    BAD_NETWORK_NAME = 0xC00000CC;
    REQUEST_NOT_ACCEPTED = 0xC00000D0;
    NOT_SAME_DEVICE = 0xC00000D4;
    PIPE_EMPTY = 0xC00000D9;
    INVALID_OPLOCK_PROTOCOL = 0xC00000E3;
    INTERNAL_ERROR = 0xC00000E5;
    DIRECTORY_NOT_EMPTY = 0xC0000101;
    NOT_A_DIRECTORY = 0xC0000103;
    TOO_MANY_OPENED_FILES = 0xC000011F;
    CANCELLED = 0xC0000120;
    CANNOT_DELETE = 0xC0000121;
    FILE_DELETED = 0xC0000123;
    FILE_CLOSED = 0xC0000128;
    INVALID_DEVICE_STATE = 0xC0000184;
    IO_DEVICE_ERROR = 0xC0000185;
    FS_DRIVER_REQUIRED = 0xC000019C;
    INVALID_LOCK_RANGE = 0xC00001A1;
    USER_SESSION_DELETED = 0xC0000203;
    CONNECTION_DISCONNECTED = 0xC000020C;
    NOT_FOUND = 0xC0000225;
    ACCOUNT_LOCKED_OUT = 0xC0000234;
    DUPLICATE_OBJECTID = 0xC000022A;
    PATH_NOT_COVERED = 0xC0000257;
    VOLUME_DISMOUNTED = 0xC000026E;
    NOT_A_REPARSE_POINT = 0xC0000275;
    NETWORK_SESSION_EXPIRED = 0xC000035C;
    REQUEST_OUT_OF_SEQUENCE = 0xC000042A;
    SERVER_UNAVAILABLE = 0xC0000466;
    FILE_NOT_AVAILABLE = 0xC0000467;
    SHARE_UNAVAILABLE = 0xC0000480;
    CONTEXT_MISMATCH = 0xC0000719;
    NO_PREAUTH_INTEGRITY_HASH_OVERLAP = 0xC05D0000;
    BAD_CLUSTER_DIALECT = 0xC05D0001;
}

impl NtStatus {
    /// Severity "error" (top two bits set).
    #[must_use]
    pub const fn is_error(self) -> bool {
        self.0 >> 30 == 3
    }
}

impl fmt::Display for NtStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(n) => write!(f, "STATUS_{n}"),
            None => write!(f, "{:#010X}", self.0),
        }
    }
}

impl fmt::Debug for NtStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} ({:#010X})", self.0)
    }
}
