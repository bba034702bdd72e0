//! Which commit class a command needs. Every one of them is argued in `docs/decisions/0005-class-of-each-command.md`.
//!
//! What a command promises to its own client has the class of that client's open. What it takes from somebody else has the class of the open that loses it:
//! a client that was promised to find everything as it left it must never be told of a state that others have already gone beyond. What a client gives back
//! itself may be forgotten: the record then says more than the client has, and nobody else was given it.

use smb_types::{LeaseState, OplockLevel};

use super::{BreakTarget, Command, DisconnectReason, IoKind, OpenRequest, ReclaimKind, RequestedDurability, RequestedOplock, ending};
use crate::arbiter::{breaks, share_mode};
use crate::class::Class;
use crate::id::{FileKey, LeaseId, OpenId, SessionId, fold_path};
use crate::record::{Lease, Open, OpenState};
use crate::state::State;

impl Command {
    /// The class of commit that the answer to this command must wait for.
    #[must_use]
    pub fn class(&self, state: &State) -> Class {
        self.own_class(state).max(ending::class(state, self))
    }

    fn own_class(&self, state: &State) -> Class {
        let of_open = |id: &OpenId| state.open(*id).map_or(Class::Volatile, |o| o.class);
        match self {
            Self::ClusterInit { .. } | Self::NodeJoin { .. } | Self::NodeDrain { .. } | Self::NodeRemove { .. } => Class::Persistent,
            Self::NodeDown { .. } | Self::NodeEnd { .. } => Class::Persistent,
            // Clients were told to go there, or that they are not reached here any more.
            Self::AsymmetricShareAdd { .. } | Self::ShareMove { .. } | Self::NodeListen { .. } => Class::Persistent,
            Self::ShareAdd { .. } | Self::ShareChange { .. } | Self::ShareRemove { .. } => Class::Persistent,
            Self::UserAdd { .. } | Self::UserSetPassword { .. } | Self::UserEnable { .. } | Self::UserRemove { .. } => Class::Persistent,
            Self::UserMap { .. } | Self::GroupAdd { .. } | Self::GroupChange { .. } => Class::Persistent,
            Self::GroupRemove { .. } | Self::GroupMember { .. } => Class::Persistent,
            Self::TokenAdd { .. } | Self::TokenUse { .. } => Class::Persistent,
            Self::AdminTokenAdd(_) | Self::AdminTokenRemove { .. } => Class::Persistent,
            // Takes what was promised, and its client may come back.
            Self::SessionClose { .. } | Self::OpenClose { .. } | Self::ClientBlock { .. } | Self::ClientUnblock { .. } => Class::Persistent,
            Self::ClusterSet { .. } | Self::UserUnlock { .. } => Class::Persistent,
            // Forgotten, somebody has a few more tries, or a few less.
            Self::LogonFailed { .. } | Self::LogonSucceeded { .. } => Class::Volatile,
            // Takes from clients that are away or silent, and they may come back.
            Self::Expire | Self::ExpireSome { .. } => Class::Persistent,
            Self::OpenFile(r) | Self::ReserveOpen(r) => requested(state, r).max(changed_by_create(state, r, r.file, None)),
            Self::ConfirmOpen { open, file, .. } => {
                let request = state.open(*open).and_then(|o| o.request.as_deref());
                of_open(open).max(request.map_or(Class::Volatile, |r| changed_by_create(state, r, Some(*file), Some(*open))))
            }
            Self::Lock { open, .. } => of_open(open).max(taken_by_io_of(state, *open, IoKind::Lock)),
            // A lock that its client believes free would block others as long as the handle lives, and no timer would end that.
            Self::Unlock { open, .. } => of_open(open),
            Self::RenameIntent { open, target, .. } => {
                let moved = moved_by_rename(state, *open);
                let replaced = target.map_or(Class::Volatile, |t| taken(state, t, None, None, LeaseState::RW, |level| level));
                moved.max(replaced).max(taken_by_io_of(state, *open, IoKind::Rename))
            }
            Self::RenameDone { open, done: true, .. } => moved_by_rename(state, *open),
            Self::RenameDone { open, done: false, .. } => of_open(open),
            // The stronger of the two: promised before, and promised from now on.
            Self::SetOpenClass { open, class, .. } => of_open(open).max(*class),
            // A delete on a continuously available share is a change of the name space that its reply promises.
            Self::SetDeletePending { open, on: true, .. } => {
                promised_delete(state, *open).max(of_open(open)).max(taken_by_io_of(state, *open, IoKind::Delete))
            }
            // Forgotten, the file would be deleted though its client has changed its mind: the mark may have come to the disk with another entry.
            Self::SetDeletePending { open, on: false, .. } => {
                let marked = state.open(*open).and_then(|o| state.file(&o.file?)).is_some_and(|f| f.delete_pending);
                if marked { Class::Persistent } else { of_open(open) }
            }
            // Forgotten, the handle's old timer would run on and end it too early.
            Self::ReclaimOpen(r) => match r.kind {
                ReclaimKind::V2 { create_guid, .. } => {
                    let named = state.opens_by_create_guid(create_guid).chain(state.open(r.open));
                    named.map(|o| of_returning(state, o)).max().unwrap_or_default()
                }
                ReclaimKind::V1 => state.open(r.open).map_or(Class::Volatile, |o| of_returning(state, o)),
            },
            Self::SetResilient { open, .. } => of_open(open).max(Class::Durable),
            // Forgotten, the break would be announced again, and a client that does not answer a second time would lose its cache without knowing.
            Self::LeaseAck { client_guid, key, .. } => {
                let id = LeaseId { client_guid: *client_guid, key: *key };
                let leases = state.files_of_lease(id).filter_map(|f| f.leases.get(&id));
                leases.map(|l| of_lease(state, l).max(taken_by_loss(state, l))).max().unwrap_or_default()
            }
            Self::OplockAck { open, .. } => of_open(open),
            Self::BreakForIo { file, by_open, kind } => taken_by_io(state, *file, *by_open, *kind),
            Self::DirectoryChanged { parent, by } => {
                let others =
                    state.file(parent).into_iter().flat_map(|f| f.leases.values()).filter(|l| by.is_none_or(|by| by.key != l.id.key));
                others.filter(|l| exceeds(l, LeaseState::NONE)).map(|l| of_lease(state, l)).max().unwrap_or_default()
            }
            Self::CloseOpen { open, .. } => {
                let marks = state.open(*open).is_some_and(marks_at_close);
                if marks { promised_delete(state, *open).max(taken_by_close(state, *open)) } else { Class::Volatile }
            }
            Self::DisconnectOpens { session, why: DisconnectReason::ConnectionLost | DisconnectReason::Logoff } => {
                taken_by_end(state, *session)
            }
            Self::DisconnectOpens { why: DisconnectReason::TreeDisconnect(opens), .. } => {
                opens.iter().map(|id| taken_by_close(state, *id)).max().unwrap_or_default()
            }
            Self::SessionOpen { previous_session, .. } => previous_session.map_or(Class::Volatile, |p| taken_by_end(state, p)),
            Self::BreakUndeliverable { target: BreakTarget::Lease(id) } => {
                let leases = state.files_of_lease(*id).filter_map(|f| f.leases.get(id));
                leases.map(|l| taken_by_loss(state, l)).max().unwrap_or_default()
            }
            Self::BreakUndeliverable { target: BreakTarget::Open(open) } => taken_by_close(state, *open),
            Self::AbortOpen { .. } | Self::DeleteDone { .. } | Self::EndReplay { .. } => Class::Volatile,
        }
    }
}

