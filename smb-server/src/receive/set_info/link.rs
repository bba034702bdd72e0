//! FileLinkInformation: gives a file one more name (MS-FSA 2.1.5.15.6).

use std::sync::Arc;

use persistence_model::IoKind;
use smb_proto::{
    info::{FileLinkInformation, NotifyAction},
    message::change_notify::CompletionFilter,
};
use smb_types::{FileAttributes, NtStatus};

use super::place;
use crate::{
    blocking::blocking,
    deletion::backend_key,
    error::Refusal,
    notify,
    receive::{RequestContext, io},
    state::Open,
    store::StoreExt as _,
};

/// Links the open's file.
pub(super) async fn set(ctx: &mut RequestContext, open: &Arc<Open>, buffer: &[u8]) -> Result<(), Refusal> {
    let wish = FileLinkInformation::decode(buffer)?;
    if open.is_directory {
        return Err(Refusal::new(NtStatus::FILE_IS_A_DIRECTORY, "directories have one name"));
    }
    if open.stream.is_some() || wish.file_name.is_empty() {
        return Err(Refusal::invalid("a stream has no links"));
    }
    let target = place::parse(&wish.file_name)?;
    if target.stream.is_some() {
        return Err(Refusal::new(NtStatus::OBJECT_NAME_INVALID, "a link is not a stream"));
    }
    let asker = ctx.asker()?;
    let from = io::current_path(&ctx.server, open);
    let new_name = place::look(&asker, &target.path)?;
    let occupant = new_name.replaced(backend_key(open.file), wish.replace_if_exists);
    let may = asker.may_link(&from, &new_name.at, occupant)?;
    if let Some(occupant) = &new_name.occupant {
        if occupant.key == backend_key(open.file) && wish.replace_if_exists {
            return Ok(());
        }
        if !wish.replace_if_exists {
            return Err(Refusal::new(NtStatus::OBJECT_NAME_COLLISION, "the new name is taken"));
        }
        let key = open.tree.share.file_key(occupant.key);
        let is_open = ctx.server.store.with_state(|state| state.file(&key).is_some());
        if occupant.is_directory() || is_open || occupant.attributes.contains(FileAttributes::READONLY) {
            return Err(Refusal::new(NtStatus::ACCESS_DENIED, "what has the new name cannot be replaced"));
        }
    }
    let flight = io::clear(ctx, open, IoKind::Link, None).await?;
    blocking(|| asker.names().link(&may, open.stability()))?;
    drop(flight);
    io::still_ours(ctx, open)?;
    notify::report(&ctx.server, open.tree.share.share_id, new_name.at.path(), NotifyAction::Added, CompletionFilter::FILE_NAME);
    io::entry_changed(&ctx.server, open, new_name.at.path());
    Ok(())
}
