//! FileDispositionInformation(Ex): marks a file to be deleted when its last open goes (MS-FSA 2.1.5.15.3).

use std::sync::Arc;

use persistence_model::Command;
use smb_proto::info::{DispositionFlags, FileClass, FileDispositionInformation, FileDispositionInformationEx};
use smb_types::{AccessMask, FileAttributes, LeaseKey, NtStatus};

use crate::{
    blocking::blocking,
    error::Refusal,
    receive::{RequestContext, io, wait::propose_and_wait},
    state::{Open, Server},
    store::StoreExt as _,
};

/// Sets or clears the mark.
pub(super) async fn set(ctx: &mut RequestContext, open: &Arc<Open>, class: FileClass, buffer: &[u8]) -> Result<(), Refusal> {
    open.require_any(AccessMask::DELETE)?;
    let flags = match class {
        FileClass::DispositionEx => FileDispositionInformationEx::decode(buffer)?.flags,
        _ if FileDispositionInformation::decode(buffer)?.delete_pending => DispositionFlags::DELETE,
        _ => DispositionFlags::NONE,
    };
    if flags.contains(DispositionFlags::ON_CLOSE) {
        return Err(Refusal::new(NtStatus::NOT_SUPPORTED, "delete-on-close is given at CREATE only"));
    }
    let on = flags.contains(DispositionFlags::DELETE);
    if on {
        check_deletable(ctx, open, flags.contains(DispositionFlags::IGNORE_READONLY_ATTRIBUTE))?;
    }
    io::still_ours(ctx, open)?;
    let (id, by) = (open.open_id, ctx.server.store.incarnation());
    let ended = Some((open.ended.clone(), NtStatus::FILE_CLOSED));
    let outcome = propose_and_wait(ctx, || Command::SetDeletePending { open: id, on, by }, ended).await?;
    io::done(&outcome)?;
    mark_deleted(&ctx.server, open, on.then_some(open.parent_lease_key));
    Ok(())
}

/// Lets the opens of a file on this node know under which directory lease it was marked for deletion (None: it is not any more).
pub(crate) fn mark_deleted(server: &Server, open: &Open, under: Option<Option<LeaseKey>>) {
    let opens = server.store.with_state(|state| state.file(&open.file).map(|file| file.opens.clone()).unwrap_or_default());
    for other in opens.into_iter().filter_map(|id| server.open(id)) {
        *other.deleted_under.lock() = under;
    }
}

// MS-FSA 2.1.5.15.3
// The root stays, read-only files stay, directories that hold something stay.
fn check_deletable(ctx: &RequestContext, open: &Open, ignore_readonly: bool) -> Result<(), Refusal> {
    let path = io::current_path(&ctx.server, open);
    let file = open.file_with(AccessMask::DELETE)?;
    let metadata = blocking(|| file.metadata())?;
    if path.is_root() && open.stream.is_none() {
        return Err(Refusal::new(NtStatus::CANNOT_DELETE, "the root of a share"));
    }
    if metadata.attributes.contains(FileAttributes::READONLY) && !ignore_readonly {
        return Err(Refusal::new(NtStatus::CANNOT_DELETE, "a read-only file"));
    }
    if open.is_directory {
        let asker = ctx.asker()?;
        let at = asker.reach(&path)?;
        if !blocking(|| asker.names().is_dir_empty(&at))? {
            return Err(Refusal::new(NtStatus::DIRECTORY_NOT_EMPTY, "the directory is not empty"));
        }
    }
    Ok(())
}