/// What the client asks for, as far as the share can give it; or what it had asked for, when it repeats itself.
fn requested(state: &State, r: &OpenRequest) -> Class {
    let first = r.create_guid.filter(|_| r.replay).and_then(|guid| state.opens_by_create_guid(guid).map(|o| of_returning(state, o)).max());
    let now = match r.durability {
        RequestedDurability::Persistent { .. } if state.share(r.share).is_some_and(|s| s.settings.ca) => Class::Persistent,
        RequestedDurability::None => Class::Volatile,
        RequestedDurability::V1 | RequestedDurability::V2 { .. } | RequestedDurability::Persistent { .. } => Class::Durable,
    };
    now.max(first.unwrap_or_default())
}

fn of_lease(state: &State, lease: &Lease) -> Class {
    lease.opens.iter().filter_map(|id| state.open(*id)).map(|o| o.class).max().unwrap_or_default()
}

/// An open that finds its client again: a break that has waited is announced, to all that share the lease.
fn of_returning(state: &State, o: &Open) -> Class {
    let lease = o.file.and_then(|file| state.lease(&file, o.lease?));
    lease.map_or(o.class, |l| of_lease(state, l).max(o.class))
}

/// Tells whether a lease would shrink, or be asked to, to come within a limit.
fn exceeds(lease: &Lease, limit: LeaseState) -> bool {
    let state = if lease.breaking { lease.break_wanted } else { lease.state };
    !state.without(limit).is_empty()
}

/// The strongest promise among the caches of others that would shrink, or be asked to.
fn taken(
    state: &State,
    file: FileKey,
    own_lease: Option<LeaseId>,
    own: Option<OpenId>,
    limit: LeaseState,
    oplock_limit: impl Fn(OplockLevel) -> OplockLevel,
) -> Class {
    let Some(f) = state.file(&file) else { return Class::Volatile };
    // What is closed on the way because its client cannot be asked may mark the file for deletion.
    let may_mark = f.opens.iter().filter_map(|id| state.open(*id)).any(|o| o.is_detached() && marks_at_close(o));
    let shrinks = |l: &&Lease| (Some(l.id) != own_lease && exceeds(l, limit)) || (may_mark && exceeds(l, LeaseState::RW));
    let leases = f.leases.values().filter(shrinks).map(|l| of_lease(state, l));
    let plain = f.opens.iter().filter(|id| Some(**id) != own).filter_map(|id| state.open(*id));
    let plain = plain.filter(|o| o.oplock.level > oplock_limit(o.oplock.level)).map(|o| o.class);
    leases.chain(plain).max().unwrap_or_default()
}

