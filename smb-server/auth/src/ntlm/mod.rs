//! NTLMv2 (MS-NLMP): messages, proofs, and both ends of the three-message logon.
//!
//! Knows nothing of SPNEGO, and of accounts only what the caller's lookup says. NTLMv1 is not spoken.

pub mod acceptor;
pub mod av_pairs;
pub mod flags;
pub mod hash;
pub mod initiator;
pub mod message;
pub mod v2;

pub use acceptor::{AcceptorConfig, Account, Authenticated, Identity, LogonKind, Lookup, NtlmAcceptor, ServerNames};
pub use flags::NegotiateFlags;
pub use hash::NtHash;
pub use initiator::{Credentials, Established, NtlmInitiator};
