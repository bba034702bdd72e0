//! How a command of the program ends when it fails: one sentence that says what was wrong and what to do, and an exit code (sysexits.h).

use std::fmt;

use persistence::{OpenError, StartError};

/// Wrong arguments.
pub const USAGE: u8 = 64;
/// Input that makes no sense (a token, a name).
pub const DATA: u8 = 65;
/// A file or directory that should be there is not.
pub const NO_INPUT: u8 = 66;
/// A service cannot be reached or does not answer.
pub const UNAVAILABLE: u8 = 69;
/// A file or directory cannot be made.
pub const CANNOT_CREATE: u8 = 73;
/// Input or output failed.
pub const IO: u8 = 74;
/// Not allowed.
pub const NO_PERMISSION: u8 = 77;
/// The configuration makes no sense, or collides with the machine.
pub const CONFIG: u8 = 78;

/// A failed command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The process's exit code.
    pub code: u8,
    /// For the person at the terminal.
    pub message: String,
}

impl Failure {
    /// Makes one.
    pub fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// A failure with a path in it; the code follows from the error.
    #[must_use]
    pub fn file(what: &str, path: &std::path::Path, error: &std::io::Error) -> Self {
        use std::io::ErrorKind;
        let (code, hint) = match error.kind() {
            ErrorKind::NotFound => (NO_INPUT, "; create it or name another one"),
            ErrorKind::PermissionDenied => (NO_PERMISSION, "; give this user the right or run as another one"),
            ErrorKind::StorageFull => (IO, "; free some space on that disk"),
            _ => (IO, ""),
        };
        Self::new(code, format!("cannot {what} {}: {error}{hint}", path.display()))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        let code = match &error {
            OpenError::Start(StartError::AddressInUse { .. }) => UNAVAILABLE,
            OpenError::Config(_) => CONFIG,
            _ => IO,
        };
        Self::new(code, error.to_string())
    }
}
