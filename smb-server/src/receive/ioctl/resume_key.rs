//! FSCTL_SRV_REQUEST_RESUME_KEY (MS-SMB2 3.3.5.15.5): names an open as the source of a copy. The key is the FileId; it is good within its session.

use smb_proto::{fsctl::ResumeKeyResponse, message::ioctl::IoctlRequest};
use smb_types::{FileId, NtStatus};

use super::{Output, whole};
use crate::{error::Refusal, receive::RequestContext, state::Open};

use std::sync::Arc;

/// Fills the rest of a key.
const MARK: [u8; 8] = *b"holdfast";

/// Gives the open's key.
pub(super) fn answer(open: &Open, request: &IoctlRequest) -> Result<Output, Refusal> {
    let mut resume_key = [0; 24];
    resume_key[..8].copy_from_slice(&open.file_id.persistent.to_le_bytes());
    resume_key[8..16].copy_from_slice(&open.file_id.volatile.to_le_bytes());
    resume_key[16..].copy_from_slice(&MARK);
    whole(ResumeKeyResponse { resume_key }.to_bytes(), request)
}

/// The open that a key names.
///
/// # Errors
/// OBJECT_NAME_NOT_FOUND.
pub(super) fn find(ctx: &RequestContext, key: &[u8; 24]) -> Result<Arc<Open>, Refusal> {
    let unknown = || Refusal::new(NtStatus::OBJECT_NAME_NOT_FOUND, "no open has this resume key");
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, mark @ ..] = *key;
    if mark != MARK {
        return Err(unknown());
    }
    let persistent = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
    let volatile = u64::from_le_bytes([i, j, k, l, m, n, o, p]);
    ctx.session()?.open(FileId { persistent, volatile }).filter(|open| !open.is_revoked()).ok_or_else(unknown)
}
