//! How nodes reach each other: TLS connections with framed requests and responses.
//!
//! [`peers`] is the calling side, [`server`] the answering side, [`network`] lets Raft use them, [`join`] admits new nodes. Knows nothing
//! of what is replicated.

pub(crate) mod framing;
pub(crate) mod gate;
pub(crate) mod join;
pub(crate) mod network;
pub(crate) mod news;
pub(crate) mod peers;
pub(crate) mod server;
pub(crate) mod tls;
pub(crate) mod traffic;
