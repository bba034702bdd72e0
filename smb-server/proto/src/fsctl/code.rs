//! The codes by number.

macro_rules! codes {
    ($($name:ident = $v:literal;)*) => {
        $(#[doc = concat!("FSCTL_", stringify!($name), ".")] pub const $name: u32 = $v;)*

        /// The code's name without `FSCTL_`, for logs; None for a code this crate does not name.
        #[must_use]
        pub const fn name(code: u32) -> Option<&'static str> {
            match code { $($v => Some(stringify!($name)),)* _ => None }
        }
    };
}

codes! {
    DFS_GET_REFERRALS = 0x0006_0194;
    DFS_GET_REFERRALS_EX = 0x0006_01B0;
    PIPE_PEEK = 0x0011_400C;
    PIPE_WAIT = 0x0011_0018;
    PIPE_TRANSCEIVE = 0x0011_C017;
    QUERY_NETWORK_INTERFACE_INFO = 0x0014_01FC;
    VALIDATE_NEGOTIATE_INFO = 0x0014_0204;
    LMR_REQUEST_RESILIENCY = 0x0014_01D4;
    SRV_REQUEST_RESUME_KEY = 0x0014_0078;
    SRV_COPYCHUNK = 0x0014_40F2;
    SRV_COPYCHUNK_WRITE = 0x0014_80F2;
    SRV_ENUMERATE_SNAPSHOTS = 0x0014_4064;
    SRV_READ_HASH = 0x0014_41BB;
    SET_SPARSE = 0x0009_00C4;
    SET_ZERO_DATA = 0x0009_80C8;
    QUERY_ALLOCATED_RANGES = 0x0009_40CF;
    CREATE_OR_GET_OBJECT_ID = 0x0009_00C0;
    GET_OBJECT_ID = 0x0009_009C;
    GET_REPARSE_POINT = 0x0009_00A8;
    SET_REPARSE_POINT = 0x0009_00A4;
    DELETE_REPARSE_POINT = 0x0009_00AC;
    GET_COMPRESSION = 0x0009_003C;
    SET_COMPRESSION = 0x0009_C040;
    DUPLICATE_EXTENTS_TO_FILE = 0x0009_8344;
    DUPLICATE_EXTENTS_TO_FILE_EX = 0x0009_83E8;
    FILE_LEVEL_TRIM = 0x0009_8208;
    OFFLOAD_READ = 0x0009_4264;
    OFFLOAD_WRITE = 0x0009_8268;
    GET_INTEGRITY_INFORMATION = 0x0009_027C;
    SET_INTEGRITY_INFORMATION = 0x0009_C280;
    SVHDX_SYNC_TUNNEL_REQUEST = 0x0009_0304;
    SVHDX_ASYNC_TUNNEL_REQUEST = 0x0009_0364;
    QUERY_SHARED_VIRTUAL_DISK_SUPPORT = 0x0009_0300;
    STORAGE_QOS_CONTROL = 0x0009_0350;
}

/// Tells whether the code works without an open, so that its FileId must be all ones.
#[must_use]
pub const fn is_without_file(code: u32) -> bool {
    matches!(code, DFS_GET_REFERRALS | DFS_GET_REFERRALS_EX | QUERY_NETWORK_INTERFACE_INFO | VALIDATE_NEGOTIATE_INFO | PIPE_WAIT)
}
