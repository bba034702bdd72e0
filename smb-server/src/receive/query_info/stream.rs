//! FileStreamInformation (MS-FSCC 2.4.49).

use std::sync::Arc;

use smb_backend::{BackendFile, Metadata};
use smb_proto::{
    info::{EntryWriter, FileStreamInformation, Pushed},
    message::query_info::QueryInfoRequest,
};
use smb_types::NtStatus;

use super::Reply;
use crate::{
    blocking::blocking,
    error::Refusal,
    receive::{RequestContext, io},
    state::Open,
};

/// Least buffer: one entry with one character and its padding.
const BYTES_MIN: u32 = 32;

/// Lists the streams of the file; the unnamed one first. A directory has no unnamed one.
pub(super) fn query(
    ctx: &RequestContext,
    open: &Open,
    file: &Arc<dyn BackendFile>,
    metadata: &Metadata,
    request: &QueryInfoRequest,
) -> Result<Reply, Refusal> {
    if request.output_buffer_length < BYTES_MIN {
        return Err(Refusal::new(NtStatus::INFO_LENGTH_MISMATCH, "the buffer is too small"));
    }
    let mut all = Vec::new();
    let mut owner = metadata.clone();
    if open.stream.is_some() {
        let asker = ctx.asker()?;
        let at = asker.reach(&io::current_path(&ctx.server, open))?;
        owner = blocking(|| asker.names().lookup(&at))?.metadata;
    }
    if !owner.is_directory() {
        all.push(FileStreamInformation {
            stream_size: owner.size,
            stream_allocation_size: owner.allocation,
            stream_name: "::$DATA".to_owned(),
        });
    }
    let named = blocking(|| file.streams())?;
    all.extend(named.into_iter().map(|stream| FileStreamInformation {
        stream_size: stream.size,
        stream_allocation_size: stream.allocation,
        stream_name: format!(":{}:$DATA", stream.name),
    }));
    let mut list = EntryWriter::new(request.output_buffer_length, 8);
    let mut status = NtStatus::SUCCESS;
    for stream in &all {
        match stream.write(&mut list) {
            Pushed::Fits => {}
            Pushed::TooSmall => return Err(Refusal::new(NtStatus::INFO_LENGTH_MISMATCH, "the buffer is too small")),
            Pushed::Full | Pushed::Cut => {
                status = NtStatus::BUFFER_OVERFLOW;
                break;
            }
        }
    }
    Ok((list.finish(), status))
}
