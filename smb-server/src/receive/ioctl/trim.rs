//! FSCTL_FILE_LEVEL_TRIM (MS-FSA 2.1.5.10.6): the client no longer needs these bytes.

use std::sync::Arc;

use persistence_model::IoKind;
use smb_backend::Range;
use smb_proto::{
    fsctl::{TrimRequest, TrimResponse},
    message::ioctl::IoctlRequest,
};
use smb_types::{AccessMask, NtStatus};

use super::Output;
use crate::{
    blocking::blocking,
    error::Refusal,
    receive::{
        RequestContext,
        io::{self, Touch},
    },
    state::Open,
};

/// Frees the ranges; they read as zero afterwards.
pub(super) async fn trim(ctx: &mut RequestContext, open: &Arc<Open>, request: &IoctlRequest) -> Result<Output, Refusal> {
    let wish = TrimRequest::decode(&request.input)?;
    if wish.key != 0 || wish.ranges.is_empty() {
        return Err(Refusal::invalid("no ranges"));
    }
    if open.is_directory {
        return Err(Refusal::invalid("a directory has no data"));
    }
    let file = open.file_with(AccessMask::WRITE_DATA)?;
    let mut done = 0;
    for range in &wish.ranges {
        let Some(end) = range.offset.checked_add(range.length) else { return Err(Refusal::invalid("not a range")) };
        let _flight = io::clear(ctx, open, IoKind::ZeroData, Some(Touch { offset: range.offset, length: range.length })).await?;
        blocking(|| -> Result<(), Refusal> {
            let end = end.min(file.metadata()?.size);
            if end > range.offset {
                file.zero_range(Range { offset: range.offset, length: end - range.offset })?;
            }
            Ok(())
        })?;
        done += 1;
    }
    io::still_ours(ctx, open)?;
    let output = TrimResponse { ranges_processed: done }.to_bytes();
    if output.len() > usize::try_from(request.max_output_response).unwrap_or(usize::MAX) {
        return Ok((Vec::new(), NtStatus::SUCCESS));
    }
    Ok((output, NtStatus::SUCCESS))
}
