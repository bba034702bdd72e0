//! FSCTL_SRV_COPYCHUNK and _WRITE (MS-SMB2 3.3.5.15.6): copies between two opens without the client in between.

use std::sync::Arc;

use persistence_model::IoKind;
use smb_backend::{BackendFile, Stability};
use smb_proto::{
    fsctl::{CopychunkChunk, CopychunkRequest, CopychunkResponse, code},
    message::{
        change_notify::CompletionFilter,
        ioctl::{IoctlRequest, IoctlResponse},
    },
};
use smb_types::{AccessMask, NtStatus};

use super::{Output, resume_key};
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

/// Most chunks of a request.
pub(super) const CHUNKS_MAX: u32 = 256;
/// Most bytes of a chunk.
pub(super) const CHUNK_BYTES_MAX: u32 = 1 << 20;
/// Most bytes of a request.
pub(super) const TOTAL_BYTES_MAX: u32 = 16 << 20;
/// Length of the output.
const OUTPUT_BYTES: u32 = 12;
/// STATUS_INVALID_VIEW_SIZE: the source ends before the chunk does.
const INVALID_VIEW_SIZE: NtStatus = NtStatus(0xC000_001F);

/// Copies the chunks in order.
pub(super) async fn copy(ctx: &mut RequestContext, open: &Arc<Open>, request: &IoctlRequest) -> Result<Output, Refusal> {
    if request.max_output_response < OUTPUT_BYTES {
        return Err(Refusal::invalid("no room for the output"));
    }
    let wish = CopychunkRequest::decode(&request.input)?;
    let source = resume_key::find(ctx, &wish.source_key)?;
    check_limits(open, request, &wish.chunks)?;
    check_access(open, &source, request.ctl_code)?;
    let mut total = 0;
    let mut count = 0;
    for chunk in &wish.chunks {
        if let Err(refusal) = one(ctx, open, &source, chunk).await {
            return Err(with_counts(open, request, refusal, count, total));
        }
        total += chunk.length;
        count += 1;
    }
    if total > 0 {
        let file = open.file_with(AccessMask::WRITE_DATA)?;
        blocking(|| io::settle(open, file))?;
        open.modified.store(true, std::sync::atomic::Ordering::Release);
        notify::changed(&ctx.server, open, CompletionFilter::SIZE | CompletionFilter::LAST_WRITE);
    }
    io::still_ours(ctx, open)?;
    let output = CopychunkResponse { chunks_written: count, chunk_bytes_written: 0, total_bytes_written: total };
    Ok((output.to_bytes(), NtStatus::SUCCESS))
}

// MS-SMB2 3.3.5.15.6
// Who fails in the middle tells how far it came.
fn with_counts(open: &Open, request: &IoctlRequest, refusal: Refusal, chunks_written: u32, total_bytes_written: u32) -> Refusal {
    if refusal.body.is_some() || !refusal.data.is_empty() {
        return refusal;
    }
    let counts = CopychunkResponse { chunks_written, chunk_bytes_written: 0, total_bytes_written };
    let mut body = Vec::new();
    IoctlResponse { file_id: open.file_id, ..IoctlResponse::to(request, counts.to_bytes()) }.encode(&mut body);
    Refusal::with_body(refusal.status, refusal.because, body)
}

// MS-SMB2 3.3.5.15.6
// Beyond a limit the client is told the three limits, with the error.
fn check_limits(open: &Open, request: &IoctlRequest, chunks: &[CopychunkChunk]) -> Result<(), Refusal> {
    let total: u64 = chunks.iter().map(|chunk| u64::from(chunk.length)).sum();
    let good = chunks.len() <= CHUNKS_MAX as usize
        && total <= u64::from(TOTAL_BYTES_MAX)
        && chunks.iter().all(|chunk| (1..=CHUNK_BYTES_MAX).contains(&chunk.length));
    if good {
        return Ok(());
    }
    let limits =
        CopychunkResponse { chunks_written: CHUNKS_MAX, chunk_bytes_written: CHUNK_BYTES_MAX, total_bytes_written: TOTAL_BYTES_MAX };
    let mut body = Vec::new();
    IoctlResponse { file_id: open.file_id, ..IoctlResponse::to(request, limits.to_bytes()) }.encode(&mut body);
    Err(Refusal::with_body(NtStatus::INVALID_PARAMETER, "beyond the limits of a copy", body))
}

// MS-SMB2 3.3.5.15.6
// The first of the two codes wants to read the target, too.
fn check_access(open: &Open, source: &Open, ctl_code: u32) -> Result<(), Refusal> {
    if open.is_directory || source.is_directory || source.pipe().is_some() {
        return Err(Refusal::new(NtStatus::INVALID_DEVICE_REQUEST, "only files are copied"));
    }
    // windows: the right to execute is enough to copy from a file, not to copy to it.
    source.require_any(AccessMask::READ_DATA | AccessMask::EXECUTE)?;
    open.require_any(AccessMask::WRITE_DATA)?;
    if ctl_code == code::SRV_COPYCHUNK {
        open.require_any(AccessMask::READ_DATA)?;
    }
    Ok(())
}

async fn one(ctx: &mut RequestContext, open: &Arc<Open>, source: &Arc<Open>, chunk: &CopychunkChunk) -> Result<(), Refusal> {
    let length = u64::from(chunk.length);
    let valid = |offset: u64| offset.checked_add(length).is_some_and(|end| i64::try_from(end).is_ok());
    if !valid(chunk.source_offset) || !valid(chunk.target_offset) {
        return Err(Refusal::invalid("beyond the largest offset"));
    }
    // Both ends answer for their locks, and the target for the caches of others. The target first: that may take proposals.
    let _to = io::clear(ctx, open, IoKind::Write, Some(Touch { offset: chunk.target_offset, length })).await?;
    let _from = io::clear_source(ctx, source, Touch { offset: chunk.source_offset, length })?;
    let from = source.file_with(AccessMask::READ_DATA | AccessMask::EXECUTE)?;
    let to = open.file_with(AccessMask::WRITE_DATA)?;
    blocking(|| {
        io::keeping_times(open, to, || {
            if from.metadata()?.size < chunk.source_offset + length {
                return Err(Refusal::new(INVALID_VIEW_SIZE, "the source is shorter"));
            }
            if from.key() == to.key() {
                return within_a_file(to, chunk);
            }
            match to.copy_from(chunk.target_offset, from.as_ref(), chunk.source_offset, length)? {
                copied if copied == length => Ok(()),
                _ => Err(Refusal::new(INVALID_VIEW_SIZE, "the source became shorter")),
            }
        })
    })
}

/// The two places may overlap, so all is read before anything is written.
fn within_a_file(file: &Arc<dyn BackendFile>, chunk: &CopychunkChunk) -> Result<(), Refusal> {
    let mut data = vec![0; usize::try_from(chunk.length).expect("at most CHUNK_BYTES_MAX")];
    let read = file.read_at(chunk.source_offset, &mut data)?;
    if read < data.len() {
        return Err(Refusal::new(INVALID_VIEW_SIZE, "the source became shorter"));
    }
    file.write_at(chunk.target_offset, &data, Stability::Cached)?;
    Ok(())
}
