//! The new name in a rename or link: what it means, and what is there already.

use persistence_model::{Command, FileKey, IoKind};
use smb_backend::{Backend, BackendError, Metadata, RelPath};
use smb_types::NtStatus;

use crate::{
    blocking::blocking,
    error::Refusal,
    receive::{RequestContext, create::target::Target, io, wait::propose_and_wait},
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
// Handles that clients only keep in case are asked for first.
pub(super) async fn check_directory_sharing(ctx: &mut RequestContext, open: &Open, path: &RelPath) -> Result<(), Refusal> {
    use smb_types::{AccessMask, LeaseState, ShareAccess};
    let Some(parent) = path.parent().filter(|parent| !parent.is_root()) else { return Ok(()) };
    let parent = parent.to_smb();
    let (id, share) = (open.open_id, open.tree.share.share_id);
    // The opens in the way, and whether a lease with H is why each of them is still there.
    let in_the_way = |ctx: &RequestContext| -> Vec<Option<FileKey>> {
        ctx.server.store.with_state(|state| {
            let counts = |other: &&persistence_model::Open| {
                let denies = other.granted_access.contains(AccessMask::DELETE) || !other.share_access.contains(ShareAccess::WRITE);
                other.id != id && !other.is_stat() && denies
            };
            let kept_in_case = |other: &persistence_model::Open| {
                let file = other.file?;
                let lease = state.lease(&file, other.lease?)?;
                (lease.state.contains(LeaseState::HANDLE) && !other.is_detached()).then_some(file)
            };
            state.opens_of_path(share, &parent).filter(counts).map(kept_in_case).collect()
        })
    };
    let found = in_the_way(ctx);
    if let Some(Some(file)) = found.first().copied().filter(|_| found.iter().all(Option::is_some)) {
        let ended = Some((open.ended.clone(), NtStatus::FILE_CLOSED));
        let ask = || Command::BreakForIo { file, by_open: None, kind: IoKind::Delete };
        io::done(&propose_and_wait(ctx, ask, ended).await?)?;
    }
    if in_the_way(ctx).is_empty() {
        return Ok(());
    }
    Err(Refusal::new(NtStatus::SHARING_VIOLATION, "an open of the directory does not share this"))
}
