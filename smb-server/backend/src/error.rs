//! What can go wrong, one variant per cause.

use std::io;

use smb_types::status::NtStatus;

use crate::PathError;

/// The result of every backend call.
pub type Result<T, E = BackendError> = std::result::Result<T, E>;

/// Why the file system refused. `path` is share-relative, or empty when the call was about an open file.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// The last component does not exist (or the stream does not).
    #[error("{path}: does not exist")]
    NotFound {
        /// Of what.
        path: String,
    },
    /// A directory on the way does not exist.
    #[error("{path}: a directory on the way does not exist")]
    ParentNotFound {
        /// Of what.
        path: String,
    },
    /// The name is taken.
    #[error("{path}: exists")]
    Exists {
        /// Of what.
        path: String,
    },
    /// A directory was wanted; a file was found, at the end or on the way.
    #[error("{path}: is not a directory")]
    NotADirectory {
        /// Of what.
        path: String,
    },
    /// A file was wanted; a directory was found.
    #[error("{path}: is a directory")]
    IsADirectory {
        /// Of what.
        path: String,
    },
    /// A directory with entries cannot go.
    #[error("{path}: directory is not empty")]
    NotEmpty {
        /// Of what.
        path: String,
    },
    /// The file system denies it to this process, or the file was not opened for it.
    #[error("{path}: access denied")]
    AccessDenied {
        /// Of what.
        path: String,
    },
    /// No space, no quota or no room for an extended attribute.
    #[error("{path}: no space left")]
    NoSpace {
        /// Of what.
        path: String,
    },
    /// A name is longer than the file system takes.
    #[error("{path}: name too long")]
    NameTooLong {
        /// Of what.
        path: String,
    },
    /// A name cannot be stored: illegal characters, or reserved for the server.
    #[error("{path}: name is not allowed")]
    NameInvalid {
        /// Of what.
        path: String,
    },
    /// The file system is read-only.
    #[error("{path}: file system is read-only")]
    ReadOnly {
        /// Of what.
        path: String,
    },
    /// This process or system has no descriptor left.
    #[error("{path}: too many open files")]
    TooManyOpen {
        /// Of what.
        path: String,
    },
    /// Two places on different file systems.
    #[error("{path}: on another file system")]
    CrossDevice {
        /// Of what.
        path: String,
    },
    /// A symbolic link leads out of the share, or in circles.
    #[error("{path}: a symbolic link leaves the share")]
    Escapes {
        /// Of what.
        path: String,
    },
    /// The name now belongs to another file than the caller means.
    #[error("{path}: is another file now")]
    KeyMismatch {
        /// Of what.
        path: String,
    },
    /// Beyond a limit: file size, stream size, extended attribute, directory entries.
    #[error("{path}: {what} is too large")]
    TooLarge {
        /// Of what.
        path: String,
        /// Which limit.
        what: &'static str,
    },
    /// The file system, or this kind of file, cannot do it.
    #[error("{path}: {op} is not supported")]
    NotSupported {
        /// The operation.
        op: &'static str,
        /// Of what.
        path: String,
    },
    /// Everything else, such as a failing disk.
    #[error("{path}: {op} failed")]
    Io {
        /// The operation.
        op: &'static str,
        /// Of what.
        path: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl BackendError {
    /// The status a client gets when its request names no better one.
    #[must_use]
    pub fn status(&self) -> NtStatus {
        match self {
            Self::NotFound { .. } => NtStatus::OBJECT_NAME_NOT_FOUND,
            Self::ParentNotFound { .. } => NtStatus::OBJECT_PATH_NOT_FOUND,
            Self::Exists { .. } => NtStatus::OBJECT_NAME_COLLISION,
            Self::NotADirectory { .. } => NtStatus::NOT_A_DIRECTORY,
            Self::IsADirectory { .. } => NtStatus::FILE_IS_A_DIRECTORY,
            Self::NotEmpty { .. } => NtStatus::DIRECTORY_NOT_EMPTY,
            Self::AccessDenied { .. } | Self::Escapes { .. } => NtStatus::ACCESS_DENIED,
            Self::NoSpace { .. } => NtStatus::DISK_FULL,
            Self::NameTooLong { .. } | Self::NameInvalid { .. } => NtStatus::OBJECT_NAME_INVALID,
            Self::ReadOnly { .. } => NtStatus::MEDIA_WRITE_PROTECTED,
            Self::TooManyOpen { .. } => NtStatus::TOO_MANY_OPENED_FILES,
            Self::CrossDevice { .. } => NtStatus::NOT_SAME_DEVICE,
            Self::KeyMismatch { .. } => NtStatus::OBJECT_NAME_NOT_FOUND,
            Self::TooLarge { .. } => NtStatus::DISK_FULL,
            Self::NotSupported { .. } => NtStatus::NOT_SUPPORTED,
            Self::Io { .. } => NtStatus::IO_DEVICE_ERROR,
        }
    }

    /// The path it is about.
    #[must_use]
    pub fn path(&self) -> &str {
        match self {
            Self::NotFound { path }
            | Self::ParentNotFound { path }
            | Self::Exists { path }
            | Self::NotADirectory { path }
            | Self::IsADirectory { path }
            | Self::NotEmpty { path }
            | Self::AccessDenied { path }
            | Self::NoSpace { path }
            | Self::NameTooLong { path }
            | Self::NameInvalid { path }
            | Self::ReadOnly { path }
            | Self::TooManyOpen { path }
            | Self::CrossDevice { path }
            | Self::Escapes { path }
            | Self::KeyMismatch { path }
            | Self::TooLarge { path, .. }
            | Self::NotSupported { path, .. }
            | Self::Io { path, .. } => path,
        }
    }

    /// Makes an error of a path that could not be built.
    #[must_use]
    pub fn from_path(e: PathError, path: &str) -> Self {
        let path = path.to_owned();
        match e {
            PathError::Leading | PathError::Syntax | PathError::Illegal => Self::NameInvalid { path },
            PathError::TooLong => Self::NameTooLong { path },
        }
    }
}
