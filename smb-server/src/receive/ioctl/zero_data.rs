//! FSCTL_SET_ZERO_DATA (MS-FSA 2.1.5.10.38): bytes become zero, the size stays.

use std::sync::Arc;

use persistence_model::IoKind;
use smb_backend::{BackendFile, Range, Stability};
use smb_proto::{
    fsctl::SetZeroData,
    message::{change_notify::CompletionFilter, ioctl::IoctlRequest},
};
use smb_types::{AccessMask, FileAttributes};

use crate::{
    blocking::blocking,
    error::Refusal,
    notify,
    receive::{
        RequestContext,
        io::{self, Touch},
    },
    state::Open,
};

/// Above this a range is freed even in a file that is not sparse: it reads the same, and nobody waits for the disk.
const WRITTEN_BYTES_MAX: u64 = 64 << 20;
/// Bytes written at a time.
const CHUNK_BYTES: u64 = 1 << 20;

/// Zeroes the range.
pub(super) async fn zero(ctx: &mut RequestContext, open: &Arc<Open>, request: &IoctlRequest) -> Result<(), Refusal> {
    let wish = SetZeroData::decode(&request.input).map_err(|_| Refusal::invalid("a short range"))?;
    if open.is_directory {
        return Err(Refusal::invalid("a directory has no data"));
    }
    let negative = |offset: u64| i64::try_from(offset).is_err();
    if negative(wish.file_offset) || negative(wish.beyond_final_zero) || wish.file_offset > wish.beyond_final_zero {
        return Err(Refusal::invalid("not a range"));
    }
    let file = open.file_with(AccessMask::WRITE_DATA)?;
    let length = wish.beyond_final_zero - wish.file_offset;
    if length == 0 {
        return Ok(());
    }
    let flight = io::clear(ctx, open, IoKind::ZeroData, Some(Touch { offset: wish.file_offset, length })).await?;
    blocking(|| {
        io::keeping_times(open, file, || {
            let end = file.metadata()?.size.min(wish.beyond_final_zero);
            if end > wish.file_offset {
                zero_range(file, Range { offset: wish.file_offset, length: end - wish.file_offset })?;
                io::settle(open, file)?;
            }
            Ok(())
        })
    })?;
    drop(flight);
    open.modified.store(true, std::sync::atomic::Ordering::Release);
    notify::changed(&ctx.server, open, CompletionFilter::LAST_WRITE);
    io::still_ours(ctx, open)
}

// MS-FSA 2.1.5.10.38
// Only a sparse file gives its room back.
fn zero_range(file: &Arc<dyn BackendFile>, range: Range) -> Result<(), Refusal> {
    if range.length > WRITTEN_BYTES_MAX || file.metadata()?.attributes.contains(FileAttributes::SPARSE_FILE) {
        return Ok(file.zero_range(range)?);
    }
    let zeros = vec![0; usize::try_from(range.length.min(CHUNK_BYTES)).expect("at most 1 MiB")];
    let mut done = 0;
    while done < range.length {
        let part = usize::try_from((range.length - done).min(CHUNK_BYTES)).expect("at most 1 MiB");
        file.write_at(range.offset + done, &zeros[..part], Stability::Cached)?;
        done += part as u64;
    }
    Ok(())
}
