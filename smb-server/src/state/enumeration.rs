//! Where a directory listing stands (Open.EnumerationLocation and Open.EnumerationSearchPattern).

use smb_backend::{DirCursor, DirEntry};
use smb_proto::wildcard::Pattern;

/// The state of one open directory between two QUERY_DIRECTORY requests.
#[derive(Debug, Clone)]
pub struct Enumeration {
    /// The pattern of the first call.
    pub pattern: Pattern,
    /// What it is taken from.
    pub source: Source,
    /// "." and ".." that were given already (0, 1 or 2).
    pub dots_given: u8,
    /// Tells whether an entry was ever given: NO_SUCH_FILE before, NO_MORE_FILES after.
    pub found: bool,
}

/// Where entries come from.
#[derive(Debug, Clone)]
pub enum Source {
    /// The snapshot of all names and the place in it.
    All(DirCursor),
    /// The one entry of a pattern without wildcards, until it is given.
    One(Option<Box<DirEntry>>),
}
