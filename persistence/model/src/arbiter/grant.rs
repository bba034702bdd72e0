//! What a new open gets: lease or oplock, durability, and the answer that says so.

use std::sync::Arc;

use smb_types::{AccessMask, CreateOptions, LeaseState, OplockLevel};

use crate::class::Class;
use crate::command::{OpenRequest, RequestedDurability, RequestedLease, RequestedOplock};
use crate::effects::file_of;
use crate::id::{FileKey, LeaseId, LogTime, OpenId, ShareId};
use crate::outcome::{DurableGrant, Grant, LeaseGrant};
use crate::record::{Durability, Few, FileState, Lease, LockSequences, Open, OpenSet, OpenState, Oplock, Owner};
use crate::state::State;

/// DurableOpenTimeout of DHnQ.
pub(crate) const DURABLE_V1_TIMEOUT_MS: u32 = 120_000;
/// DurableOpenTimeout when neither the request nor the share says anything.
pub(crate) const DURABLE_TIMEOUT_DEFAULT_MS: u32 = 60_000;
/// No client gets a longer one.
pub(crate) const DURABLE_TIMEOUT_MAX_MS: u32 = 300_000;

/// The record of a request, reserved or open, with no caching and no durability yet.
pub(crate) fn record_of(state: &State, now: LogTime, id: OpenId, r: &OpenRequest, open_state: OpenState) -> Open {
    let owner = Owner { node: r.node, incarnation: r.incarnation, session: r.session };
    let ca = state.share(r.share).is_some_and(|s| s.settings.ca);
    let class = match r.durability {
        RequestedDurability::Persistent { .. } if ca => Class::Persistent,
        RequestedDurability::None => Class::Volatile,
        RequestedDurability::V1 | RequestedDurability::V2 { .. } | RequestedDurability::Persistent { .. } => Class::Durable,
    };
    Open {
        id,
        class,
        state: open_state,
        file: r.file,
        path: r.path.as_str().into(),
        pending_path: None,
        share: r.share,
        owner: Some(owner),
        create_guid: r.create_guid,
        client_guid: r.client_guid,
        user: state.session(r.session).map(|s| &s.user).filter(|u| ***u == r.user).map_or_else(|| Arc::new(r.user.clone()), Arc::clone),
        desired_access: r.desired_access,
        granted_access: r.granted_access,
        share_access: r.share_access,
        create_options: r.create_options,
        file_attributes: r.file_attributes,
        create_action: crate::record::CreateAction::Opened,
        is_directory: r.is_directory,
        oplock: Oplock::default(),
        lease: None,
        durability: Durability::None,
        timeout_ms: u64::from(timeout_ms(state, r)),
        opened_at: now,
        away: None,
        locks: Few::default(),
        lock_sequences: LockSequences::default(),
        app_instance: r.app_instance.map(Box::new),
        delete_on_close: r.create_options.contains(CreateOptions::DELETE_ON_CLOSE),
        replay_eligible: false,
        request: (open_state == OpenState::Reserved).then(|| Box::new(r.clone())),
    }
}

/// Lists an open with its file.
pub(crate) fn enlist(state: &mut State, id: OpenId, key: FileKey) {
    let Some((share, is_directory)) = state.open(id).map(|o| (o.share, o.is_directory)) else { return };
    if state.file(&key).is_none() {
        state.insert_file(FileState::new(key, share, is_directory));
    }
    state.edit_file(key, |f| f.opens.insert(id));
    state.edit_open(id, |o| o.file = Some(key));
}

/// Grants what the request asks, as far as the others allow. The open is listed with its file.
pub(crate) fn grant(state: &mut State, id: OpenId, r: &OpenRequest) {
    let Some(open) = state.open(id) else { return };
    let key = file_of(open);
    match r.oplock {
        RequestedOplock::None => {}
        RequestedOplock::Level(wanted) => {
            let level = oplock_level(state, key, id, r, wanted);
            state.edit_open(id, |o| o.oplock.level = level);
        }
        RequestedOplock::Lease(wanted) => grant_lease(state, key, id, r, wanted),
    }
    grant_durability(state, key, id, r);
}

