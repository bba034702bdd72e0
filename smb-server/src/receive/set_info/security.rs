//! Security descriptors (MS-SMB2 3.3.5.21.3, MS-FSA 2.1.5.17).

use std::sync::Arc;

use persistence_model::IoKind;
use smb_proto::{
    message::{change_notify::CompletionFilter, set_info::SetInfoRequest},
    security::{Ace, AceKind, Acl, SecurityControl, SecurityDescriptor, SecurityInformation},
};
use smb_types::{AccessMask, NtStatus};

use crate::{
    blocking::blocking,
    error::Refusal,
    notify,
    receive::{RequestContext, create::access::map_generic, io, query_info::default_descriptor},
    state::Open,
};

/// Replaces the parts that the request names.
pub(super) async fn set(ctx: &mut RequestContext, open: &Arc<Open>, request: &SetInfoRequest) -> Result<(), Refusal> {
    if open.pipe().is_some() {
        return Err(Refusal::new(NtStatus::NOT_SUPPORTED, "a pipe keeps its security"));
    }
    let which = SecurityInformation(request.additional_information);
    if which.intersects(SecurityInformation::OWNER | SecurityInformation::GROUP | SecurityInformation::LABEL) {
        open.require_any(AccessMask::WRITE_OWNER)?;
    }
    if which.intersects(SecurityInformation::DACL) {
        open.require_any(AccessMask::WRITE_DAC)?;
    }
    if which.intersects(SecurityInformation::SACL | SecurityInformation::ATTRIBUTE | SecurityInformation::SCOPE) {
        open.require_any(AccessMask::ACCESS_SYSTEM_SECURITY)?;
    }
    let wish = SecurityDescriptor::decode(&request.buffer)?;
    let flight = io::clear(ctx, open, IoKind::Security, None).await?;
    let file = open.backend_file()?;
    let stored = blocking(|| file.security_descriptor())?;
    let current = stored.and_then(|bytes| SecurityDescriptor::decode(&bytes).ok()).unwrap_or_else(|| default_descriptor(ctx));
    let merged = merge(current, wish, which);
    blocking(|| -> Result<(), Refusal> {
        file.set_security_descriptor(&merged.to_bytes())?;
        io::settle(open, file)
    })?;
    drop(flight);
    io::still_ours(ctx, open)?;
    notify::changed(&ctx.server, open, CompletionFilter::SECURITY);
    let path = open.path.read().clone();
    io::entry_changed(&ctx.server, open, &path);
    Ok(())
}

fn merge(mut current: SecurityDescriptor, wish: SecurityDescriptor, which: SecurityInformation) -> SecurityDescriptor {
    // Bits that speak of the DACL, and of the SACL.
    let (dacl_bits, sacl_bits) = (SecurityControl(0x150C), SecurityControl(0x2A30));
    if which.contains(SecurityInformation::OWNER) && wish.owner.is_some() {
        current.owner = wish.owner;
    }
    if which.contains(SecurityInformation::GROUP) && wish.group.is_some() {
        current.group = wish.group;
    }
    if which.contains(SecurityInformation::DACL) {
        let mut control = wish.control & dacl_bits;
        // MS-DTYP 2.5.3.4.2
        // Who asks for inheritance and has done it himself gets the mark; the request's bit is not kept.
        if !control.contains(SecurityControl::DACL_AUTO_INHERIT_REQ) {
            control = control.without(SecurityControl::DACL_AUTO_INHERITED);
        }
        control = control.without(SecurityControl::DACL_AUTO_INHERIT_REQ);
        current.control = current.control.without(dacl_bits) | control | SecurityControl::DACL_PRESENT;
        current.dacl = wish.dacl.map(specific);
    }
    if which.intersects(SecurityInformation::SACL) {
        current.control = current.control.without(sacl_bits) | (wish.control & sacl_bits);
        current.sacl = wish.sacl;
    }
    current
}

/// The list with specific rights in the place of generic ones.
fn specific(list: Acl) -> Acl {
    let entries = list.entries.into_iter().map(|ace| Ace { kind: specific_kind(&ace), ..ace }).collect();
    Acl { entries, ..list }
}

fn specific_kind(ace: &Ace) -> AceKind {
    use smb_proto::security::AceFlags;
    // What is only handed down keeps its generic rights: they mean something else on what inherits them.
    if ace.flags.contains(AceFlags::INHERIT_ONLY) {
        return ace.kind.clone();
    }
    match &ace.kind {
        AceKind::Allowed { mask, sid } => AceKind::Allowed { mask: map_generic(*mask), sid: sid.clone() },
        AceKind::Denied { mask, sid } => AceKind::Denied { mask: map_generic(*mask), sid: sid.clone() },
        other @ (AceKind::Audit { .. } | AceKind::Other { .. }) => other.clone(),
    }
}
