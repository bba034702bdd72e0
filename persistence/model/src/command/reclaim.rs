//! ReclaimOpen: a client comes back for its handle (MS-SMB2 3.3.5.9.7, 3.3.5.9.12).

use smb_types::{LeaseState, NtStatus, OplockLevel};

use crate::arbiter::{breaks, close, grant};
use crate::command::{ReclaimKind, ReclaimRequest};
use crate::effects::{Effects, Step, file_of, live, refuse};
use crate::id::fold_path;
use crate::outcome::Outcome;
use crate::record::{CreateAction, Durability, Open, OpenState, Owner};
use crate::state::State;

pub(crate) fn reclaim(state: &mut State, fx: &mut Effects, r: &ReclaimRequest) -> Step {
    live(state, fx, r.node, r.incarnation)?;
    if !state.session(r.session).is_some_and(|s| s.node == r.node && *s.user == r.user) {
        return refuse(NtStatus::USER_SESSION_DELETED);
    }
    let open = find(state, r)?;
    check_identity(r, &open)?;
    // MS-SMB2 3.3.5.9.12
    // deviation: attached elsewhere is not "not found". The handle exists; whether its node is dead is for the caller to find out.
    if let Some(owner) = open.owner {
        if owner.session == r.session {
            return refuse(NtStatus::OBJECT_NAME_NOT_FOUND);
        }
        return Ok(Outcome::OwnerAlive { open: open.id, node: owner.node, incarnation: owner.incarnation, session: owner.session });
    }
    check_caching(state, r, &open)?;
    if matches!(r.kind, ReclaimKind::V2 { persistent: true, .. }) && !open.is_persistent() {
        return refuse(NtStatus::INVALID_PARAMETER);
    }
    if *open.user != r.user {
        return refuse(NtStatus::ACCESS_DENIED);
    }
    renew_lease(state, r, &open);
    let told_now = open.lease.and_then(|l| state.lease(&file_of(&open), l)).is_some_and(|l| l.notification_pending);
    close::attach(state, fx, open.id, Owner { node: r.node, incarnation: r.incarnation, session: r.session });
    let mut answer = grant::answer(state, open.id);
    answer.create_action = CreateAction::Opened;
    // windows: a break that waited for its client is a change that the client hears of after this answer.
    if let Some(lease) = answer.lease.as_mut().filter(|_| told_now) {
        lease.epoch = lease.epoch.wrapping_sub(1);
    }
    Ok(Outcome::Reclaimed(answer))
}

/// By id; a persistent one also by its CreateGuid.
fn find(state: &State, r: &ReclaimRequest) -> Step<Open> {
    let found = state.open(r.open).or_else(|| match r.kind {
        ReclaimKind::V2 { create_guid, persistent: true, by_create_guid: true } => {
            state.opens_by_create_guid(create_guid).find(|o| o.is_persistent())
        }
        ReclaimKind::V1 | ReclaimKind::V2 { .. } => None,
    });
    match found {
        Some(o) if o.share != r.share => refuse(NtStatus::OBJECT_NAME_NOT_FOUND),
        // Its CREATE has not come to an end; the client cannot know the id yet.
        Some(o) if o.state == OpenState::Reserved => refuse(NtStatus::FILE_NOT_AVAILABLE),
        Some(o) => Ok(o.clone()),
        None => refuse(NtStatus::OBJECT_NAME_NOT_FOUND),
    }
}

/// Is it the handle that the client means?
fn check_identity(r: &ReclaimRequest, o: &Open) -> Step<()> {
    let named = match r.kind {
        // The first version's context has no CreateGuid to compare; it does for handles of the second version that are not persistent.
        ReclaimKind::V1 => matches!(o.durability, Durability::V1 | Durability::V2 | Durability::Resilient),
        // A handle of the first version answers to the zero GUID.
        ReclaimKind::V2 { create_guid, persistent, .. } => {
            o.create_guid.unwrap_or_default() == create_guid && (persistent || !o.is_persistent())
        }
    };
    let client = o.lease.is_none() || o.client_guid == r.client_guid;
    if named && client && o.durability != Durability::None { Ok(()) } else { refuse(NtStatus::OBJECT_NAME_NOT_FOUND) }
}

/// Does the client still hold what made the handle durable?
fn check_caching(state: &State, r: &ReclaimRequest, o: &Open) -> Step<()> {
    const NOT_FOUND: Step<()> = Err(Outcome::Refused(NtStatus::OBJECT_NAME_NOT_FOUND));
    let needs_cache = matches!(o.durability, Durability::V1 | Durability::V2);
    match (o.lease, r.lease) {
        (None, None) if needs_cache && o.oplock.level != OplockLevel::Batch => NOT_FOUND,
        (None, None) => Ok(()),
        (None, Some(_)) | (Some(_), None) => NOT_FOUND,
        (Some(id), Some(asked)) => {
            let Some(lease) = state.lease(&file_of(o), id) else { return NOT_FOUND };
            if id.key != asked.key || lease.version != asked.version {
                return NOT_FOUND;
            }
            if needs_cache && !lease.state.contains(LeaseState::HANDLE) {
                return NOT_FOUND;
            }
            let deleted = state.file(&file_of(o)).is_some_and(|f| f.delete_pending) || o.delete_on_close;
            // The lease's name, or the one under which this very handle was opened: they differ for hard links.
            let asked = fold_path(&r.path);
            if !deleted && asked != fold_path(&lease.path) && asked != fold_path(&o.path) {
                return refuse(NtStatus::INVALID_PARAMETER);
            }
            Ok(())
        }
    }
}

/// The lease of a persistent handle after its client was away.
// MS-SMB2 3.3.5.9.12
// windows: without H the lease is as good as new and counts on from the client's own number, R alone as one more change. Where the file has byte-range
// locks, a shared lease is gone, except on a SCALEOUT share. A break that waits for its client changes nothing before it is announced.
fn renew_lease(state: &mut State, r: &ReclaimRequest, o: &Open) {
    let (Some(id), Some(asked)) = (o.lease, r.lease) else { return };
    if !o.is_persistent() {
        return;
    }
    let key = file_of(o);
    let scaleout = state.share(o.share).is_some_and(|s| s.settings.scaleout);
    let locked = breaks::open_ids(state, key).into_iter().any(|id| state.open(id).is_some_and(|o| !o.locks.is_empty()));
    state.edit_file(key, |f| {
        let Some(l) = f.leases.get_mut(&id).filter(|l| !l.breaking) else { return };
        if locked && !scaleout && !l.state.contains(LeaseState::WRITE) {
            l.state = LeaseState::NONE;
        }
        if !l.state.contains(LeaseState::HANDLE) {
            l.epoch = asked.epoch.wrapping_add(u16::from(l.state == LeaseState::READ));
        }
    });
}
