//! How opens end or outlive their connection (MS-SMB2 3.3.4.17, 3.3.7.1): closing, taking away, detaching, attaching.

use std::sync::Arc;

use smb_types::{LeaseState, OplockLevel};

use crate::arbiter::breaks;
use crate::effects::{Effects, file_of};
use crate::event::Event;
use crate::id::{LogTime, NodeId, OpenId};
use crate::record::{Away, Durability, NodeState, Open, OpenState, Owner, PendingDelete};
use crate::state::{RecordKey, State};

/// Why an open lost its session; decides what a durable one has to hold to be kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Loss {
    /// Connection or node.
    Connection,
    /// LOGOFF or a newer session.
    Logoff,
    /// An operator has ended it: nothing is kept.
    Operator,
}

/// Closes an open for good; gives what `node` (or, without one, any live node) has to remove from the backend now.
// MS-FSA 2.1.5.4
// Delete-on-close marks the file; the file goes with its last open, whoever's that is, and with the last open of its streams.
pub(crate) fn close(state: &mut State, fx: &mut Effects, id: OpenId, node: Option<NodeId>) -> Option<PendingDelete> {
    let open = state.remove_open(id)?;
    let key = open.file?;
    fx.changed(key);
    let marks = open.delete_on_close && open.state == OpenState::Open;
    let (last, newly_marked) = state.edit_file(key, |f| {
        assert!(f.opens.remove(&id), "a file lists its opens");
        if let Some(lease) = open.lease.and_then(|l| f.leases.get_mut(&l)) {
            lease.opens.remove(&id);
        }
        f.leases.retain(|l| !l.opens.is_empty());
        let newly = marks && !f.delete_pending;
        f.delete_pending |= marks;
        (f.opens.is_empty(), newly)
    })?;
    if !last {
        if newly_marked {
            for lease in breaks::lease_ids(state, key) {
                breaks::break_lease(state, fx, key, lease, LeaseState::RW);
            }
        }
        return None;
    }
    let file = state.remove_file(key)?;
    // The file itself may have waited for its streams. It keeps the node that it had, which hears of it.
    let waited = state.pending_deletes.get(&key.unnamed()).filter(|delete| key != key.unnamed() && state.is_due(delete));
    if let Some(delete) = waited.cloned() {
        fx.event(Event::DeleteDue { delete });
    }
    if !file.delete_pending {
        return None;
    }
    let node = node.or_else(|| live_node(state)).or(open.owner.map(|o| o.node)).unwrap_or_default();
    let delete = PendingDelete { file: key, share: open.share, path: open.path.to_string(), is_directory: file.is_directory, node };
    state.pending_deletes.insert(key, delete.clone());
    state.touch(RecordKey::PendingDelete(key));
    state.is_due(&delete).then_some(delete)
}

/// Closes an open on somebody else's behalf: its node is told, and so is the node that has to remove the file.
pub(crate) fn take(state: &mut State, fx: &mut Effects, id: OpenId) {
    if let Some(owner) = state.open(id).and_then(|o| o.owner) {
        fx.event(Event::OpenTaken { open: id, node: owner.node, incarnation: owner.incarnation });
        fx.interest(owner.node);
    }
    if let Some(delete) = close(state, fx, id, None) {
        fx.event(Event::DeleteDue { delete });
    }
}

/// The node that does what nobody in particular has to do: the first that is up, else the first that lives.
pub(crate) fn live_node(state: &State) -> Option<NodeId> {
    let up = state.nodes().find(|n| n.state == NodeState::Up);
    up.or_else(|| state.nodes().find(|n| n.is_live())).map(|n| n.id)
}

/// Tells whether an open outlives its session.
// MS-SMB2 3.3.7.1, 3.3.5.6
// Resilient and persistent opens always; durable ones at a connection's loss only with BATCH, or with a lease with H, that is not being broken.
// windows: durable ones with byte-range locks only if their client has the file for itself, so that nobody relies on the locks meanwhile.
fn outlives(state: &State, open: &Open, loss: Loss) -> bool {
    if loss == Loss::Operator {
        return false;
    }
    let lease = open.lease.and_then(|id| state.lease(&file_of(open), id));
    let shared = lease.is_some_and(|l| !l.state.contains(LeaseState::WRITE));
    match open.durability {
        Durability::None => false,
        Durability::Persistent | Durability::Resilient => true,
        Durability::V1 | Durability::V2 if shared && !open.locks.is_empty() => false,
        Durability::V1 | Durability::V2 if loss == Loss::Logoff => true,
        Durability::V1 | Durability::V2 => match open.lease {
            Some(id) => state.lease(&file_of(open), id).is_some_and(|l| l.state.contains(LeaseState::HANDLE) && !l.breaking),
            None => open.oplock.level == OplockLevel::Batch && !open.oplock.breaking,
        },
    }
}

