//! Which holders an operation disturbs, and how far they must go back (MS-FSA 2.1.4.12).

use std::collections::BTreeSet;

use smb_types::{LeaseState, OplockLevel};

use crate::arbiter::close;
use crate::command::IoKind;
use crate::effects::Effects;
use crate::event::Event;
use crate::id::{FileKey, LeaseId, NodeId, OpenId};
use crate::record::{Durability, Lease, Oplock};
use crate::state::State;

/// An acknowledgement may take this long.
pub(crate) const BREAK_TIMEOUT_MS: u64 = 35_000;
/// The same for a lease with a persistent open.
pub(crate) const BREAK_TIMEOUT_PERSISTENT_LEASE_MS: u64 = 180_000;
/// The same for a persistent open with an oplock.
pub(crate) const BREAK_TIMEOUT_PERSISTENT_OPLOCK_MS: u64 = 60_000;

/// How a break went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Broken {
    /// The holder is within the limit already.
    Unneeded,
    /// The holder is within the limit now, or gone.
    AtOnce,
    /// An acknowledgement is awaited; the holder still has what it had.
    Pending,
}

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

/// Tells whether an operation ends its own open's LEVEL_II, too: shared caches of plain oplocks know no owner, so a change of data ends them all.
// MS-FSA 2.1.4.12
pub(crate) fn ends_own(kind: IoKind, level: OplockLevel) -> bool {
    level == OplockLevel::LevelII && lease_limit(kind).is_empty()
}

