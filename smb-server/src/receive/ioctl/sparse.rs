//! FSCTL_SET_SPARSE (MS-FSA 2.1.5.10.36).

use std::sync::Arc;

use smb_proto::{
    fsctl::SetSparse,
    message::{change_notify::CompletionFilter, ioctl::IoctlRequest},
};
use smb_types::AccessMask;

use crate::{
    blocking::blocking,
    error::Refusal,
    notify,
    receive::{RequestContext, io},
    state::Open,
};

/// Marks the file, or takes the mark away.
pub(super) fn set(ctx: &RequestContext, open: &Arc<Open>, request: &IoctlRequest) -> Result<(), Refusal> {
    if open.is_directory {
        return Err(Refusal::invalid("a directory is not sparse"));
    }
    let file = open.file_with(AccessMask::WRITE_DATA | AccessMask::APPEND_DATA | AccessMask::WRITE_ATTRIBUTES)?;
    let wish = SetSparse::decode(&request.input);
    blocking(|| -> Result<(), Refusal> {
        file.set_sparse(wish.set)?;
        io::settle(open, file)
    })?;
    notify::changed(&ctx.server, open, CompletionFilter::ATTRIBUTES);
    io::still_ours(ctx, open)
}