fn timeout_ms(state: &State, r: &OpenRequest) -> u32 {
    let or = |asked: u32, default: u32| if asked == 0 { default } else { asked.min(DURABLE_TIMEOUT_MAX_MS) };
    match r.durability {
        RequestedDurability::None => 0,
        RequestedDurability::V1 => DURABLE_V1_TIMEOUT_MS,
        RequestedDurability::V2 { timeout_ms } => or(timeout_ms, DURABLE_TIMEOUT_DEFAULT_MS),
        RequestedDurability::Persistent { timeout_ms } => or(timeout_ms, persistent_timeout_ms(state, r.share)),
    }
}

/// The timeout of a persistent open that asks for none.
pub(crate) fn persistent_timeout_ms(state: &State, share: ShareId) -> u32 {
    let share = state.share(share).filter(|s| s.settings.ca).map_or(0, |s| s.settings.ca_timeout_ms);
    if share == 0 { DURABLE_TIMEOUT_DEFAULT_MS } else { share }
}

/// The opens that keep this one from caching exclusively: not its own lease's, and not those that touch no data.
fn rivals<'a>(state: &'a State, key: &FileKey, id: OpenId, lease: Option<LeaseId>) -> impl Iterator<Item = &'a Open> {
    state
        .file(key)
        .into_iter()
        .flat_map(|f| &f.opens)
        .filter(move |o| **o != id)
        .filter_map(|o| state.open(*o))
        .filter(move |o| !(o.lease.is_some() && o.lease == lease))
        .filter(|o| o.state == OpenState::Reserved || o.is_rival() || o.oplock.level > OplockLevel::None)
}

// MS-FSA 2.1.5.18.1
// EXCLUSIVE and BATCH need to be alone; LEVEL_II stands beside LEVEL_II and R, not beside RH or any write cache, nor on locked files.
fn oplock_level(state: &State, key: FileKey, id: OpenId, r: &OpenRequest, wanted: OplockLevel) -> OplockLevel {
    let scaleout = state.share(r.share).is_some_and(|s| s.settings.scaleout);
    let Some(file) = state.file(&key) else { return OplockLevel::None };
    if file.is_directory || wanted == OplockLevel::None {
        return OplockLevel::None;
    }
    let leases_in_the_way = file.leases.values().any(|l| l.state.intersects(LeaseState(LeaseState::HANDLE.0 | LeaseState::WRITE.0)));
    let any_lease = file.leases.values().any(|l| !l.state.is_empty());
    let exclusive = wanted > OplockLevel::LevelII;
    if exclusive && !scaleout && !any_lease && rivals(state, &key, id, None).next().is_none() {
        return wanted;
    }
    let in_the_way = rivals(state, &key, id, None).any(|o| o.oplock.level > OplockLevel::LevelII || !o.locks.is_empty());
    if leases_in_the_way || in_the_way { OplockLevel::None } else { OplockLevel::LevelII }
}

/// Only "", R, RW, RH and RWH exist; a request for anything else counts as none.
fn sane(state: LeaseState) -> LeaseState {
    let state = state & LeaseState::RWH;
    if state.contains(LeaseState::READ) { state } else { LeaseState::NONE }
}