/// The cheap question before I/O: is there anybody to disturb?
pub(crate) fn must_break_for(state: &State, file: &FileKey, by_open: Option<OpenId>, kind: IoKind) -> bool {
    let Some(f) = state.file(file) else { return false };
    let own = by_open.and_then(|o| state.open(o));
    if own.is_some_and(|o| ends_own(kind, o.oplock.level)) {
        return true;
    }
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

/// Breaks what an operation makes untrue for others; tells whether the operation has to wait.
pub(crate) fn break_for(state: &mut State, fx: &mut Effects, file: FileKey, by_open: Option<OpenId>, kind: IoKind) -> bool {
    let own_lease = by_open.and_then(|o| state.open(o)).and_then(|o| o.lease);
    let mut wait = false;
    for id in lease_ids(state, file) {
        if Some(id) != own_lease && break_lease(state, fx, file, id, lease_limit(kind)) == Broken::Pending {
            wait |= state.lease(&file, id).is_some_and(|l| waits_for_lease(kind, l.state));
        }
    }
    for id in open_ids(state, file) {
        let Some(level) = state.open(id).map(|o| o.oplock.level) else { continue };
        if Some(id) != by_open || ends_own(kind, level) {
            wait |= break_oplock(state, fx, id, oplock_limit_for(kind, level)) == Broken::Pending;
        }
    }
    wait
}

pub(crate) fn lease_ids(state: &State, file: FileKey) -> Vec<LeaseId> {
    state.file(&file).map_or_else(Vec::new, |f| f.leases.keys().copied().collect())
}

pub(crate) fn open_ids(state: &State, file: FileKey) -> Vec<OpenId> {
    state.file(&file).map_or_else(Vec::new, |f| f.opens.iter().copied().collect())
}

/// The nodes with attached opens of a lease.
pub(crate) fn lease_nodes(state: &State, lease: &Lease) -> BTreeSet<NodeId> {
    lease.opens.iter().filter_map(|id| state.open(*id)?.owner).map(|o| o.node).collect()
}

/// Brings a lease within a limit: at once, or by a break that its client must acknowledge.
// MS-SMB2 3.3.4.7
// R alone is taken away without asking; anything else is the client's until it acknowledges or the timer ends. A break already announced is not
// announced again: what is needed beyond it is remembered and follows the acknowledgement.
pub(crate) fn break_lease(state: &mut State, fx: &mut Effects, file: FileKey, id: LeaseId, limit: LeaseState) -> Broken {
    let Some(lease) = state.lease(&file, id) else { return Broken::Unneeded };
    if lease.breaking {
        let wanted = lease.break_wanted & limit;
        if wanted != lease.break_wanted {
            state.edit_file(file, |f| f.leases.get_mut(&id).map(|l| l.break_wanted = wanted));
        }
        let within = state.lease(&file, id).is_some_and(|l| l.state.without(limit).is_empty());
        return if within { Broken::Unneeded } else { Broken::Pending };
    }
    let (current, new) = (lease.state, lease.state & limit);
    if new == current {
        return Broken::Unneeded;
    }
    let nodes = lease_nodes(state, lease);
    let persistent = lease.opens.iter().any(|o| state.open(*o).is_some_and(crate::record::Open::is_persistent));
    let (epoch, ack_required) = (lease.epoch.wrapping_add(1), current != LeaseState::READ);
    let timeout = if persistent { BREAK_TIMEOUT_PERSISTENT_LEASE_MS } else { BREAK_TIMEOUT_MS };
    let deadline = fx.now.plus(timeout);
    state.edit_file(file, |f| {
        if let Some(l) = f.leases.get_mut(&id) {
            l.epoch = epoch;
            if ack_required {
                (l.breaking, l.break_to, l.break_wanted, l.break_deadline) = (true, new, new, Some(deadline));
            } else {
                l.state = new;
            }
        }
    });
    fx.changed(file);
    if nodes.is_empty() {
        return if ack_required { lease_undeliverable(state, fx, file, id) } else { Broken::AtOnce };
    }
    fx.event(Event::LeaseBreak { lease: id, file, nodes: nodes.into_iter().collect(), current, new, epoch, ack_required });
    if ack_required { Broken::Pending } else { Broken::AtOnce }
}

/// Goes on after an acknowledgement with what has become necessary meanwhile.
// windows: a client that still has more than R is brought to none by way of R, and all of it counts as one change with the break before.
pub(crate) fn follow_up(state: &mut State, fx: &mut Effects, file: FileKey, id: LeaseId, wanted: LeaseState) {
    let Some(held) = state.lease(&file, id).map(|l| l.state) else { return };
    let in_steps = wanted.is_empty() && held.intersects(LeaseState(LeaseState::HANDLE.0 | LeaseState::WRITE.0));
    let next = if in_steps { LeaseState::READ } else { wanted };
    if held & next == held {
        return;
    }
    state.edit_file(file, |f| f.leases.get_mut(&id).map(|l| l.epoch = l.epoch.wrapping_sub(1)));
    break_lease(state, fx, file, id, next);
    state.edit_file(file, |f| f.leases.get_mut(&id).filter(|l| l.breaking).map(|l| l.break_wanted = wanted));
}

/// Nobody can be told of an announced break.
// MS-SMB2 3.3.4.7
// Opens without a promise are closed, durable ones too unless H remains; a persistent open keeps everything and is told when its client returns.
// windows: a durable open is closed as well when its client may have cached writes, which are lost with the cache.
pub(crate) fn lease_undeliverable(state: &mut State, fx: &mut Effects, file: FileKey, id: LeaseId) -> Broken {
    let Some(lease) = state.lease(&file, id).filter(|l| l.breaking) else { return Broken::Unneeded };
    let new = lease.break_to & lease.break_wanted;
    let caches_writes = lease.state.contains(LeaseState::WRITE);
    let opens: Vec<(OpenId, Durability)> = lease.opens.iter().filter_map(|o| Some((*o, state.open(*o)?.durability))).collect();
    fx.changed(file);
    if opens.iter().any(|(_, d)| *d == Durability::Persistent) {
        state.edit_file(file, |f| f.leases.get_mut(&id).map(|l| l.notification_pending = true));
        return Broken::Pending;
    }
    for (open, durability) in opens {
        let kept = match durability {
            Durability::None => false,
            Durability::V1 | Durability::V2 => new.contains(LeaseState::HANDLE) && !caches_writes,
            Durability::Resilient | Durability::Persistent => true,
        };
        if !kept {
            close::take(state, fx, open);
        }
    }
    state.edit_file(file, |f| f.leases.get_mut(&id).map(|l| settle(l, new)));
    Broken::AtOnce
}

/// Ends a break: the lease has this state now.
pub(crate) fn settle(lease: &mut Lease, state: LeaseState) {
    lease.state = state;
    lease.breaking = false;
    (lease.break_to, lease.break_wanted, lease.break_deadline) = (LeaseState::NONE, LeaseState::NONE, None);
    lease.notification_pending = false;
}

/// Brings an oplock within a limit: at once, or by a break that its client must acknowledge.
// MS-SMB2 3.3.4.6
// LEVEL_II is taken away without asking. A durable open whose client is away cannot be asked and is closed.
pub(crate) fn break_oplock(state: &mut State, fx: &mut Effects, id: OpenId, limit: OplockLevel) -> Broken {
    let Some(open) = state.open(id) else { return Broken::Unneeded };
    if open.oplock.level <= limit {
        return Broken::Unneeded;
    }
    // Every break of an exclusive level ends at LEVEL_II or none.
    let new = limit.min(OplockLevel::LevelII);
    if open.oplock.breaking {
        if open.oplock.break_wanted > new {
            state.edit_open(id, |o| o.oplock.break_wanted = new);
        }
        return Broken::Pending;
    }
    let (file, owner, durability) = (open.file, open.owner, open.durability);
    let ack_required = open.oplock.level > OplockLevel::LevelII;
    let Some(owner) = owner else {
        match durability {
            Durability::None | Durability::V1 | Durability::V2 if ack_required => close::take(state, fx, id),
            Durability::Persistent if ack_required => {
                announce(state, fx, id, new, true);
                return Broken::Pending;
            }
            _ => {
                state.edit_open(id, |o| o.oplock = Oplock { level: new, ..Oplock::default() });
            }
        }
        file.into_iter().for_each(|f| fx.changed(f));
        return Broken::AtOnce;
    };
    fx.event(Event::OplockBreak { open: id, node: owner.node, session: owner.session, level: new, ack_required });
    file.into_iter().for_each(|f| fx.changed(f));
    if ack_required {
        announce(state, fx, id, new, durability == Durability::Persistent);
        Broken::Pending
    } else {
        state.edit_open(id, |o| o.oplock = Oplock { level: new, ..Oplock::default() });
        Broken::AtOnce
    }
}

fn announce(state: &mut State, fx: &Effects, id: OpenId, new: OplockLevel, persistent: bool) {
    let deadline = fx.now.plus(if persistent { BREAK_TIMEOUT_PERSISTENT_OPLOCK_MS } else { BREAK_TIMEOUT_MS });
    state.edit_open(id, |o| {
        o.oplock = Oplock { breaking: true, break_to: new, break_wanted: new, break_deadline: Some(deadline), ..o.oplock };
    });
}
