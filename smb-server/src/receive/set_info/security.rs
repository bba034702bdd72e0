//! Security descriptors (MS-SMB2 3.3.5.21.3, MS-FSA 2.1.5.17).

use std::sync::Arc;

use persistence_model::IoKind;
use smb_proto::{
    message::{change_notify::CompletionFilter, set_info::SetInfoRequest},
    security::{SecurityDescriptor, SecurityInformation},
};
use smb_types::{AccessMask, NtStatus};

use crate::{
    access::{Asker, merge},
    blocking::blocking,
    error::Refusal,
    notify,
    receive::{RequestContext, io},
    state::Open,
};

/// Replaces the parts that the request names.
// MS-SMB2 3.3.5.21.3
pub(super) async fn set(ctx: &mut RequestContext, open: &Arc<Open>, request: &SetInfoRequest) -> Result<(), Refusal> {
    if open.pipe().is_some() {
        return Err(Refusal::new(NtStatus::NOT_SUPPORTED, "a pipe keeps its security"));
    }
    let which = SecurityInformation(request.additional_information);
    let file = open.file_with(needed(which))?;
    check_rights(open, which)?;
    let change = SecurityDescriptor::decode(&request.buffer)?;
    let asker = ctx.asker()?;
    let flight = io::clear(ctx, open, IoKind::Security, None).await?;
    blocking(|| -> Result<(), Refusal> {
        let before = file.security()?;
        let current = asker.descriptor(&before);
        check_owner(&asker, &current, &change, which)?;
        let merged = merge(current.clone(), change, which);
        file.set_security_descriptor(&merged.to_bytes())?;
        let (owner, mode) = asker.on_disk(&merged, open.is_directory);
        let gives_away = owner.filter(|_| merged.owner != current.owner || merged.group != current.group);
        if gives_away.is_some() || mode.is_some_and(|mode| mode != before.mode) {
            file.set_owner(gives_away.map(|owner| owner.uid), gives_away.and_then(|owner| owner.gid), mode)?;
        }
        io::settle(open, file)
    })?;
    drop(flight);
    io::still_ours(ctx, open)?;
    notify::changed(&ctx.server, open, CompletionFilter::SECURITY);
    let path = open.path.read().clone();
    io::entry_changed(&ctx.server, open, &path);
    Ok(())
}

/// Rights of which a change of these parts needs some.
fn needed(which: SecurityInformation) -> AccessMask {
    let parts = [
        (SecurityInformation::OWNER | SecurityInformation::GROUP | SecurityInformation::LABEL, AccessMask::WRITE_OWNER),
        (SecurityInformation::DACL, AccessMask::WRITE_DAC),
        (SecurityInformation::SACL | SecurityInformation::ATTRIBUTE | SecurityInformation::SCOPE, AccessMask::ACCESS_SYSTEM_SECURITY),
    ];
    parts.into_iter().filter(|(part, _)| which.intersects(*part)).fold(AccessMask::NONE, |all, (_, right)| all | right)
}

// MS-FSA 2.1.5.17
// Each part needs its own right.
fn check_rights(open: &Open, which: SecurityInformation) -> Result<(), Refusal> {
    if open.granted_access.contains(needed(which)) {
        return Ok(());
    }
    Err(Refusal::new(NtStatus::ACCESS_DENIED, "the open lacks the right to change this part of the descriptor"))
}

// MS-FSA 2.1.5.17
// Whoever may change the owner can make himself the owner, or a group that may own; any other only who may restore files.
// windows: smbcacls, as others do, sends the owner that it has read along with every change.
fn check_owner(
    asker: &Asker,
    current: &SecurityDescriptor,
    change: &SecurityDescriptor,
    which: SecurityInformation,
) -> Result<(), Refusal> {
    let Some(owner) = change.owner.as_ref().filter(|_| which.contains(SecurityInformation::OWNER)) else { return Ok(()) };
    if current.owner.as_ref() == Some(owner) || asker.token().may_give_to(owner) {
        return Ok(());
    }
    Err(Refusal::new(NtStatus::INVALID_OWNER, "files cannot be given to this owner"))
}
