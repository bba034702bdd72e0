//! FSCTL_DUPLICATE_EXTENTS_TO_FILE and _EX (MS-FSA 2.1.5.10.4): a copy that shares blocks where the file system can.

use std::sync::Arc;

use persistence_model::IoKind;
use smb_proto::{
    fsctl::{DuplicateExtents, DuplicateExtentsEx, code},
    message::{change_notify::CompletionFilter, ioctl::IoctlRequest},
};
use smb_types::{AccessMask, FileAttributes, NtStatus};

use crate::{
    blocking::blocking,
    error::Refusal,
    notify,
    receive::{RequestContext, io},
    state::Open,
};

/// Most bytes of one request: it holds up the connection's reader for as long.
const BYTES_MAX: u64 = 4 << 30;

/// Copies the range.
pub(super) async fn duplicate(ctx: &mut RequestContext, open: &Arc<Open>, request: &IoctlRequest) -> Result<(), Refusal> {
    let wish = match request.ctl_code {
        code::DUPLICATE_EXTENTS_TO_FILE_EX => DuplicateExtentsEx::decode(&request.input)?.extents,
        _ => DuplicateExtents::decode(&request.input).map_err(|_| Refusal::invalid("a short request"))?,
    };
    let source = ctx
        .session()?
        .open(wish.source_file_id)
        .filter(|source| !source.is_revoked() && source.tree.share.share_id == open.tree.share.share_id)
        .ok_or(Refusal::new(NtStatus::INVALID_HANDLE, "no such source in this share"))?;
    if open.is_directory || source.is_directory {
        return Err(Refusal::new(NtStatus::NOT_SUPPORTED, "only files have extents"));
    }
    let (from, to) = (source.file_with(AccessMask::READ_DATA)?, open.file_with(AccessMask::WRITE_DATA)?);
    check_range(&wish)?;
    if wish.byte_count == 0 {
        return Ok(());
    }
    if blocking(|| from.metadata())?.size < wish.source_file_offset + wish.byte_count {
        return Err(Refusal::new(NtStatus::NOT_SUPPORTED, "the source is shorter"));
    }
    let (source_is, target_is) = (blocking(|| from.metadata())?, blocking(|| to.metadata())?);
    // MS-FSA 2.1.5.10.4
    // A sparse source needs a sparse target, and the target must reach as far as the copy.
    let sparse = FileAttributes::SPARSE_FILE;
    if source_is.attributes.contains(sparse) && !target_is.attributes.contains(sparse) {
        return Err(Refusal::new(NtStatus::NOT_SUPPORTED, "a sparse source, and a target that is not"));
    }
    let byte_count = wish.byte_count.min(target_is.size.saturating_sub(wish.target_file_offset));
    let overlap = wish.source_file_offset.abs_diff(wish.target_file_offset) < wish.byte_count;
    if from.key() == to.key() && overlap {
        return Err(Refusal::new(NtStatus::NOT_SUPPORTED, "the ranges overlap"));
    }
    // windows: byte-range locks do not stand in the way of this.
    let flight = io::clear(ctx, open, IoKind::Write, None).await?;
    blocking(|| {
        io::keeping_times(open, to, || {
            to.copy_from(wish.target_file_offset, from.as_ref(), wish.source_file_offset, byte_count)?;
            io::settle(open, to)
        })
    })?;
    drop(flight);
    open.modified.store(true, std::sync::atomic::Ordering::Release);
    notify::changed(&ctx.server, open, CompletionFilter::SIZE | CompletionFilter::LAST_WRITE);
    io::still_ours(ctx, open)
}

fn check_range(wish: &DuplicateExtents) -> Result<(), Refusal> {
    let valid = |offset: u64| offset.checked_add(wish.byte_count).is_some_and(|end| i64::try_from(end).is_ok());
    if !valid(wish.source_file_offset) || !valid(wish.target_file_offset) || wish.byte_count > BYTES_MAX {
        return Err(Refusal::invalid("not a range"));
    }
    Ok(())
}
