//! Renames a named stream (MS-FSA 2.1.5.15.12.1): the new name is `:stream` or `:stream:$DATA`, within the same file.

use std::sync::Arc;

use persistence_model::Command;
use smb_proto::{
    info::{FileRenameInformation, NotifyAction},
    message::change_notify::CompletionFilter,
};
use smb_types::{AccessMask, NtStatus};

use super::place;
use crate::{
    blocking::blocking,
    error::Refusal,
    notify::{self, Change},
    receive::{RequestContext, create::target::record_path, io, wait::propose_and_wait},
    state::Open,
};

/// Renames the open's stream.
pub(super) async fn rename(ctx: &mut RequestContext, open: &Arc<Open>, wish: &FileRenameInformation) -> Result<(), Refusal> {
    let Some(from) = io::current_stream(&ctx.server, open) else {
        return Err(Refusal::new(NtStatus::OBJECT_NAME_INVALID, "the unnamed stream keeps its name"));
    };
    if !wish.file_name.starts_with(':') {
        return Err(Refusal::invalid("a stream stays with its file"));
    }
    let target = place::parse(&wish.file_name)?;
    let Some(to) = target.stream.filter(|_| target.path.is_root()) else {
        return Err(Refusal::new(NtStatus::OBJECT_NAME_INVALID, "no name of a stream"));
    };
    let asker = ctx.asker()?;
    let path = io::current_path(&ctx.server, open);
    let at = asker.reach(&path)?;
    let may = asker.may_rename_stream(open.granted_access, &at, &from, &to, wish.replaces())?;
    let occupied = blocking(|| asker.names().streams(&at))?.into_iter().any(|stream| smb_backend::name::eq_ignore_case(&stream.name, &to));
    let same = smb_backend::name::eq_ignore_case(&from, &to);
    if occupied && !same && !wish.replaces() {
        return Err(Refusal::new(NtStatus::OBJECT_NAME_COLLISION, "the file has such a stream"));
    }
    let replaced = (occupied && !same).then(|| persistence_model::FileKey {
        stream: smb_backend::FileKey::new(open.file.inode, open.file.generation).with_stream(&to).stream,
        ..open.file
    });
    let (id, by, new_path) = (open.open_id, ctx.server.store.incarnation(), record_path(&path, Some(&to)));
    let ended = Some((open.ended.clone(), NtStatus::FILE_CLOSED));
    let intent = || Command::RenameIntent { open: id, new_path: new_path.clone(), replace: wish.replaces(), target: replaced, by };
    io::done(&propose_and_wait(ctx, intent, ended).await?)?;
    let result = blocking(|| -> Result<(), Refusal> {
        asker.names().rename_stream(&may)?;
        io::settle(open, open.file_with(AccessMask::DELETE)?)
    });
    io::done(&ctx.server.propose(Command::RenameDone { open: id, done: result.is_ok(), by }).await?)?;
    result?;
    let filter = CompletionFilter::STREAM_NAME;
    let change = |stream, action| Change { path: &path, stream: Some(stream), action, filter };
    let changes = [change(&from, NotifyAction::RemovedStream), change(&to, NotifyAction::AddedStream)];
    notify::report_all(&ctx.server, open.tree.share.share_id, &changes);
    Ok(())
}
