//! Which holders an operation disturbs, and how far they must go back (MS-FSA 2.1.4.12).

use smb_types::{LeaseState, OplockLevel};

use crate::command::IoKind;
use crate::id::{FileKey, OpenId};
use crate::record::Open;
use crate::state::State;

/// What a lease of somebody else may keep at most.
pub(crate) fn lease_limit(kind: IoKind) -> LeaseState {
    match kind {
        IoKind::Read => LeaseState::RH,
        IoKind::Write | IoKind::SetSize | IoKind::ZeroData | IoKind::Lock => LeaseState::NONE,
        IoKind::Rename | IoKind::Link | IoKind::Delete | IoKind::Security => LeaseState::RW,
    }
}

/// What a plain oplock of another open may keep at most.
pub(crate) fn oplock_limit(kind: IoKind) -> OplockLevel {
    match kind {
        IoKind::Read => OplockLevel::LevelII,
        IoKind::Write | IoKind::SetSize | IoKind::ZeroData | IoKind::Lock => OplockLevel::None,
        IoKind::Delete | IoKind::Security => OplockLevel::Batch,
        IoKind::Rename | IoKind::Link => OplockLevel::LevelII,
    }
}

/// The limit for this open's oplock: a rename ends a BATCH altogether and leaves LEVEL_II alone.
pub(crate) fn oplock_limit_for(kind: IoKind, level: OplockLevel) -> OplockLevel {
    match kind {
        IoKind::Rename | IoKind::Link if level == OplockLevel::Batch => OplockLevel::None,
        IoKind::Rename | IoKind::Link => level,
        _ => oplock_limit(kind),
    }
}

/// Tells whether an operation waits for a holder in this state, once the break is under way.
pub(crate) fn waits_for_lease(kind: IoKind, state: LeaseState) -> bool {
    match kind {
        IoKind::Read | IoKind::Write | IoKind::SetSize | IoKind::ZeroData | IoKind::Lock => state.contains(LeaseState::WRITE),
        IoKind::Rename | IoKind::Link | IoKind::Delete | IoKind::Security => state.contains(LeaseState::HANDLE),
    }
}

/// Tells whether two opens share their caching: the same open, or the same lease.
pub(crate) fn same_holder(a: &Open, b: &Open) -> bool {
    a.id == b.id || (a.lease.is_some() && a.lease == b.lease)
}

/// The cheap question before I/O: is there anybody to disturb?
pub(crate) fn must_break_for(state: &State, file: &FileKey, by_open: Option<OpenId>, kind: IoKind) -> bool {
    let Some(f) = state.file(file) else { return false };
    if f.opens.len() == 1 && by_open.is_some_and(|o| f.opens.contains(&o)) {
        return false;
    }
    let own_lease = by_open.and_then(|o| state.open(o)).and_then(|o| o.lease);
    let limit = lease_limit(kind);
    let leases = f.leases.values().any(|l| {
        let needed = l.state.0 & limit.0;
        let announced = l.breaking && (l.break_to & l.break_wanted).without(limit).is_empty();
        Some(l.id) != own_lease && needed != l.state.0 && (!announced || waits_for_lease(kind, l.state))
    });
    leases
        || f.opens.iter().filter(|id| Some(**id) != by_open).filter_map(|id| state.open(*id)).any(|o| {
            let limit = oplock_limit_for(kind, o.oplock.level);
            o.oplock.level > limit
        })
}
