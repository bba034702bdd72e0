//! SPNEGO, NTLMv2, key derivation, signing and sealing; pure.
//!
//! Both ends of a logon (`spnego::Acceptor`, `spnego::Initiator`), what a finished logon yields (`SessionKey`, `gss::NtlmContext`), and what SMB2
//! makes of it (`keys`, `preauth`, `signing`, `sealing`). Time and random bytes are arguments. Knows nothing of sockets, sessions, user databases
//! or SMB2 messages beyond the header fields that signing needs.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests"))]

mod crypto;
pub mod error;
pub mod gss;
pub mod kdf;
pub mod keys;
pub mod ntlm;
pub mod preauth;
pub mod sealing;
pub mod secret;
pub mod signing;
pub mod spnego;

pub use error::AuthError;
pub use gss::NtlmContext;
pub use keys::SessionKeys;
pub use ntlm::{AcceptorConfig, Account, Credentials, Identity, LogonKind, NtHash, ServerNames};
pub use preauth::PreauthHash;
pub use sealing::{CipherId, NonceSequence, SealingKey, TransformHeader};
pub use secret::{Secret, SessionKey};
pub use signing::{SigningAlgorithm, SigningKey};
pub use spnego::{Acceptor, Initiator, Step};

/// Which end of the conversation made, or makes, a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// The client (NTLM and SPNEGO: initiator).
    Client,
    /// The server (NTLM and SPNEGO: acceptor).
    Server,
}

#[cfg(test)]
mod vectors;
