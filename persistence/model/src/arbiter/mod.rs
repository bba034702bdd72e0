//! The rules between two opens: share modes, leases and oplocks, locks. Used by the commands; knows nothing of how a command came.

pub(crate) mod breaks;
pub(crate) mod lock;
