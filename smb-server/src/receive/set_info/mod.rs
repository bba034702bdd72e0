//! SET_INFO (MS-SMB2 3.3.5.21): dispatches to files and security.

mod basic;
pub(crate) mod disposition;
mod ea;
mod link;
mod place;
mod rename;
mod security;
mod size;
mod stream_rename;

use std::sync::{Arc, atomic::Ordering};

use smb_proto::{
    info::{FileClass, FileModeInformation, FilePipeInformation, FilePositionInformation},
    message::{
        query_info::InfoType,
        set_info::{SetInfoRequest, SetInfoResponse},
    },
};
use smb_types::{CreateOptions, NtStatus};

use super::RequestContext;
use crate::{
    error::Refusal,
    send::Response,
    state::{Open, open::MODE_OPTIONS},
};

/// Answers the request.
pub(crate) async fn handle(ctx: &mut RequestContext) -> Result<Response, Refusal> {
    let request = SetInfoRequest::decode(&ctx.message)?;
    if request.buffer.len() as u64 > u64::from(ctx.negotiated().transact_bytes_max) {
        return Err(Refusal::invalid("longer than MaxTransactSize"));
    }
    ctx.check_charge(request.buffer.len() as u64, 0)?;
    let open = ctx.open(request.file_id)?;
    match request.info_type {
        InfoType::File => {
            let Some(class) = FileClass::from_wire(request.information_class) else {
                return Err(Refusal::new(NtStatus::INVALID_INFO_CLASS, "no such file class"));
            };
            if open.pipe().is_some() {
                set_pipe(class, &request.buffer)?;
            } else {
                set_file(ctx, &open, class, &request.buffer).await?;
            }
        }
        InfoType::Security => security::set(ctx, &open, &request).await?,
        InfoType::FileSystem => return Err(Refusal::new(NtStatus::NOT_SUPPORTED, "a volume is not changed by clients")),
        InfoType::Quota => return Err(Refusal::new(NtStatus::NOT_SUPPORTED, "there are no quotas")),
    }
    Ok(Response::success(|out| SetInfoResponse.encode(out)))
}

async fn set_file(ctx: &mut RequestContext, open: &Arc<Open>, class: FileClass, buffer: &[u8]) -> Result<(), Refusal> {
    match class {
        FileClass::Basic => basic::set(ctx, open, buffer).await,
        FileClass::Rename | FileClass::RenameEx => rename::set(ctx, open, class, buffer).await,
        FileClass::Link => link::set(ctx, open, buffer).await,
        FileClass::Disposition | FileClass::DispositionEx => disposition::set(ctx, open, class, buffer).await,
        FileClass::EndOfFile => size::set_end_of_file(ctx, open, buffer).await,
        FileClass::Allocation => size::set_allocation(ctx, open, buffer).await,
        FileClass::ValidDataLength => size::set_valid_data_length(open, buffer),
        FileClass::FullEa => ea::set(ctx, open, buffer),
        FileClass::Position => {
            let wish = FilePositionInformation::decode(buffer)?;
            if i64::try_from(wish.current_byte_offset).is_err() {
                return Err(Refusal::invalid("a negative position"));
            }
            open.position.store(wish.current_byte_offset, Ordering::Relaxed);
            Ok(())
        }
        FileClass::Mode => set_mode(open, buffer),
        FileClass::ShortName => Err(Refusal::new(NtStatus::NOT_SUPPORTED, "there are no short names")),
        FileClass::Standard
        | FileClass::Internal
        | FileClass::Ea
        | FileClass::Access
        | FileClass::Name
        | FileClass::Alignment
        | FileClass::All
        | FileClass::AlternateName
        | FileClass::Stream
        | FileClass::Pipe
        | FileClass::PipeLocal
        | FileClass::PipeRemote
        | FileClass::Compression
        | FileClass::NetworkOpen
        | FileClass::AttributeTag
        | FileClass::NormalizedName
        | FileClass::Id => Err(Refusal::new(NtStatus::INVALID_INFO_CLASS, "not a class to set on a file")),
    }
}

// MS-FSA 2.1.5.15.9
// Whether an open waits for its disk cannot be changed afterwards, and only one kind of waiting can be meant.
fn set_mode(open: &Open, buffer: &[u8]) -> Result<(), Refusal> {
    let mode = FileModeInformation::decode(buffer)?.mode;
    let waits = CreateOptions::SYNCHRONOUS_IO_ALERT | CreateOptions::SYNCHRONOUS_IO_NONALERT;
    let settable = MODE_OPTIONS.without(CreateOptions::DELETE_ON_CLOSE);
    if !mode.without(settable).is_empty() || mode.contains(waits) {
        return Err(Refusal::invalid("not a mode"));
    }
    open.mode.store(mode.0, Ordering::Relaxed);
    Ok(())
}

// MS-FSCC 2.4.37
// Pipes are always read message by message here; clients that set that are right.
fn set_pipe(class: FileClass, buffer: &[u8]) -> Result<(), Refusal> {
    match class {
        FileClass::Pipe => {
            let wish = FilePipeInformation::decode(buffer)?;
            if wish.read_mode > 1 || wish.completion_mode > 1 {
                return Err(Refusal::invalid("no such pipe mode"));
            }
            Ok(())
        }
        FileClass::PipeRemote => Ok(()),
        _ => Err(Refusal::new(NtStatus::NOT_SUPPORTED, "not a class to set on a pipe")),
    }
}
