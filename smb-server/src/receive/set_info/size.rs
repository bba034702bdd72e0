//! End of file, allocation, valid data length (MS-FSA 2.1.5.15.1, 2.1.5.15.4, 2.1.5.15.14).

use std::sync::Arc;

use persistence_model::IoKind;
use smb_backend::BackendFile;
use smb_proto::{
    info::{FileAllocationInformation, FileEndOfFileInformation, FileValidDataLengthInformation},
    message::change_notify::CompletionFilter,
};
use smb_types::AccessMask;

use crate::{
    blocking::blocking,
    error::Refusal,
    notify,
    receive::{RequestContext, io},
    state::Open,
    store::Flight,
};

/// Sets the end of the file.
pub(super) async fn set_end_of_file(ctx: &mut RequestContext, open: &Arc<Open>, buffer: &[u8]) -> Result<(), Refusal> {
    let file = check(open)?;
    let end = FileEndOfFileInformation::decode(buffer)?.end_of_file;
    let flight = changeable(ctx, open, end).await?;
    blocking(|| {
        io::keeping_times(open, file, || {
            file.set_len(end)?;
            io::settle(open, file)
        })
    })?;
    drop(flight);
    finish(ctx, open)
}

/// Reserves room; less than the file's size cuts it.
pub(super) async fn set_allocation(ctx: &mut RequestContext, open: &Arc<Open>, buffer: &[u8]) -> Result<(), Refusal> {
    let file = check(open)?;
    let bytes = FileAllocationInformation::decode(buffer)?.allocation_size;
    let flight = changeable(ctx, open, bytes).await?;
    blocking(|| {
        io::keeping_times(open, file, || {
            file.allocate(bytes)?;
            io::settle(open, file)
        })
    })?;
    drop(flight);
    finish(ctx, open)
}

/// All bytes before the end of file read as they were written or as zero already, so there is nothing to do.
pub(super) fn set_valid_data_length(open: &Arc<Open>, buffer: &[u8]) -> Result<(), Refusal> {
    let file = check(open)?;
    let length = FileValidDataLengthInformation::decode(buffer)?.valid_data_length;
    if length > blocking(|| file.metadata())?.size {
        return Err(Refusal::invalid("beyond the end of the file"));
    }
    Ok(())
}

fn check(open: &Open) -> Result<&Arc<dyn BackendFile>, Refusal> {
    if open.is_directory {
        return Err(Refusal::invalid("a directory has no size"));
    }
    open.file_with(AccessMask::WRITE_DATA)
}

async fn changeable(ctx: &mut RequestContext, open: &Open, size: u64) -> Result<Flight, Refusal> {
    if i64::try_from(size).is_err() {
        return Err(Refusal::invalid("a negative size"));
    }
    io::clear(ctx, open, IoKind::SetSize, None).await
}

fn finish(ctx: &RequestContext, open: &Arc<Open>) -> Result<(), Refusal> {
    io::still_ours(ctx, open)?;
    notify::changed(&ctx.server, open, CompletionFilter::SIZE | CompletionFilter::LAST_WRITE);
    let path = open.path.read().clone();
    io::entry_changed(&ctx.server, open, &path);
    Ok(())
}
