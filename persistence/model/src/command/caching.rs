//! BreakForIo, LeaseAck, OplockAck, BreakUndeliverable, DirectoryChanged: what becomes of caches.

use smb_types::{ClientGuid, LeaseKey, LeaseState, NtStatus, OplockLevel};

use crate::arbiter::{breaks, close};
use crate::command::{BreakTarget, IoKind};
use crate::effects::{Effects, Step, owned, refuse, reject};
use crate::event::Event;
use crate::id::{FileKey, Incarnation, LeaseId, OpenId};
use crate::outcome::{Outcome, Rejection};
use crate::record::{Durability, Oplock};
use crate::state::State;

pub(crate) fn break_for_io(state: &mut State, fx: &mut Effects, file: FileKey, by_open: Option<OpenId>, kind: IoKind) -> Step {
    if let Some(owner) = by_open.and_then(|id| state.open(id)).and_then(|o| o.owner) {
        fx.proposed_by(owner.node);
    }
    let wait = breaks::break_for(state, fx, file, by_open, kind);
    // Nodes with readers of this file must know that their clients' caches are void before the data changes.
    fx.interest_in(state, file);
    Ok(if wait { Outcome::MustWait { file } } else { Outcome::Done })
}

// MS-SMB2 3.3.5.22.2
// An acknowledgement may keep less than was offered, never more. What became necessary meanwhile follows as a second break.
pub(crate) fn lease_ack(state: &mut State, fx: &mut Effects, client_guid: ClientGuid, key: LeaseKey, kept: LeaseState) -> Step {
    let id = LeaseId { client_guid, key };
    let files: Vec<FileKey> = state.files_of_lease(id).map(|f| f.key).collect();
    if files.is_empty() {
        return refuse(NtStatus::OBJECT_NAME_NOT_FOUND);
    }
    let breaking = files.into_iter().find(|f| state.lease(f, id).is_some_and(|l| l.breaking));
    let Some((file, lease)) = breaking.and_then(|f| Some((f, state.lease(&f, id)?))) else { return refuse(NtStatus::UNSUCCESSFUL) };
    if !kept.without(lease.break_to).is_empty() {
        return refuse(NtStatus::REQUEST_NOT_ACCEPTED);
    }
    // Without R the other two mean nothing.
    let kept = if kept.contains(LeaseState::READ) { kept } else { LeaseState::NONE };
    let wanted = lease.break_wanted;
    state.edit_file(file, |f| f.leases.get_mut(&id).map(|l| breaks::settle(l, kept)));
    fx.changed(file);
    breaks::follow_up(state, fx, file, id, wanted);
    Ok(Outcome::LeaseAcked { state: kept })
}

// MS-SMB2 3.3.5.22.1
// Whoever acknowledges something that makes no sense loses the oplock.
pub(crate) fn oplock_ack(state: &mut State, fx: &mut Effects, id: OpenId, level: OplockLevel, by: Incarnation) -> Step {
    let open = owned(state, fx, id, by)?;
    let oplock = open.oplock;
    if !oplock.breaking {
        // windows: not INVALID_DEVICE_STATE; nobody answers a break that wants no answer.
        return refuse(NtStatus::INVALID_OPLOCK_PROTOCOL);
    }
    open.file.into_iter().for_each(|f| fx.changed(f));
    let valid = match oplock.level {
        OplockLevel::Batch => level != OplockLevel::Batch,
        OplockLevel::Exclusive => level <= OplockLevel::LevelII,
        OplockLevel::LevelII | OplockLevel::None => level == OplockLevel::None,
    };
    // BATCH acknowledged as EXCLUSIVE ends as none.
    let kept = if valid && level != OplockLevel::Exclusive { level.min(oplock.break_to) } else { OplockLevel::None };
    let level = kept.min(oplock.break_wanted);
    state.edit_open(id, |o| o.oplock = Oplock { level, ..Oplock::default() });
    if !valid {
        return refuse(NtStatus::INVALID_OPLOCK_PROTOCOL);
    }
    if let Some(owner) = open.owner.filter(|_| level < kept) {
        fx.event(Event::OplockBreak { open: id, node: owner.node, session: owner.session, level, ack_required: false });
    }
    Ok(Outcome::OplockAcked { level: kept })
}

// MS-SMB2 3.3.4.6, 3.3.4.7
// Nobody hears the announcement: what has no promise is closed, so that whoever waits can go on.
pub(crate) fn undeliverable(state: &mut State, fx: &mut Effects, target: BreakTarget) -> Step {
    match target {
        BreakTarget::Lease(id) => {
            let breaking: Vec<FileKey> =
                state.files_of_lease(id).filter(|f| f.leases.get(&id).is_some_and(|l| l.breaking)).map(|f| f.key).collect();
            if breaking.is_empty() {
                return reject(Rejection::NoSuchRecord);
            }
            for file in breaking {
                breaks::lease_undeliverable(state, fx, file, id);
            }
        }
        BreakTarget::Open(id) => {
            let Some(open) = state.open(id).filter(|o| o.oplock.breaking) else { return reject(Rejection::NoSuchRecord) };
            let (level, file) = (open.oplock.break_wanted, open.file);
            match open.durability {
                Durability::None | Durability::V1 | Durability::V2 => close::take(state, fx, id),
                Durability::Resilient => {
                    state.edit_open(id, |o| o.oplock = Oplock { level, ..Oplock::default() });
                }
                // Told when its client is back, or given up by the timer.
                Durability::Persistent => {}
            }
            file.into_iter().for_each(|f| fx.changed(f));
        }
    }
    Ok(Outcome::Done)
}

// MS-FSA 2.1.4.12
// A directory's content has changed: nobody may go on listing it from memory, but who did it under the directory's own lease knows already.
// windows: the keys alone are compared, not the clients.
pub(crate) fn directory_changed(state: &mut State, fx: &mut Effects, parent: FileKey, by: Option<LeaseId>) -> Step {
    for id in breaks::lease_ids(state, parent) {
        if by.is_none_or(|by| by.key != id.key) {
            breaks::break_lease(state, fx, parent, id, LeaseState::NONE);
        }
    }
    Ok(Outcome::Done)
}
