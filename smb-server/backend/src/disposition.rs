//! What to do with a name that exists or does not: the part of opening that all backends share.

use smb_types::CreateDisposition;

use crate::{BackendError, CreateAction, FileKind, MustBe, OpenHow, Result};

/// What `open` does next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Decision {
    Open,
    Overwrite(CreateAction),
}

/// The name exists.
pub(crate) fn when_found(kind: FileKind, is_root: bool, how: &OpenHow, path: &str) -> Result<Decision> {
    let path = || path.to_owned();
    if how.disposition == CreateDisposition::Create {
        return Err(BackendError::Exists { path: path() });
    }
    match (how.must_be, kind) {
        (MustBe::File, FileKind::Directory) => return Err(BackendError::IsADirectory { path: path() }),
        (MustBe::Directory, FileKind::File) => return Err(BackendError::NotADirectory { path: path() }),
        _ => {}
    }
    let action = match how.disposition {
        CreateDisposition::Open | CreateDisposition::OpenIf | CreateDisposition::Create => return Ok(Decision::Open),
        CreateDisposition::Supersede => CreateAction::Superseded,
        CreateDisposition::Overwrite | CreateDisposition::OverwriteIf => CreateAction::Overwritten,
    };
    match kind {
        FileKind::File => Ok(Decision::Overwrite(action)),
        FileKind::Directory if is_root => Err(BackendError::AccessDenied { path: path() }),
        FileKind::Directory => Err(BackendError::Exists { path: path() }),
    }
}

/// The name does not exist: the kind to create.
pub(crate) fn when_missing(how: &OpenHow, path: &str) -> Result<FileKind> {
    if matches!(how.disposition, CreateDisposition::Open | CreateDisposition::Overwrite) {
        return Err(BackendError::NotFound { path: path.to_owned() });
    }
    Ok(match how.must_be {
        MustBe::Either => how.create.kind,
        MustBe::File => FileKind::File,
        MustBe::Directory => FileKind::Directory,
    })
}