/// Tells whether an open's node is dead and the open will be closed for that when it has its turn: it is in nobody's way any more.
pub(crate) fn goes_with_its_node(state: &State, open: &Open) -> bool {
    open.owner.is_some_and(|w| state.is_over(&w)) && open.state == OpenState::Open && !outlives(state, open, Loss::Connection)
}

/// What became of an open that lost its session.
pub(crate) enum Lost {
    /// It waits for its client.
    Detached,
    /// It is closed.
    Closed(Option<PendingDelete>),
}

/// Who is to come back for an open that loses its session now.
fn away_since(state: &State, open: &Open, since: LogTime) -> Away {
    let session = open.owner.and_then(|owner| state.session(owner.session));
    Away {
        since,
        node: open.owner.map(|owner| owner.node).unwrap_or_default(),
        user_name: session.map_or_else(|| "".into(), |session| Arc::clone(&session.user_name)),
        client_address: session.map_or_else(|| "".into(), |session| Arc::clone(&session.client_address)),
    }
}

/// An open loses its session: it is detached or closed, by what it was promised. A reservation for a persistent open waits for its replay.
pub(crate) fn lose(state: &mut State, fx: &mut Effects, id: OpenId, loss: Loss, node: Option<NodeId>) -> Lost {
    let Some(open) = state.open(id) else { return Lost::Closed(None) };
    let keep = match open.state {
        OpenState::Reserved => open.class == crate::class::Class::Persistent && loss != Loss::Operator,
        OpenState::Open => outlives(state, open, loss),
    };
    if !keep {
        return Lost::Closed(close(state, fx, id, node));
    }
    let (file, lease) = (open.file, open.lease);
    let away = Box::new(away_since(state, open, fx.now));
    state.edit_open(id, |o| (o.owner, o.away) = (None, Some(away)));
    let Some(key) = file else { return Lost::Detached };
    fx.changed(key);
    if let Some(l) = lease.and_then(|l| state.lease(&key, l)).filter(|l| l.breaking)
        && breaks::lease_nodes(state, l).is_empty()
    {
        let lease = l.id;
        breaks::lease_undeliverable(state, fx, key, lease);
    }
    match state.open(id) {
        Some(_) => Lost::Detached,
        None => Lost::Closed(None),
    }
}

/// An open finds a session again; breaks that its client has not heard of are announced now.
pub(crate) fn attach(state: &mut State, fx: &mut Effects, id: OpenId, owner: Owner) {
    let now = fx.now;
    let Some(open) = state.open(id) else { return };
    let (file, lease, oplock) = (open.file, open.lease, open.oplock);
    state.edit_open(id, |o| (o.owner, o.away) = (Some(owner), None));
    fx.event(Event::OpenReclaimed { open: id, node: owner.node });
    if oplock.breaking {
        fx.event(Event::OplockBreak { open: id, node: owner.node, session: owner.session, level: oplock.break_to, ack_required: true });
        state.edit_open(id, |o| o.oplock.break_deadline = Some(now.plus(breaks::BREAK_TIMEOUT_PERSISTENT_OPLOCK_MS)));
    }
    let Some(key) = file else { return };
    fx.changed(key);
    fx.interest_in(state, key);
    let Some(l) = lease.and_then(|l| state.lease(&key, l)).filter(|l| l.notification_pending) else { return };
    // What was needed while the client was away goes into one announcement.
    let (lease, current, new, epoch) = (l.id, l.state, l.break_to & l.break_wanted, l.epoch);
    fx.event(Event::LeaseBreak { lease, file: key, nodes: vec![owner.node], current, new, epoch, ack_required: true });
    state.edit_file(key, |f| {
        if let Some(l) = f.leases.get_mut(&lease) {
            (l.notification_pending, l.break_to, l.break_wanted) = (false, new, new);
            l.break_deadline = Some(now.plus(breaks::BREAK_TIMEOUT_PERSISTENT_LEASE_MS));
        }
    });
}

/// Gives a reservation's place back. Others may have marked the file meanwhile: then its node has to remove it.
pub(crate) fn take_back(state: &mut State, fx: &mut Effects, id: OpenId, node: NodeId) {
    if let Some(delete) = close(state, fx, id, Some(node)) {
        fx.event(Event::DeleteDue { delete });
    }
}