// MS-SMB2 3.3.5.9.8, 3.3.5.9.11
// A lease that is there is shared; it grows when the request asks for all it has and more and nobody is in the way, and never while it is being broken.
fn grant_lease(state: &mut State, key: FileKey, id: OpenId, r: &OpenRequest, wanted: RequestedLease) {
    let lease_id = LeaseId { client_guid: r.client_guid, key: wanted.key };
    if is_used_elsewhere(state, lease_id, Some(key), &r.path) {
        return;
    }
    let limit = lease_limit(state, key, r);
    let mut ask = sane(wanted.state) & limit;
    let have = state.lease(&key, lease_id).map(|l| (l.state, l.breaking));
    match have {
        Some((_, true)) => ask = LeaseState::NONE,
        Some((held, false)) if !ask.contains(held) => ask = LeaseState::NONE,
        Some(_) | None => {}
    }
    let floor = have.map_or(LeaseState::NONE, |(held, _)| held);
    // Something is better than nothing for a new lease; one that is there grows to what is asked or not at all.
    let candidates = if floor.is_empty() {
        [ask, ask.without(LeaseState::WRITE), ask & LeaseState::READ, LeaseState::NONE]
    } else {
        [ask, LeaseState::NONE, LeaseState::NONE, LeaseState::NONE]
    };
    let granted =
        candidates.into_iter().find(|c| c.is_empty() || is_grantable(state, key, id, r, lease_id, *c)).unwrap_or(LeaseState::NONE);
    // One copy for the open and its lease.
    let path = state.open(id).map(|o| Arc::clone(&o.path)).filter(|p| **p == *r.path).unwrap_or_else(|| r.path.as_str().into());
    state.edit_file(key, |f| {
        let lease = f.leases.get_or_insert_with(lease_id, || Lease {
            id: lease_id,
            state: LeaseState::NONE,
            breaking: false,
            break_to: LeaseState::NONE,
            break_wanted: LeaseState::NONE,
            break_deadline: None,
            notification_pending: false,
            // deviation: the specification starts at 0. A client that still knows the key from before goes on from its own count, or it would take ours for old.
            epoch: wanted.epoch,
            version: wanted.version,
            parent_key: wanted.parent_key,
            path,
            opens: OpenSet::default(),
        });
        if granted.contains(floor) && granted != lease.state {
            lease.state = granted;
            lease.epoch = lease.epoch.wrapping_add(1);
        }
        lease.opens.insert(id);
    });
    state.edit_open(id, |o| o.lease = Some(lease_id));
}

/// What the kind of file and share allow at most.
// MS-SMB2 3.3.5.9
// Directories cache no writes; on a SCALEOUT share files are limited to R and directories to nothing.
fn lease_limit(state: &State, key: FileKey, r: &OpenRequest) -> LeaseState {
    let is_directory = state.file(&key).is_some_and(|f| f.is_directory);
    match (state.share(r.share).is_some_and(|s| s.settings.scaleout), is_directory) {
        (true, true) => LeaseState::NONE,
        (true, false) => LeaseState::READ,
        (false, true) => LeaseState::RH,
        (false, false) => LeaseState::RWH,
    }
}

// MS-FSA 2.1.5.18.2
// A write cache needs the file for itself; H does not go with LEVEL_II; nothing is cached beside another's write cache or another's locks.
fn is_grantable(state: &State, key: FileKey, id: OpenId, r: &OpenRequest, lease: LeaseId, ask: LeaseState) -> bool {
    let Some(file) = state.file(&key) else { return false };
    if ask.contains(LeaseState::WRITE)
        && (rivals(state, &key, id, Some(lease)).next().is_some() || file.leases.values().any(|l| l.id != lease && !l.state.is_empty()))
    {
        return false;
    }
    if ask.contains(LeaseState::HANDLE) && file.delete_pending {
        return false;
    }
    let other_writes = file.leases.values().any(|l| l.id != lease && l.state.contains(LeaseState::WRITE));
    let in_the_way = rivals(state, &key, id, Some(lease)).any(|o| {
        o.oplock.level > OplockLevel::LevelII
            || (o.oplock.level == OplockLevel::LevelII && ask.contains(LeaseState::HANDLE))
            || (!r.overwrites && locks_in_the_way(file, o))
    });
    !other_writes && !in_the_way
}

