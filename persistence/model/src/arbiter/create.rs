//! May a CREATE have this file now? Everything the newcomer can meet: disconnected persistent opens, marks for deletion, share modes, caches.

use smb_types::{AccessMask, LeaseState, NtStatus, OplockLevel};

use crate::arbiter::breaks::{Broken, break_lease, break_oplock, lease_ids, open_ids};
use crate::arbiter::{close, share_mode};
use crate::command::{OpenRequest, RequestedOplock};
use crate::effects::Effects;
use crate::id::{FileKey, LeaseId, OpenId};
use crate::record::open::{LEASE_STAT_ACCESS, OPLOCK_STAT_ACCESS};
use crate::record::{Durability, Open, OpenState};
use crate::state::State;

/// The answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// It may.
    Clear,
    /// Breaks are under way, or another CREATE is half done; ask again when the file has changed.
    Wait,
    /// It may not.
    Refuse(NtStatus),
}

impl OpenRequest {
    /// The lease asked for.
    pub(crate) fn lease_id(&self) -> Option<LeaseId> {
        match self.oplock {
            RequestedOplock::Lease(l) => Some(LeaseId { client_guid: self.client_guid, key: l.key }),
            RequestedOplock::None | RequestedOplock::Level(_) => None,
        }
    }

    /// What the share modes of others must allow: throwing data away is writing.
    pub(crate) fn counted_access(&self) -> AccessMask {
        if self.overwrites { self.granted_access | AccessMask::WRITE_DATA } else { self.granted_access }
    }

    pub(crate) fn disturbs_leases(&self) -> bool {
        self.overwrites || !self.granted_access.without(LEASE_STAT_ACCESS).is_empty()
    }

    pub(crate) fn disturbs_oplocks(&self) -> bool {
        self.overwrites || !self.granted_access.without(OPLOCK_STAT_ACCESS).is_empty()
    }
}

/// Weighs a CREATE against everybody who has the file. `own`: the newcomer's reservation, if it has one. May start breaks and may close durable opens whose
/// clients are away and cannot be asked; changes nothing else.
pub(crate) fn arbitrate(state: &mut State, fx: &mut Effects, r: &OpenRequest, key: FileKey, own: Option<OpenId>) -> Verdict {
    if let Some(verdict) = meet_disconnected(state, r, key, own) {
        return verdict;
    }
    if state.is_delete_pending(&key) {
        return Verdict::Refuse(NtStatus::DELETE_PENDING);
    }
    // MS-SMB2 3.3.5.9, MS-FSA 2.1.5.1.2
    // BATCH gives way before share modes are looked at: its client may close the file.
    if r.disturbs_oplocks() {
        let batch = |o: &Open| o.oplock.level == OplockLevel::Batch;
        if break_oplocks(state, fx, r, key, own, batch) {
            return Verdict::Wait;
        }
    }
    match settle_share_modes(state, fx, r, key, own) {
        Verdict::Clear => {}
        other => return other,
    }
    if break_caches(state, fx, r, key, own) {
        return Verdict::Wait;
    }
    // Closing a durable open on the way may have been what the file's deletion waited for.
    if state.is_delete_pending(&key) { Verdict::Refuse(NtStatus::DELETE_PENDING) } else { Verdict::Clear }
}

fn others(state: &State, key: FileKey, own: Option<OpenId>) -> impl Iterator<Item = &Open> {
    state.file(&key).into_iter().flat_map(|f| &f.opens).filter(move |id| Some(**id) != own).filter_map(|id| state.open(*id))
}

/// A persistent open whose client is away must be found as it was left.
// MS-SMB2 3.3.5.9
// Without H its client may come back at any time and rely on everything: newcomers try later. With H it may be disturbed as a connected one would be; the
// breaks are announced when the client is back. Held locks need the RWH holder's answer; a SCALEOUT share never lets newcomers in.
fn meet_disconnected(state: &State, r: &OpenRequest, key: FileKey, own: Option<OpenId>) -> Option<Verdict> {
    const LATER: Option<Verdict> = Some(Verdict::Refuse(NtStatus::FILE_NOT_AVAILABLE));
    let scaleout = state.share(r.share).is_some_and(|s| s.settings.scaleout);
    for o in others(state, key, own).filter(|o| o.is_detached()) {
        if o.state == OpenState::Reserved {
            return LATER;
        }
        if !o.is_persistent() {
            continue;
        }
        let held = o.lease.and_then(|l| state.lease(&key, l)).map_or(LeaseState::NONE, |l| l.state);
        if scaleout {
            return LATER;
        }
        if o.lease.is_some() && o.lease == r.lease_id() {
            // The same client before it has reclaimed all its handles: nothing to break, but no violation that would be final either.
            if share_mode::conflict((r.counted_access(), r.share_access), (o.granted_access, o.share_access)) {
                return LATER;
            }
            continue;
        }
        if !held.contains(LeaseState::HANDLE) || (!o.locks.is_empty() && !held.contains(LeaseState::WRITE)) {
            return LATER;
        }
    }
    None
}

