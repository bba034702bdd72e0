//! Why a logon failed, and which status the client is told.

use smb_types::NtStatus;

/// A logon step that failed. The conversation is over: a further token is answered with `OutOfOrder`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AuthError {
    /// The bytes are no token of the expected kind; says what was being read.
    #[error("malformed token: {0}")]
    BadToken(&'static str),
    /// A token came that this state does not expect.
    #[error("token out of order")]
    OutOfOrder,
    /// The client offers no mechanism we speak, or the server chose another one.
    #[error("no common security mechanism")]
    NoCommonMechanism,
    /// The client lacks Unicode, extended session security or 128-bit keys.
    #[error("required NTLM flags are missing")]
    WeakFlags,
    /// NTLMv1 or LM only.
    #[error("NTLMv1 is refused")]
    NtlmV1,
    /// No such account.
    #[error("unknown account")]
    UnknownAccount,
    /// The proof does not fit the account's hash.
    #[error("wrong password")]
    WrongPassword,
    /// The account is disabled.
    #[error("account is disabled")]
    AccountDisabled,
    /// An anonymous logon where none is allowed.
    #[error("anonymous logon is refused")]
    AnonymousRefused,
    /// The MIC over the three NTLM messages is wrong: somebody changed one of them.
    #[error("NTLM message integrity code is wrong")]
    MicMismatch,
    /// The mechListMIC is wrong or missing although needed: somebody changed the list of mechanisms.
    #[error("mechListMIC is wrong or missing")]
    MechListMic,
    /// The peer refused the logon inside SPNEGO.
    #[error("the peer rejected the logon")]
    Rejected,
}

impl AuthError {
    /// The status a SESSION_SETUP response carries for this failure.
    #[must_use]
    pub const fn status(self) -> NtStatus {
        match self {
            Self::BadToken(_) | Self::OutOfOrder => NtStatus::INVALID_PARAMETER,
            Self::AccountDisabled => NtStatus::ACCOUNT_DISABLED,
            Self::NoCommonMechanism => NtStatus::NOT_SUPPORTED,
            // Whether the name or the password was wrong is not for the client to learn.
            Self::WeakFlags
            | Self::NtlmV1
            | Self::UnknownAccount
            | Self::WrongPassword
            | Self::AnonymousRefused
            | Self::MicMismatch
            | Self::MechListMic
            | Self::Rejected => NtStatus::LOGON_FAILURE,
        }
    }
}
