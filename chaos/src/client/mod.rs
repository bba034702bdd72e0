//! An SMB3 client that behaves as a Windows client does at a continuously available share.
//!
//! Reading order: `connection` (bytes and answers), `session` (logon), `tree` (each request once), `retry` (how long and how often),
//! `mount` (a channel that is replaced when it breaks), `file` (persistent handles that survive), `watch` (the witness), `listener` (a witness client without a mount).
//! It shares the server's codec, so the wire itself is judged by foreign clients, not by this one.

pub mod connection;
pub mod error;
pub mod file;
pub mod listener;
pub mod mount;
pub mod retry;
pub mod session;
pub mod timeline;
pub mod tree;
pub mod watch;

pub use connection::{Call, Connection, Reply};
pub use error::{ClientError, Remedy};
pub use file::{OpenPlan, PersistentFile};
pub use listener::{Listener, Listens};
pub use mount::{Channel, Endpoint, Mount, MountOptions};
pub use retry::RetryPolicy;
pub use session::{ClientIdentity, Session};
pub use timeline::{Entry, Event, Timeline};
pub use tree::{Tree, Try};

/// Random bytes.
#[must_use]
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system has random numbers");
    bytes
}
