//! The new name in a rename or link: what it means, and what is there already.

use smb_backend::{Backend, BackendError, Metadata, RelPath};
use smb_types::NtStatus;

use crate::{
    blocking::blocking,
    error::Refusal,
    receive::{RequestContext, create::target::Target},
    state::Open,
    store::StoreExt as _,
};

/// A place for a name.
pub(super) struct Place {
    /// Where.
    pub(super) path: RelPath,
    /// What is there; None when the name is free.
    pub(super) occupant: Option<Metadata>,
}

/// Reads a name that a client wants to give. A leading separator means the same as none.
///
/// # Errors
/// OBJECT_NAME_INVALID and the like.
pub(super) fn parse(name: &str) -> Result<Target, Refusal> {
    Target::parse(name.strip_prefix('\\').unwrap_or(name))
}

/// Looks at the place of a name.
///
/// # Errors
/// OBJECT_PATH_NOT_FOUND when its directory is missing; INVALID_PARAMETER for the root.
pub(super) fn look(backend: &dyn Backend, path: RelPath) -> Result<Place, Refusal> {
    if path.is_root() {
        return Err(Refusal::invalid("the root cannot be the new name"));
    }
    match blocking(|| backend.lookup(&path)) {
        Ok(entry) => Ok(Place { path, occupant: Some(entry.metadata) }),
        Err(BackendError::NotFound { .. }) => {
            // The last component may be the only one missing, or its directory too.
            if let Some(parent) = path.parent() {
                let above = blocking(|| backend.lookup(&parent)).map_err(|error| match error {
                    BackendError::NotFound { .. } => Refusal::new(NtStatus::OBJECT_PATH_NOT_FOUND, "no such directory"),
                    other => other.into(),
                })?;
                if !above.metadata.is_directory() {
                    return Err(Refusal::new(NtStatus::OBJECT_PATH_NOT_FOUND, "not a directory"));
                }
            }
            Ok(Place { path, occupant: None })
        }
        Err(error) => Err(error.into()),
    }
}

/// Refuses when somebody's open of the directory does not share what giving or taking a name there needs.
///
/// # Errors
/// SHARING_VIOLATION.
// MS-FSA 2.1.5.15.12
// windows: a rename opens the directory for adding a name, and shares reading and writing with others, not deleting.
pub(super) fn check_directory_sharing(ctx: &RequestContext, open: &Open, path: &RelPath) -> Result<(), Refusal> {
    use smb_types::{AccessMask, ShareAccess};
    let Some(parent) = path.parent() else { return Ok(()) };
    if parent.is_root() {
        return Ok(());
    }
    let parent = parent.to_smb();
    let share = open.tree.share.share_id;
    let in_the_way = ctx.server.store.with_state(|state| {
        state.opens_of_path(share, &parent).any(|other| {
            let counts = !other.is_stat();
            other.id != open.open_id
                && counts
                && (other.granted_access.contains(AccessMask::DELETE) || !other.share_access.contains(ShareAccess::WRITE))
        })
    });
    if in_the_way {
        return Err(Refusal::new(NtStatus::SHARING_VIOLATION, "an open of the directory does not share this"));
    }
    Ok(())
}
