//! FileStreamInformation (MS-FSCC 2.4.49).

use smb_backend::Metadata;
use smb_proto::{
    info::{EntryWriter, FileStreamInformation, Pushed},
    message::query_info::QueryInfoRequest,
};
use smb_types::NtStatus;

use super::Reply;
use crate::{blocking::blocking, error::Refusal, state::Open};

/// Least buffer: one entry with one character and its padding.
const BYTES_MIN: u32 = 32;

/// Lists the streams of the file; the unnamed one first. A directory has no unnamed one.
pub(super) fn query(open: &Open, metadata: &Metadata, request: &QueryInfoRequest) -> Result<Reply, Refusal> {
    let backend = open.tree.share.backend().ok_or(Refusal::new(NtStatus::INVALID_DEVICE_REQUEST, "no file system"))?;
    if request.output_buffer_length < BYTES_MIN {
        return Err(Refusal::new(NtStatus::INFO_LENGTH_MISMATCH, "the buffer is too small"));
    }
    let mut all = Vec::new();
    let mut owner = metadata.clone();
    if open.stream.is_some() {
        let path = open.path.read().clone();
        owner = blocking(|| backend.lookup(&path))?.metadata;
    }
    if !owner.is_directory() {
        all.push(FileStreamInformation {
            stream_size: owner.size,
            stream_allocation_size: owner.allocation,
            stream_name: "::$DATA".to_owned(),
        });
    }
    let file = open.backend_file()?;
    let path = open.path.read().clone();
    let named = blocking(|| if open.stream.is_some() { backend.streams(&path) } else { file.streams() })?;
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