/// Share modes; H leases that stand in the way are asked to close what they only keep in case.
// MS-SMB2 3.3.5.9, MS-FSA 2.1.4.12
// H is broken on a conflict only. When the conflict is still there without H, it is SHARING_VIOLATION: so repeated tries come to an end.
fn settle_share_modes(state: &mut State, fx: &mut Effects, r: &OpenRequest, key: FileKey, own: Option<OpenId>) -> Verdict {
    // Each round ends the function or closes at least one open.
    for _ in 0..=others(state, key, own).count() {
        let wish = (r.counted_access(), r.share_access);
        let conflicting = others(state, key, own).filter(|o| share_mode::conflict(wish, (o.granted_access, o.share_access)));
        let (mut to_ask, mut to_close, mut half_done) = (Vec::new(), Vec::new(), false);
        for o in conflicting {
            let held = o.lease.and_then(|l| state.lease(&key, l));
            match held {
                _ if o.state == OpenState::Reserved => half_done = true,
                Some(l) if l.state.contains(LeaseState::HANDLE) && Some(l.id) != r.lease_id() => to_ask.push(l.id),
                // A durable open without its client and without H can never be reclaimed; it is not worth a refusal.
                _ if o.is_detached() && matches!(o.durability, Durability::V1 | Durability::V2) => to_close.push(o.id),
                _ => return Verdict::Refuse(NtStatus::SHARING_VIOLATION),
            }
        }
        if half_done {
            return Verdict::Wait;
        }
        if to_ask.is_empty() && to_close.is_empty() {
            return Verdict::Clear;
        }
        let mut wait = false;
        to_close.into_iter().for_each(|id| close::take(state, fx, id));
        for lease in to_ask {
            wait |= break_lease(state, fx, key, lease, LeaseState::RW) == Broken::Pending;
        }
        if wait {
            return Verdict::Wait;
        }
    }
    Verdict::Refuse(NtStatus::SHARING_VIOLATION)
}

/// Caches that the new open makes untrue; tells whether to wait.
// MS-FSA 2.1.4.12
// A plain open ends write caching, an overwriting one all caching. Only write caches are waited for: they may hold data that is not here yet.
// windows: a break that goes on after the acknowledgement is waited for to its end, whatever it takes; but not one whose holder is away.
pub(crate) fn break_caches(state: &mut State, fx: &mut Effects, r: &OpenRequest, key: FileKey, own: Option<OpenId>) -> bool {
    let mut wait = false;
    if r.disturbs_leases() {
        let limit = if r.overwrites { LeaseState::NONE } else { LeaseState::RH };
        for id in lease_ids(state, key) {
            if Some(id) == r.lease_id() {
                continue;
            }
            wait |= state.lease(&key, id).is_some_and(|l| l.breaking && l.break_wanted != l.break_to && !l.notification_pending);
            if break_lease(state, fx, key, id, limit) == Broken::Pending {
                wait |= state.lease(&key, id).is_some_and(|l| l.state.contains(LeaseState::WRITE));
            }
        }
    }
    if r.disturbs_oplocks() {
        wait |= break_oplocks(state, fx, r, key, own, |_| true);
    }
    wait
}

fn break_oplocks(
    state: &mut State,
    fx: &mut Effects,
    r: &OpenRequest,
    key: FileKey,
    own: Option<OpenId>,
    which: fn(&Open) -> bool,
) -> bool {
    let limit = if r.overwrites { OplockLevel::None } else { OplockLevel::LevelII };
    let mut wait = false;
    for id in open_ids(state, key) {
        if Some(id) != own && state.open(id).is_some_and(which) {
            wait |= break_oplock(state, fx, id, limit) == Broken::Pending;
        }
    }
    wait
}
