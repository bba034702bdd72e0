//! FSCTL_DFS_GET_REFERRALS (MS-SMB2 3.3.5.15.2): this server is in no DFS.

use smb_types::NtStatus;

use crate::error::Refusal;

/// What the client gets; it goes on without DFS.
pub(super) fn refuse() -> Refusal {
    Refusal::new(NtStatus::FS_DRIVER_REQUIRED, "no DFS here")
}
