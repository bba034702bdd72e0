//! What a disposition means for a name that exists or does not (MS-FSA 2.1.5.1). Pure.

use smb_backend::{FileKind, Want};
use smb_types::{AccessMask, CreateDisposition, CreateOptions, FileAttributes, NtStatus};

use super::{target::Found, wishes::Wishes};
use crate::error::Refusal;

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plan {
    /// Open what is there.
    Open,
    /// Throw its data away first.
    Overwrite,
    /// Make it.
    Create(FileKind),
}

/// Decides. `is_replay`: the records know this CREATE already, so what exists may be its own work and is no collision.
///
/// # Errors
/// The status of what cannot be.
pub(super) fn decide(wishes: &Wishes, found: Option<&Found>, is_replay: bool) -> Result<Plan, Refusal> {
    match found {
        Some(found) => when_found(wishes, found, is_replay),
        None => when_missing(wishes),
    }
}

fn when_found(wishes: &Wishes, found: &Found, is_replay: bool) -> Result<Plan, Refusal> {
    let attributes = found.metadata.attributes;
    let is_directory = found.metadata.is_directory();
    if is_replay {
        return Ok(Plan::Open);
    }
    if wishes.disposition == CreateDisposition::Create {
        return Err(Refusal::new(NtStatus::OBJECT_NAME_COLLISION, "the name exists"));
    }
    let wants_directory =
        wishes.options.contains(CreateOptions::DIRECTORY_FILE) || wishes.target.directory_type || wishes.target.trailing_separator;
    if wants_directory && !is_directory {
        return Err(Refusal::new(NtStatus::NOT_A_DIRECTORY, "the name is a file's"));
    }
    if is_directory && (wishes.options.contains(CreateOptions::NON_DIRECTORY_FILE) || wishes.target.data_type) {
        return Err(Refusal::new(NtStatus::FILE_IS_A_DIRECTORY, "the name is a directory's"));
    }
    let read_only = attributes.contains(FileAttributes::READONLY) && !is_directory;
    if wishes.options.contains(CreateOptions::DELETE_ON_CLOSE) && (read_only || found.path.is_root()) {
        return Err(Refusal::new(NtStatus::CANNOT_DELETE, "read-only, or the root of the share"));
    }
    if !wishes.overwrites() {
        // MS-FSA 2.1.5.1.2
        if read_only && wishes.access.intersects(AccessMask::WRITE_DATA | AccessMask::APPEND_DATA) {
            return Err(Refusal::new(NtStatus::ACCESS_DENIED, "the file is read-only"));
        }
        return Ok(Plan::Open);
    }
    if is_directory {
        let status = if found.path.is_root() { NtStatus::ACCESS_DENIED } else { NtStatus::OBJECT_NAME_COLLISION };
        return Err(Refusal::new(status, "directories cannot be overwritten"));
    }
    // MS-FSA 2.1.5.1.2.1
    // Who overwrites a hidden or system file must know what it is.
    let special = attributes & (FileAttributes::HIDDEN | FileAttributes::SYSTEM);
    if read_only || !wishes.attributes.contains(special) {
        return Err(Refusal::new(NtStatus::ACCESS_DENIED, "read-only, or hidden or system attributes differ"));
    }
    Ok(Plan::Overwrite)
}

fn when_missing(wishes: &Wishes) -> Result<Plan, Refusal> {
    if matches!(wishes.disposition, CreateDisposition::Open | CreateDisposition::Overwrite) {
        return Err(Refusal::new(NtStatus::OBJECT_NAME_NOT_FOUND, "no such file"));
    }
    let is_directory =
        wishes.options.contains(CreateOptions::DIRECTORY_FILE) || (wishes.target.directory_type && wishes.target.stream.is_none());
    if wishes.options.contains(CreateOptions::DELETE_ON_CLOSE) && wishes.attributes.contains(FileAttributes::READONLY) && !is_directory {
        return Err(Refusal::new(NtStatus::CANNOT_DELETE, "a read-only file cannot be deleted on close"));
    }
    if wishes.target.trailing_separator && !is_directory {
        return Err(Refusal::new(NtStatus::OBJECT_NAME_INVALID, "a file's name does not end with a separator"));
    }
    Ok(Plan::Create(if is_directory { FileKind::Directory } else { FileKind::File }))
}

/// What the descriptor of an open with these rights must be good for.
pub(super) fn want(access: AccessMask, is_directory: bool, overwrites: bool) -> Want {
    if is_directory {
        return Want { read: access.intersects(AccessMask::READ_DATA), write: false };
    }
    Want {
        read: access.intersects(AccessMask::READ_DATA | AccessMask::EXECUTE),
        write: overwrites || access.intersects(AccessMask::WRITE_DATA | AccessMask::APPEND_DATA),
    }
}
