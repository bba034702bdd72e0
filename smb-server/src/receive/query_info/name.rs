//! The classes that are a name (MS-FSCC 2.4.32, 2.4.36).

use smb_proto::{info::FileNameInformation, message::query_info::QueryInfoRequest};
use smb_types::NtStatus;

use super::{Reply, fit};
use crate::{
    error::Refusal,
    receive::{RequestContext, create::target::record_path, io},
    state::Open,
};

/// Least buffer: the structure with one character and its padding.
const BYTES_MIN: usize = 8;

/// The path from the share's root, with its backslash.
pub(super) fn rooted(ctx: &RequestContext, open: &Open) -> String {
    format!("\\{}", relative(ctx, open))
}

fn relative(ctx: &RequestContext, open: &Open) -> String {
    record_path(&io::current_path(&ctx.server, open), io::current_stream(&ctx.server, open).as_deref())
}

/// FileNameInformation.
pub(super) fn full(ctx: &RequestContext, open: &Open, request: &QueryInfoRequest) -> Result<Reply, Refusal> {
    reply(rooted(ctx, open), request)
}

/// FileNormalizedNameInformation: relative to the share, without a leading backslash.
pub(super) fn normalized(ctx: &RequestContext, open: &Open, request: &QueryInfoRequest) -> Result<Reply, Refusal> {
    reply(relative(ctx, open), request)
}

fn reply(file_name: String, request: &QueryInfoRequest) -> Result<Reply, Refusal> {
    let mut bytes = Vec::new();
    FileNameInformation { file_name }.encode(&mut bytes);
    fit(bytes, BYTES_MIN, request)
}

/// FileAlternateNameInformation: the 8.3 name, without its path.
// MS-FSCC 2.4.5
pub(super) fn short(ctx: &RequestContext, open: &Open, request: &QueryInfoRequest) -> Result<Reply, Refusal> {
    let path = io::current_path(&ctx.server, open);
    let name = path.file_name().ok_or_else(|| Refusal::new(NtStatus::OBJECT_NAME_NOT_FOUND, "the root has no name"))?;
    reply(smb_backend::name::short_name(name), request)
}
