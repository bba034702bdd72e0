//! Why a request of the client failed, and whether another try can help.

use std::io;

use smb_auth::AuthError;
use smb_proto::DecodeError;
use smb_types::NtStatus;

/// A request that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No connection could be made.
    #[error("cannot connect to {address}")]
    Connect {
        /// The server's address.
        address: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The connection went while the request was under way: nobody knows whether it was carried out.
    #[error("connection lost")]
    Lost,
    /// The server refused.
    #[error("{what}: {status}")]
    Status {
        /// What was asked for.
        what: &'static str,
        /// Its answer.
        status: NtStatus,
    },
    /// The server's bytes make no sense, or break a promise of the protocol.
    #[error("server broke the protocol: {0}")]
    Protocol(&'static str),
    /// The answer could not be decoded.
    #[error("server's answer is malformed")]
    Decode(#[from] DecodeError),
    /// The logon failed on our side.
    #[error("logon failed")]
    Auth(#[from] AuthError),
    /// A handle came back as something else than what it was.
    #[error("handle was not resumed: {0}")]
    NotResumed(String),
    /// The handle's timeout ran out before anybody served it.
    #[error("gave up after {after_ms} ms; last answer: {last}")]
    Patience {
        /// How long it was tried.
        after_ms: u128,
        /// The last answer.
        last: String,
    },
}

impl ClientError {
    /// The server's status, if it answered at all.
    #[must_use]
    pub fn status(&self) -> Option<NtStatus> {
        match self {
            Self::Status { status, .. } => Some(*status),
            Self::Connect { .. }
            | Self::Lost
            | Self::Protocol(_)
            | Self::Decode(_)
            | Self::Auth(_)
            | Self::NotResumed(_)
            | Self::Patience { .. } => None,
        }
    }

    /// What a client does about it.
    // MS-SMB2 3.2.5.1, 3.2.7.1
    // A status that says "not now" is asked again, one that says "not this session" needs a new channel, anything else is final.
    #[must_use]
    pub fn remedy(&self) -> Remedy {
        match self {
            Self::Connect { .. } | Self::Lost => Remedy::Reconnect,
            Self::Status { status, .. } => match *status {
                NtStatus::FILE_NOT_AVAILABLE | NtStatus::SERVER_UNAVAILABLE | NtStatus::SHARE_UNAVAILABLE => Remedy::AskAgain,
                NtStatus::NETWORK_NAME_DELETED
                | NtStatus::USER_SESSION_DELETED
                | NtStatus::NETWORK_SESSION_EXPIRED
                | NtStatus::CONNECTION_DISCONNECTED
                | NtStatus::VOLUME_DISMOUNTED => Remedy::Reconnect,
                _ => Remedy::GiveUp,
            },
            Self::Protocol(_) | Self::Decode(_) | Self::Auth(_) | Self::NotResumed(_) | Self::Patience { .. } => Remedy::GiveUp,
        }
    }
}

/// What to do about a failed request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Remedy {
    /// The same request again, on the same channel, a little later.
    AskAgain,
    /// A new channel, then the same request again.
    Reconnect,
    /// Tell the application.
    GiveUp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_and_their_remedies() {
        let of = |status| ClientError::Status { what: "test", status }.remedy();
        assert_eq!(of(NtStatus::FILE_NOT_AVAILABLE), Remedy::AskAgain);
        assert_eq!(of(NtStatus::SHARE_UNAVAILABLE), Remedy::AskAgain);
        assert_eq!(of(NtStatus::USER_SESSION_DELETED), Remedy::Reconnect);
        assert_eq!(of(NtStatus::OBJECT_NAME_NOT_FOUND), Remedy::GiveUp, "a handle that is gone is gone");
        assert_eq!(ClientError::Lost.remedy(), Remedy::Reconnect);
    }
}
