//! FileBasicInformation: times and attributes (MS-FSA 2.1.5.15.2).

use std::sync::{Arc, atomic::Ordering};

use smb_backend::SetBasic;
use smb_proto::{
    info::{FileBasicInformation, TimeChange},
    message::change_notify::CompletionFilter,
};
use smb_types::{AccessMask, FileAttributes, FileTime, NtStatus};

use crate::{
    blocking::blocking,
    error::Refusal,
    notify,
    receive::{
        RequestContext,
        io::{self, frozen},
    },
    state::Open,
};

/// Attributes that a client may name; the others are refused.
const KNOWN: FileAttributes = FileAttributes(0x0000_7FB7);

/// Sets what the buffer names.
pub(super) async fn set(ctx: &mut RequestContext, open: &Arc<Open>, buffer: &[u8]) -> Result<(), Refusal> {
    let file = open.file_with(AccessMask::WRITE_ATTRIBUTES)?;
    let wish = FileBasicInformation::decode(buffer)?;
    let attributes = attributes(open, wish.file_attributes)?;
    let mut freeze = 0;
    let mut thaw = 0;
    let mut time = |time: FileTime, bit: u64| -> Result<Option<FileTime>, Refusal> {
        match TimeChange::of(time) {
            TimeChange::Keep => Ok(None),
            TimeChange::Freeze => {
                freeze |= bit;
                Ok(None)
            }
            TimeChange::Thaw => {
                thaw |= bit;
                Ok(None)
            }
            TimeChange::Set(time) if i64::try_from(time.0).is_err() => Err(Refusal::invalid("a negative time")),
            TimeChange::Set(time) => {
                // MS-FSA 2.1.5.15.2
                // A time that was set is no longer changed by what goes on through this open.
                freeze |= bit;
                Ok(Some(time))
            }
        }
    };
    let creation = time(wish.creation_time, frozen::CREATION)?;
    let last_access = time(wish.last_access_time, frozen::ACCESS)?;
    let last_write = time(wish.last_write_time, frozen::WRITE)?;
    // The change time is the file system's own; it is accepted and not set.
    time(wish.change_time, frozen::CHANGE)?;
    io::still_ours(ctx, open)?;
    let set = SetBasic { creation, last_access, last_write, attributes };
    if set != SetBasic::default() {
        blocking(|| -> Result<(), Refusal> {
            file.set_basic(&set)?;
            io::settle(open, file)
        })?;
    }
    open.frozen_times.fetch_and(!thaw, Ordering::AcqRel);
    open.frozen_times.fetch_or(freeze, Ordering::AcqRel);
    io::still_ours(ctx, open)?;
    report(ctx, open, &set, !matches!(TimeChange::of(wish.change_time), TimeChange::Keep));
    Ok(())
}

fn report(ctx: &RequestContext, open: &Open, set: &SetBasic, sets_change_time: bool) {
    let parts = [
        (set.attributes.is_some(), CompletionFilter::ATTRIBUTES),
        (set.creation.is_some(), CompletionFilter::CREATION),
        (set.last_access.is_some(), CompletionFilter::LAST_ACCESS),
        (set.last_write.is_some(), CompletionFilter::LAST_WRITE),
    ];
    let filter = parts.into_iter().filter(|(set, _)| *set).fold(CompletionFilter::NONE, |all, (_, filter)| all | filter);
    if !filter.is_empty() {
        notify::changed(&ctx.server, open, filter);
    } else if !sets_change_time {
        return;
    }
    let path = open.path.read().clone();
    io::entry_changed(&ctx.server, open, &path);
}

// MS-FSA 2.1.5.15.2
// Zero keeps the attributes; DIRECTORY must be true if named; a directory is never temporary.
fn attributes(open: &Open, wish: FileAttributes) -> Result<Option<FileAttributes>, Refusal> {
    if wish.is_empty() {
        return Ok(None);
    }
    if !wish.without(KNOWN).is_empty() || (wish.contains(FileAttributes::DIRECTORY) && !open.is_directory) {
        return Err(Refusal::invalid("attributes that the file cannot have"));
    }
    if open.is_directory && wish.contains(FileAttributes::TEMPORARY) {
        return Err(Refusal::new(NtStatus::INVALID_PARAMETER, "a temporary directory"));
    }
    Ok(Some(wish.without(FileAttributes::NORMAL)))
}
