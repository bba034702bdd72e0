//! SPNEGO (RFC 4178, MS-SPNG) around NTLM: tokens, and both ends of the negotiation.
//!
//! NTLM is the only mechanism spoken; others are recognised by name so that a client that prefers them can be led to NTLM.

pub mod acceptor;
pub(crate) mod der;
pub mod initiator;
pub mod token;

pub use acceptor::{Accepted, Acceptor, Step};
pub use initiator::{Initiated, Initiator, InitiatorConfig, InitiatorStep};
pub use token::{Mechanism, NegState, first_choice};
