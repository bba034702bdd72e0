//! The rules between two opens: share modes, leases and oplocks, locks, what outlives a connection. Used by the commands; knows nothing of how a command came.

pub(crate) mod breaks;
pub(crate) mod close;
pub(crate) mod create;
pub(crate) mod grant;
pub(crate) mod lock;
pub(crate) mod share_mode;
