//! FSCTL_SET_ZERO_DATA (MS-FSA 2.1.5.10.38): bytes become zero, the size stays.

use std::sync::Arc;

use persistence_model::IoKind;
use smb_backend::Range;
use smb_proto::{
    fsctl::SetZeroData,
    message::{change_notify::CompletionFilter, ioctl::IoctlRequest},
};
use smb_types::AccessMask;

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
    open.require_any(AccessMask::WRITE_DATA)?;
    let length = wish.beyond_final_zero - wish.file_offset;
    if length == 0 {
        return Ok(());
    }
    io::clear(ctx, open, IoKind::ZeroData, Some(Touch { offset: wish.file_offset, length })).await?;
    let file = open.backend_file()?;
    blocking(|| {
        io::keeping_times(open, file, || {
            let end = file.metadata()?.size.min(wish.beyond_final_zero);
            if end > wish.file_offset {
                file.zero_range(Range { offset: wish.file_offset, length: end - wish.file_offset })?;
                io::settle(open, file)?;
            }
            Ok(())
        })
    })?;
    notify::changed(&ctx.server, open, CompletionFilter::LAST_WRITE);
    io::still_ours(ctx, open)
}
