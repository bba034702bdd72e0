//! Security descriptors (MS-SMB2 3.3.5.20.3).

use smb_proto::{message::query_info::QueryInfoRequest, security::SecurityInformation};
use smb_types::{AccessMask, NtStatus};

use super::Reply;
use crate::{blocking::blocking, error::Refusal, receive::RequestContext, state::Open};

/// Answers with the parts that were asked for.
// MS-SMB2 3.3.5.20.3
// A buffer that is too small is told how large it must be.
pub(super) fn query(ctx: &RequestContext, open: &Open, request: &QueryInfoRequest) -> Result<Reply, Refusal> {
    let which = SecurityInformation(request.additional_information);
    let control = SecurityInformation::OWNER | SecurityInformation::GROUP | SecurityInformation::DACL | SecurityInformation::LABEL;
    if which.intersects(control) {
        open.require_any(AccessMask::READ_CONTROL)?;
    }
    let audit = SecurityInformation::SACL | SecurityInformation::BACKUP | SecurityInformation::ATTRIBUTE | SecurityInformation::SCOPE;
    if which.intersects(audit) {
        open.require_any(AccessMask::ACCESS_SYSTEM_SECURITY)?;
    }
    let file = open.file_for_any()?;
    let security = blocking(|| file.security())?;
    let bytes = ctx.asker()?.descriptor(&security).select(which).to_bytes();
    if bytes.len() > usize::try_from(request.output_buffer_length).unwrap_or(usize::MAX) {
        let needed = u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes().to_vec();
        return Err(Refusal::with_data(NtStatus::BUFFER_TOO_SMALL, "the descriptor is longer than the buffer", needed));
    }
    Ok((bytes, NtStatus::SUCCESS))
}
