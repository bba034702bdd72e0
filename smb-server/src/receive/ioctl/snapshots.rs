//! FSCTL_SRV_ENUMERATE_SNAPSHOTS (MS-SMB2 3.3.5.15.1): there are none.

use smb_proto::{
    fsctl::{Snapshots, snapshots::OUTPUT_MIN},
    message::ioctl::IoctlRequest,
};
use smb_types::NtStatus;

use super::Output;
use crate::error::Refusal;

/// Lists no snapshots.
pub(super) fn list(request: &IoctlRequest) -> Result<Output, Refusal> {
    if request.max_output_response < OUTPUT_MIN {
        return Err(Refusal::invalid("no room for the output"));
    }
    Ok((Snapshots::default().to_bytes(request.max_output_response), NtStatus::SUCCESS))
}
