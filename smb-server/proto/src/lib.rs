//! SMB2/3 messages: bytes to structs and back, both roles; pure.
//!
//! The server decodes requests and encodes responses, the test client does the reverse, with the same types. Every decoder takes
//! untrusted bytes and never panics. Knows nothing of sessions, opens, files, sockets, keys or time.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests"))]

pub mod error;
pub mod frame;
pub mod header;
pub mod name;
pub mod smb1;
pub mod transform;
pub mod utf16;
pub mod wildcard;
pub mod wire;

pub mod context;
pub mod fsctl;
pub mod info;
pub mod message;
pub mod security;

pub use error::DecodeError;
pub use header::{Command, HEADER_SIZE, Header, HeaderFlags, Routing};
