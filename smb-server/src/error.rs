//! Whose fault it is: a refusal goes to the client as an NTSTATUS, a disconnect ends the connection.
//!
//! Knows nothing of the messages that carry them.

use bytes::Bytes;
use smb_types::NtStatus;

/// A request is answered with an error response (MS-SMB2 2.2.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The status the client gets.
    pub status: NtStatus,
    /// Why, for the log: short, with the section if a rule of the specification says so.
    pub because: &'static str,
    /// Error data (a needed size, a symbolic link, …); empty for most.
    pub data: Bytes,
    /// ErrorId of the error context that wraps `data` in 3.1.1 (0 is the default one).
    pub error_id: u32,
    /// The body of the command's normal response, for the few errors that carry one (copychunk limits, buffer overflow).
    pub body: Option<Vec<u8>>,
}

impl Refusal {
    /// Makes a refusal without data.
    #[must_use]
    pub const fn new(status: NtStatus, because: &'static str) -> Self {
        Self { status, because, data: Bytes::new(), error_id: 0, body: None }
    }

    /// Makes a refusal with error data.
    #[must_use]
    pub fn with_data(status: NtStatus, because: &'static str, data: impl Into<Bytes>) -> Self {
        Self { data: data.into(), ..Self::new(status, because) }
    }

    /// Makes a refusal whose reply has the command's normal body (encoded, without header).
    #[must_use]
    pub fn with_body(status: NtStatus, because: &'static str, body: Vec<u8>) -> Self {
        Self { body: Some(body), ..Self::new(status, because) }
    }

    /// The request's bytes make no sense.
    #[must_use]
    pub const fn invalid(because: &'static str) -> Self {
        Self::new(NtStatus::INVALID_PARAMETER, because)
    }
}

impl From<NtStatus> for Refusal {
    fn from(status: NtStatus) -> Self {
        Self::new(status, "")
    }
}

/// The connection must go: what came over it cannot be trusted or understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{because}")]
pub struct Disconnect {
    /// Why, for the log.
    pub because: &'static str,
}

impl Disconnect {
    /// Names the reason.
    #[must_use]
    pub const fn because(because: &'static str) -> Self {
        Self { because }
    }
}

/// How a request can end other than well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The client gets an error response.
    Refused(Refusal),
    /// The client gets nothing any more.
    Disconnect(Disconnect),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Disconnect> for Failure {
    fn from(disconnect: Disconnect) -> Self {
        Self::Disconnect(disconnect)
    }
}

impl From<smb_proto::DecodeError> for Refusal {
    fn from(error: smb_proto::DecodeError) -> Self {
        // A body that would end the connection is found by the dispatcher; here only statuses are left.
        Self::new(error.status().unwrap_or(NtStatus::INVALID_PARAMETER), "the request's bytes make no sense")
    }
}

impl From<smb_backend::BackendError> for Refusal {
    fn from(error: smb_backend::BackendError) -> Self {
        Self::new(error.status(), "the file system refused")
    }
}
