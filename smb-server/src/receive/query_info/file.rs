//! QUERY_INFO of a file or directory (MS-SMB2 3.3.5.20.1, MS-FSCC 2.4).

use std::sync::{Arc, atomic::Ordering};

use smb_backend::{BackendFile, Metadata};
use smb_proto::{
    info::{
        FileAccessInformation, FileAlignmentInformation, FileAllInformation, FileAttributeTagInformation, FileBasicInformation, FileClass,
        FileCompressionInformation, FileEaInformation, FileIdInformation, FileInternalInformation, FileModeInformation,
        FileNameInformation, FileNetworkOpenInformation, FilePositionInformation, FileStandardInformation,
    },
    message::query_info::QueryInfoRequest,
};
use smb_types::{AccessMask, CreateOptions, Dialect, NtStatus};

use super::{Reply, ea, fit, name, stream, whole};
use crate::{
    blocking::blocking,
    error::Refusal,
    receive::{RequestContext, io},
    state::Open,
    store::StoreExt as _,
};

/// Least buffer for FileAllInformation: the structure with one character and its padding.
const ALL_BYTES_MIN: usize = 104;

/// Answers one class.
pub(super) fn query(ctx: &RequestContext, open: &Arc<Open>, class: FileClass, request: &QueryInfoRequest) -> Result<Reply, Refusal> {
    let file = file_for(open, class)?;
    let metadata = || io::metadata(open, file);
    match class {
        FileClass::Basic => whole(basic(&metadata()?).to_bytes(), request),
        FileClass::Standard => whole(standard(ctx, open, &metadata()?).to_bytes(), request),
        FileClass::Internal => whole(FileInternalInformation { index_number: metadata()?.key.inode }.to_bytes(), request),
        FileClass::Ea => whole(FileEaInformation { ea_size: ea_size(file)? }.to_bytes(), request),
        FileClass::Access => whole(access(open).to_bytes(), request),
        FileClass::Position => whole(position(open).to_bytes(), request),
        FileClass::Mode => whole(mode(open).to_bytes(), request),
        FileClass::Alignment => whole(FileAlignmentInformation::default().to_bytes(), request),
        FileClass::All => all(ctx, open, file, &metadata()?, request),
        FileClass::NetworkOpen => whole(network_open(&metadata()?).to_bytes(), request),
        FileClass::AttributeTag => {
            let reply = FileAttributeTagInformation { file_attributes: metadata()?.attributes, reparse_tag: 0 };
            whole(reply.to_bytes(), request)
        }
        FileClass::Compression => {
            let reply = FileCompressionInformation { compressed_file_size: metadata()?.size, ..FileCompressionInformation::default() };
            whole(reply.to_bytes(), request)
        }
        FileClass::Id => whole(id(open, &metadata()?)?.to_bytes(), request),
        FileClass::Stream => stream::query(ctx, open, file, &metadata()?, request),
        FileClass::FullEa => ea::query(file, request),
        FileClass::Name => name::full(ctx, open, request),
        FileClass::NormalizedName => {
            if ctx.dialect() < Dialect::Smb311 {
                return Err(Refusal::new(NtStatus::NOT_SUPPORTED, "before 3.1.1"));
            }
            name::normalized(ctx, open, request)
        }
        FileClass::AlternateName => name::short(ctx, open, request),
        FileClass::Rename
        | FileClass::Link
        | FileClass::Disposition
        | FileClass::Allocation
        | FileClass::EndOfFile
        | FileClass::Pipe
        | FileClass::PipeLocal
        | FileClass::PipeRemote
        | FileClass::ValidDataLength
        | FileClass::ShortName
        | FileClass::DispositionEx
        | FileClass::RenameEx => Err(Refusal::new(NtStatus::NOT_SUPPORTED, "not a class to query on a file")),
    }
}

// MS-SMB2 3.3.5.20.1
fn file_for(open: &Open, class: FileClass) -> Result<&Arc<dyn BackendFile>, Refusal> {
    match class {
        FileClass::Basic | FileClass::All | FileClass::NetworkOpen | FileClass::AttributeTag => open.file_with(AccessMask::READ_ATTRIBUTES),
        FileClass::FullEa => open.file_with(AccessMask::READ_EA),
        _ => open.file_for_any(),
    }
}

/// Times and attributes.
fn basic(metadata: &Metadata) -> FileBasicInformation {
    FileBasicInformation {
        creation_time: metadata.creation,
        last_access_time: metadata.last_access,
        last_write_time: metadata.last_write,
        change_time: metadata.change,
        file_attributes: metadata.attributes,
    }
}

fn standard(ctx: &RequestContext, open: &Open, metadata: &Metadata) -> FileStandardInformation {
    let delete_pending = ctx.server.store.with_state(|state| state.file(&open.file).is_some_and(|file| file.delete_pending));
    FileStandardInformation {
        allocation_size: metadata.allocation,
        end_of_file: metadata.size,
        // windows: a name that is about to go does not count.
        number_of_links: metadata.links.saturating_sub(u32::from(delete_pending)),
        delete_pending,
        directory: open.is_directory,
    }
}

fn access(open: &Open) -> FileAccessInformation {
    FileAccessInformation { access_flags: open.granted_access }
}

fn position(open: &Open) -> FilePositionInformation {
    FilePositionInformation { current_byte_offset: open.position.load(Ordering::Relaxed) }
}

fn mode(open: &Open) -> FileModeInformation {
    FileModeInformation { mode: CreateOptions(open.mode.load(Ordering::Relaxed)) }
}

fn ea_size(file: &Arc<dyn BackendFile>) -> Result<u32, Refusal> {
    Ok(ea::size_of(&blocking(|| file.eas())?))
}

fn network_open(metadata: &Metadata) -> FileNetworkOpenInformation {
    FileNetworkOpenInformation {
        creation_time: metadata.creation,
        last_access_time: metadata.last_access,
        last_write_time: metadata.last_write,
        change_time: metadata.change,
        allocation_size: metadata.allocation,
        end_of_file: metadata.size,
        file_attributes: metadata.attributes,
    }
}

fn id(open: &Open, metadata: &Metadata) -> Result<FileIdInformation, Refusal> {
    let names = open.tree.share.names().ok_or(Refusal::new(NtStatus::INVALID_DEVICE_REQUEST, "no file system"))?;
    let volume = blocking(|| names.volume())?;
    Ok(FileIdInformation { volume_serial_number: volume.id, file_id: file_id_128(metadata) })
}

/// The 128-bit id of a file: the 64-bit one, zero-extended, so that both name the same.
pub(crate) fn file_id_128(metadata: &Metadata) -> [u8; 16] {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&metadata.key.inode.to_le_bytes());
    id
}

fn all(
    ctx: &RequestContext,
    open: &Open,
    file: &Arc<dyn BackendFile>,
    metadata: &Metadata,
    request: &QueryInfoRequest,
) -> Result<Reply, Refusal> {
    let reply = FileAllInformation {
        basic: basic(metadata),
        standard: standard(ctx, open, metadata),
        internal: FileInternalInformation { index_number: metadata.key.inode },
        ea: FileEaInformation { ea_size: ea_size(file)? },
        access: access(open),
        position: position(open),
        mode: mode(open),
        alignment: FileAlignmentInformation::default(),
        name: FileNameInformation { file_name: name::rooted(ctx, open) },
    };
    let mut bytes = Vec::new();
    reply.encode(&mut bytes);
    fit(bytes, ALL_BYTES_MIN, request)
}