/// Tells whether an open's locks keep others from caching.
// windows: locks of a holder that caches reads itself do not, unless its handle is persistent: its locks may have to be found again.
fn locks_in_the_way(file: &FileState, o: &Open) -> bool {
    let reads = o.lease.and_then(|l| file.leases.get(&l)).is_some_and(|l| l.state.contains(LeaseState::READ));
    !o.locks.is_empty() && (o.is_persistent() || !reads)
}

/// Tells whether a client uses this lease key for a different file already.
// MS-SMB2 3.3.5.9.8
// One key, one file; a file that is being deleted does not count.
pub(crate) fn is_used_elsewhere(state: &State, lease: LeaseId, key: Option<FileKey>, path: &str) -> bool {
    state.files_of_lease(lease).any(|f| {
        let same = match key {
            Some(key) => f.key == key,
            None => f.leases.get(&lease).is_some_and(|l| crate::id::fold_path(&l.path) == crate::id::fold_path(path)),
        };
        !same && !f.delete_pending
    })
}

/// Tells whether an open holds what a durable one needs.
pub(crate) fn may_be_durable(state: &State, key: FileKey, open: &Open) -> bool {
    let holds = open.oplock.level == OplockLevel::Batch
        || open.lease.and_then(|l| state.lease(&key, l)).is_some_and(|l| l.state.contains(LeaseState::HANDLE));
    holds && !open.is_directory
}

// MS-SMB2 3.3.5.9.6, 3.3.5.9.10
// Persistent: the share is enough. Durable: not a directory, and BATCH or H was granted, not merely asked for.
fn grant_durability(state: &mut State, key: FileKey, id: OpenId, r: &OpenRequest) {
    let Some(open) = state.open(id) else { return };
    let ca = state.share(r.share).is_some_and(|s| s.settings.ca);
    let durable = may_be_durable(state, key, open);
    let granted = match r.durability {
        RequestedDurability::Persistent { .. } if ca => Durability::Persistent,
        RequestedDurability::V1 if durable => Durability::V1,
        RequestedDurability::V2 { .. } | RequestedDurability::Persistent { .. } if durable => Durability::V2,
        RequestedDurability::None | RequestedDurability::V1 | RequestedDurability::V2 { .. } | RequestedDurability::Persistent { .. } => {
            Durability::None
        }
    };
    // MS-SMB2 3.3.5.9.10
    // Replays are answered for persistent opens, and for files opened to do something with their data.
    const REPLAYABLE: AccessMask = AccessMask(
        AccessMask::READ_DATA.0 | AccessMask::EXECUTE.0 | AccessMask::WRITE_DATA.0 | AccessMask::APPEND_DATA.0 | AccessMask::DELETE.0,
    );
    let eligible = r.create_guid.is_some()
        && (granted == Durability::Persistent || (!open.is_directory && open.granted_access.intersects(REPLAYABLE)));
    state.edit_open(id, |o| {
        o.durability = granted;
        o.replay_eligible = eligible;
        o.class = match granted {
            Durability::None => Class::Volatile,
            Durability::Persistent => Class::Persistent,
            Durability::V1 | Durability::V2 | Durability::Resilient => Class::Durable,
        };
    });
}

/// The answer for the client that has this open.
pub(crate) fn answer(state: &State, id: OpenId) -> Grant {
    let open = state.open(id).expect("only an open that exists is granted");
    let file = file_of(open);
    let lease = open.lease.and_then(|l| state.lease(&file, l));
    let timeout = u32::try_from(open.timeout_ms).unwrap_or(u32::MAX);
    Grant {
        open: id,
        file,
        path: open.path.to_string(),
        pending_path: open.pending_path.as_ref().map(ToString::to_string),
        is_directory: open.is_directory,
        create_action: open.create_action,
        oplock: open.oplock.level,
        lease: lease.map(|l| LeaseGrant { id: l.id, state: l.state, epoch: l.epoch, break_in_progress: l.breaking, version: l.version }),
        durable: (open.durability != Durability::None).then_some(DurableGrant { kind: open.durability, timeout_ms: timeout }),
    }
}
