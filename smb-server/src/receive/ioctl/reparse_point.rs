//! FSCTL_GET, SET and DELETE_REPARSE_POINT (MS-FSA 2.1.5.10): links in the file system are followed by the server, so clients see none.

use smb_proto::fsctl::code;
use smb_types::NtStatus;

use crate::error::Refusal;

/// What the client gets.
pub(super) fn refuse(ctl_code: u32) -> Refusal {
    if ctl_code == code::SET_REPARSE_POINT {
        return Refusal::new(NtStatus::INVALID_DEVICE_REQUEST, "reparse points cannot be made here");
    }
    Refusal::new(NtStatus::NOT_A_REPARSE_POINT, "no reparse point")
}
