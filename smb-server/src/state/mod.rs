//! The server's own state (MS-SMB2 3.3.1): what one node knows about its connections. What outlives a node is a record, not here.

pub mod channel_sequence;
pub mod client_table;
pub mod connection;
pub mod connection_table;
pub mod enumeration;
pub mod notify;
pub mod open;
pub mod pipe;
pub mod request;
pub mod sequence_window;
pub mod server;
pub mod session;
pub mod share;
pub mod tree_connect;

pub use channel_sequence::ChannelSequence;
pub use client_table::ClientTable;
pub use connection::{Connection, ConnectionId, Negotiated};
pub use enumeration::Enumeration;
pub use notify::NotifyState;
pub use open::{Open, OpenKind};
pub use pipe::Pipe;
pub use request::Request;
pub use sequence_window::SequenceWindow;
pub use server::Server;
pub use session::{Channel, Security, Session, SessionState, User};
pub use share::Share;
pub use tree_connect::TreeConnect;
