//! WRITE (MS-SMB2 3.3.5.13): from the received message straight to the file.

use std::sync::{Arc, atomic::Ordering};

use persistence_model::IoKind;
use smb_backend::Stability;
use smb_proto::message::{
    change_notify::CompletionFilter,
    write::{WriteFlags, WriteRequest, WriteResponse},
};
use smb_types::{AccessMask, Dialect, NtStatus};

use super::{
    RequestContext,
    io::{self, Touch},
};
use crate::{blocking::blocking, error::Refusal, notify, pipe, send::Response, state::Open};

/// This offset means "at the end", for opens that may only append.
// MS-FSA 2.1.5.4
const APPEND: u64 = u64::MAX;
/// Where the largest file ends.
// windows: 16 TiB less one cluster of the largest size.
const FILE_BYTES_MAX: u64 = 0xFFF_FFFF_0000;

/// Answers the request.
pub(crate) async fn handle(ctx: &mut RequestContext) -> Result<Response, Refusal> {
    let request = WriteRequest::decode(&ctx.message)?;
    let length = request.data.len() as u64;
    if length > u64::from(ctx.negotiated().write_bytes_max) {
        return Err(Refusal::invalid("longer than MaxWriteSize"));
    }
    ctx.check_charge(length, 0)?;
    let open = ctx.open(request.file_id)?;
    let wishes_stable = request.flags.intersects(known_flags(ctx.dialect()));
    if let Some(pipe) = open.pipe().map(Arc::clone) {
        if wishes_stable {
            return Err(Refusal::invalid("a pipe has no disk to write through to"));
        }
        open.require_any(AccessMask::WRITE_DATA | AccessMask::APPEND_DATA)?;
        pipe::write(ctx, &pipe, &request.data)?;
        return Ok(written(length));
    }
    if open.is_directory {
        return Err(Refusal::new(NtStatus::INVALID_DEVICE_REQUEST, "a directory is not written"));
    }
    if request.channel != 0 {
        return Err(Refusal::invalid("RDMA is not offered"));
    }
    let file = Arc::clone(open.file_with(AccessMask::WRITE_DATA | AccessMask::APPEND_DATA)?);
    let append = only_appends(&open)? && request.offset == APPEND;
    if !append {
        let limit = if length == 0 { i64::MAX.unsigned_abs() } else { FILE_BYTES_MAX };
        let end = request.offset.checked_add(length).filter(|end| *end <= limit);
        end.ok_or(Refusal::invalid("beyond the largest offset"))?;
    }
    let offset = if append { blocking(|| file.metadata())?.size } else { request.offset };
    let flight = io::clear(ctx, &open, IoKind::Write, Some(Touch { offset, length })).await?;
    if length == 0 {
        return Ok(written(0));
    }
    let stability = if wishes_stable { Stability::Stable } else { open.stability() };
    let at = blocking(|| {
        io::keeping_times(&open, &file, || {
            if append {
                return Ok(file.append(&request.data, stability)?);
            }
            file.write_at(offset, &request.data, stability)?;
            Ok(offset)
        })
    })?;
    drop(flight);
    io::still_ours(ctx, &open)?;
    open.position.store(at + length, Ordering::Relaxed);
    open.modified.store(true, Ordering::Release);
    notify::changed(&ctx.server, &open, CompletionFilter::SIZE | CompletionFilter::LAST_WRITE);
    Ok(written(length))
}

// MS-SMB2 3.3.5.13
// Each flag counts only in the dialects that know it.
fn known_flags(dialect: Dialect) -> WriteFlags {
    match dialect {
        Dialect::Smb202 => WriteFlags::NONE,
        Dialect::Smb210 | Dialect::Smb300 => WriteFlags::WRITE_THROUGH,
        Dialect::Smb302 | Dialect::Smb311 => WriteFlags::WRITE_THROUGH | WriteFlags::UNBUFFERED,
    }
}

// MS-FSA 2.1.5.4
// An open that may only append can name the end of the file instead of an offset.
fn only_appends(open: &Open) -> Result<bool, Refusal> {
    if open.granted_access.contains(AccessMask::WRITE_DATA) {
        return Ok(false);
    }
    open.require_any(AccessMask::APPEND_DATA)?;
    Ok(true)
}

fn written(count: u64) -> Response {
    let response = WriteResponse { count: u32::try_from(count).expect("at most MaxWriteSize") };
    Response::success(|out| response.encode(out))
}
