//! ioctl (MS-SMB2 3.3.5).

use smb_types::NtStatus;

use super::RequestContext;
use crate::{error::Refusal, send::Response};

/// Answers the request.
pub(crate) async fn handle(_ctx: &mut RequestContext) -> Result<Response, Refusal> {
    Err(Refusal::new(NtStatus::NOT_SUPPORTED, "not served yet"))
}
