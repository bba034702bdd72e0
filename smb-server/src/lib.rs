//! The SMB2/3 server library: listeners, connections, sessions, a handler per message.
//!
//! Folders mirror MS-SMB2: `receive/` is 3.3.5 (one file per message), `state/` 3.3.1, `send/` 3.3.4, `timer/` 3.3.2 and 3.3.6,
//! `loss` 3.3.7.1. Who gets which open, lease or lock is decided by the records behind [`store::Store`], never here. Knows nothing of
//! Raft, of other nodes' sockets, of the witness.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests"))]

pub mod access;
pub mod blocking;
pub mod clock;
pub mod config;
pub mod deletion;
pub mod error;
pub mod events;
pub mod failed_logons;
pub mod file_watch;
pub mod limits;
pub mod loss;
pub mod metrics;
pub mod notify;
pub mod pipe;
pub mod places;
pub mod rate_limit;
pub mod receive;
pub mod send;
pub mod state;
pub mod store;
pub mod timer;
pub mod transport;

pub use blocking::blocking;
pub use clock::{Clock, SystemClock};
pub use config::{BackendFactory, ServerConfig};
pub use error::{Disconnect, Refusal};
pub use limits::{Limit, Limits};
pub use state::Server;
pub use store::{LocalStore, Store, StoreError, StoreExt};
pub use transport::listen;
