//! The system's error numbers as causes.

use rustix::io::Errno;

use crate::BackendError;

/// What the kernel said of an operation on `path`. ENOENT is about the last component here: who walks a path tells it apart.
pub(super) fn error(op: &'static str, path: &str, errno: Errno) -> BackendError {
    let p = || path.to_owned();
    match errno {
        Errno::NOENT | Errno::NODATA => BackendError::NotFound { path: p() },
        Errno::EXIST => BackendError::Exists { path: p() },
        Errno::NOTDIR => BackendError::NotADirectory { path: p() },
        Errno::ISDIR => BackendError::IsADirectory { path: p() },
        Errno::NOTEMPTY => BackendError::NotEmpty { path: p() },
        Errno::ACCESS | Errno::PERM => BackendError::AccessDenied { path: p() },
        Errno::NOSPC | Errno::DQUOT => BackendError::NoSpace { path: p() },
        Errno::NAMETOOLONG => BackendError::NameTooLong { path: p() },
        Errno::ROFS => BackendError::ReadOnly { path: p() },
        Errno::MFILE | Errno::NFILE => BackendError::TooManyOpen { path: p() },
        Errno::FBIG => BackendError::TooLarge { path: p(), what: "file" },
        Errno::TOOBIG | Errno::RANGE => BackendError::TooLarge { path: p(), what: "extended attribute" },
        Errno::OPNOTSUPP => BackendError::NotSupported { op, path: p() },
        _ => BackendError::Io { op, path: p(), source: errno.into() },
    }
}

/// What the kernel said while it walked `path` below the share root: there EXDEV and ELOOP mean that a link leaves it.
pub(super) fn walk_error(op: &'static str, path: &str, errno: Errno) -> BackendError {
    match errno {
        Errno::XDEV | Errno::LOOP => BackendError::Escapes { path: path.to_owned() },
        Errno::NOTDIR => BackendError::ParentNotFound { path: path.to_owned() },
        _ => error(op, path, errno),
    }
}

/// What the kernel said of an operation on two places: there EXDEV means two file systems.
pub(super) fn pair_error(op: &'static str, path: &str, errno: Errno) -> BackendError {
    match errno {
        Errno::XDEV => BackendError::CrossDevice { path: path.to_owned() },
        _ => error(op, path, errno),
    }
}
