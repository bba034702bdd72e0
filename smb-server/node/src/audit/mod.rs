//! The audit log of a node: one JSON line for every change through the admin API or a command, and
//! for every refused one.
//!
//! Lines go to `audit/` in the data directory and to `tracing`, target `audit`. Changes and
//! refusals have separate files with separate size limits: a flood of refused requests cannot
//! rotate out a change. A full or hanging disk loses lines, which are counted; it never delays a
//! change. Knows nothing of HTTP.

mod entry;
mod files;
mod log;
mod user;

pub(crate) use entry::time_text;
pub use entry::{AuditResult, Entries, Entry, Origin, redacted};
pub(crate) use log::READ_ENTRIES_MAX;
pub use log::{AuditLog, append_once};
pub use user::user_name;

/// The directory of the files, below the data directory.
pub const DIRECTORY: &str = "audit";
