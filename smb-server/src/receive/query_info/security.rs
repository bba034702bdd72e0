//! Security descriptors (MS-SMB2 3.3.5.20.3).

use smb_proto::{
    message::query_info::QueryInfoRequest,
    security::{Ace, AceFlags, Acl, SecurityControl, SecurityDescriptor, SecurityInformation},
};
use smb_types::{AccessMask, NtStatus, Sid};

use super::Reply;
use crate::{blocking::blocking, error::Refusal, receive::RequestContext, state::Open};

/// Answers with the parts that were asked for.
// MS-SMB2 3.3.5.20.3
// A buffer that is too small is told how large it must be.
pub(super) fn query(ctx: &RequestContext, open: &Open, request: &QueryInfoRequest) -> Result<Reply, Refusal> {
    let which = SecurityInformation(request.additional_information);
    if which.intersects(SecurityInformation::OWNER | SecurityInformation::GROUP | SecurityInformation::DACL | SecurityInformation::LABEL) {
        open.require_any(AccessMask::READ_CONTROL)?;
    }
    if which.intersects(SecurityInformation::SACL | SecurityInformation::BACKUP) {
        open.require_any(AccessMask::ACCESS_SYSTEM_SECURITY)?;
    }
    let descriptor = current(ctx, open)?.select(which);
    let bytes = descriptor.to_bytes();
    if bytes.len() > usize::try_from(request.output_buffer_length).unwrap_or(usize::MAX) {
        let needed = u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes().to_vec();
        return Err(Refusal::with_data(NtStatus::BUFFER_TOO_SMALL, "the descriptor is longer than the buffer", needed));
    }
    Ok((bytes, NtStatus::SUCCESS))
}

/// The file's descriptor: the stored one, or the default.
fn current(ctx: &RequestContext, open: &Open) -> Result<SecurityDescriptor, Refusal> {
    let file = open.backend_file()?;
    let stored = blocking(|| file.security_descriptor())?;
    match stored.map(|bytes| SecurityDescriptor::decode(&bytes)) {
        Some(Ok(descriptor)) => Ok(descriptor),
        Some(Err(error)) => {
            tracing::warn!(%error, "a stored security descriptor makes no sense");
            Ok(default_descriptor(ctx))
        }
        None => Ok(default_descriptor(ctx)),
    }
}

/// The descriptor of a file that never got one: everybody may do everything.
pub(crate) fn default_descriptor(ctx: &RequestContext) -> SecurityDescriptor {
    let owner = ctx.session.as_ref().and_then(|session| session.user()).map_or_else(Sid::anonymous, |user| user.sid.clone());
    SecurityDescriptor {
        control: SecurityControl::DACL_PRESENT,
        group: Some(owner.clone()),
        owner: Some(owner),
        sacl: None,
        dacl: Some(Acl::new(vec![Ace::allow(Sid::everyone(), AccessMask::FILE_ALL, AceFlags::NONE)])),
    }
}