fn taken_by_io(state: &State, file: FileKey, by_open: Option<OpenId>, kind: IoKind) -> Class {
    let own = by_open.and_then(|o| state.open(o));
    let others =
        taken(state, file, own.and_then(|o| o.lease), by_open, breaks::lease_limit(kind), |level| breaks::oplock_limit_for(kind, level));
    own.filter(|o| breaks::ends_own(kind, o.oplock.level)).map_or(others, |o| others.max(o.class))
}

fn taken_by_io_of(state: &State, open: OpenId, kind: IoKind) -> Class {
    let file = state.open(open).and_then(|o| o.file);
    file.map_or(Class::Volatile, |file| taken_by_io(state, file, Some(open), kind))
}

/// What a CREATE takes: caches, handles kept only in case, the whole open of a virtual machine that has moved. And what it adds to a lease that others share.
fn changed_by_create(state: &State, r: &OpenRequest, file: Option<FileKey>, own: Option<OpenId>) -> Class {
    let path = fold_path(&r.path);
    let moved = r.app_instance.into_iter().flat_map(|app| state.opens_of_app_instance(app.id));
    let moved = moved.filter(|o| o.share == r.share && o.client_guid != r.client_guid && fold_path(&o.path) == path).map(|o| o.class).max();
    let moved = moved.unwrap_or_default();
    let Some(file) = file else { return moved };
    let (lease_limit, level) = if r.overwrites { (LeaseState::NONE, OplockLevel::None) } else { (LeaseState::RH, OplockLevel::LevelII) };
    let lease_limit = if r.disturbs_leases() { lease_limit } else { LeaseState::RWH };
    let disturbs_oplocks = r.disturbs_oplocks();
    let caches = taken(state, file, r.lease_id(), own, lease_limit, |l| if disturbs_oplocks { level } else { l });
    let wish = (r.counted_access(), r.share_access);
    let others = state.file(&file).into_iter().flat_map(|f| &f.opens).filter(|id| Some(**id) != own).filter_map(|id| state.open(*id));
    let handles = others
        .filter(|o| o.lease.is_some() && o.lease != r.lease_id() && share_mode::conflict(wish, (o.granted_access, o.share_access)))
        .filter_map(|o| state.lease(&file, o.lease?))
        .filter(|l| exceeds(l, LeaseState::RW));
    moved.max(caches).max(handles.map(|l| of_lease(state, l)).max().unwrap_or_default()).max(shared_lease(state, r, file))
}

/// A lease that grows for a new open grows for all that share it.
fn shared_lease(state: &State, r: &OpenRequest, file: FileKey) -> Class {
    let RequestedOplock::Lease(wanted) = r.oplock else { return Class::Volatile };
    let shared = r.lease_id().and_then(|id| state.lease(&file, id)).filter(|l| !wanted.state.without(l.state).is_empty());
    shared.map_or(Class::Volatile, |l| of_lease(state, l))
}

/// The strongest promise among the opens whose path a rename changes: they are found again by it.
fn moved_by_rename(state: &State, id: OpenId) -> Class {
    let Some(open) = state.open(id) else { return Class::Volatile };
    let opens = open.file.and_then(|key| state.file(&key)).into_iter().flat_map(|f| f.opens.iter().copied());
    let streams = state.opens_of_streams(open.share, &open.path);
    let beneath = if open.is_directory { state.opens_beneath(open.share, &open.path) } else { Vec::new() };
    let moved = opens.chain(streams).chain(beneath).filter_map(|id| state.open(id)).map(|o| o.class).max();
    moved.unwrap_or_default().max(open.class)
}

/// Tells whether closing it marks its file for deletion.
fn marks_at_close(o: &Open) -> bool {
    o.delete_on_close && o.state == OpenState::Open
}

/// The mark of a deletion through this open.
fn promised_delete(state: &State, open: OpenId) -> Class {
    let ca = state.open(open).and_then(|o| state.share(o.share)).is_some_and(|s| s.settings.ca);
    if ca { Class::Persistent } else { Class::Volatile }
}

/// What a close takes: handles of others that are kept only in case, when it marks the file for deletion.
fn taken_by_close(state: &State, open: OpenId) -> Class {
    let file = state.open(open).filter(|o| marks_at_close(o)).and_then(|o| o.file);
    file.map_or(Class::Volatile, |file| taken(state, file, None, Some(open), LeaseState::RW, |level| level))
}

/// What a lease takes when its opens are closed because their client cannot be reached.
fn taken_by_loss(state: &State, lease: &Lease) -> Class {
    lease.opens.iter().map(|id| taken_by_close(state, *id)).max().unwrap_or_default()
}

fn taken_by_end(state: &State, session: SessionId) -> Class {
    state.opens_of_session(session).map(|o| taken_by_close(state, o.id)).max().unwrap_or_default()
}
