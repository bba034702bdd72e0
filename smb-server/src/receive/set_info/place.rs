//! The new name in a rename or link: what it means, and what is there already.

use persistence_model::{Command, FileKey, IoKind};
use smb_backend::{BackendError, Metadata, RelPath};
use smb_types::NtStatus;

use crate::{
    access::{Asker, Occupant, Reached},
    blocking::blocking,
    error::Refusal,
    receive::{RequestContext, create::target::Target, io, wait::propose_and_wait},
    state::Open,
    store::StoreExt as _,
};

/// The place of a new name.
pub(super) struct NewName {
    /// Where.
    pub(super) at: Reached,
    /// What is there; None when the name is free.
    pub(super) occupant: Option<Metadata>,
}

impl NewName {
    /// What has the name and would be replaced, as far as the request wants that.
    pub(super) fn replaced(&self, itself: smb_backend::FileKey, replace: bool) -> Occupant {
        match &self.occupant {
            Some(occupant) if occupant.key == itself && replace => Occupant::Itself,
            Some(occupant) if occupant.key != itself && replace => Occupant::Other,
            Some(_) | None => Occupant::None,
        }
    }
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
/// OBJECT_PATH_NOT_FOUND when its directory is missing; ACCESS_DENIED when the way to it is closed; INVALID_PARAMETER for the root.
pub(super) fn look(asker: &Asker, path: &RelPath) -> Result<NewName, Refusal> {
    if path.is_root() {
        return Err(Refusal::invalid("the root cannot be the new name"));
    }
    let at = asker.reach(path)?;
    match blocking(|| asker.names().lookup(&at)) {
        Ok(entry) => Ok(NewName { at, occupant: Some(entry.metadata) }),
        Err(BackendError::NotFound { .. }) => Ok(NewName { at, occupant: None }),
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
