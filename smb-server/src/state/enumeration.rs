//! Where a directory listing stands (Open.EnumerationLocation and Open.EnumerationSearchPattern).

use smb_backend::DirCursor;

/// The state of one open directory between two QUERY_DIRECTORY requests.
#[derive(Debug, Clone)]
pub struct Enumeration {
    /// The pattern of the first call.
    pub pattern: String,
    /// The snapshot and the place in it.
    pub cursor: DirCursor,
    /// "." and ".." that were given already (0, 1 or 2).
    pub dots_given: u8,
    /// Tells whether an entry was ever given: NO_SUCH_FILE before, NO_MORE_FILES after.
    pub found: bool,
}
