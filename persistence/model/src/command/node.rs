//! NodeJoin, NodeDown, NodeDrain, NodeRemove, NodeListen: the lives of nodes.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;

use crate::arbiter::close::{self, Loss, Lost};
use crate::effects::{Effects, Step, live, reject};
use crate::event::Event;
use crate::id::{FileKey, Incarnation, NodeId, OpenId, SessionId};
use crate::outcome::{Outcome, Rejection};
use crate::record::{Node, NodeAddresses, NodeState};
use crate::state::{RecordKey, State};

/// More nodes than any Raft group should have.
const NODES_MAX: usize = 64;
/// More addresses for its clients than any node has.
const SMB_ADDRESSES_MAX: usize = 64;

pub(crate) fn join(state: &mut State, fx: &mut Effects, id: NodeId, name: &str, addresses: &NodeAddresses, boot_id: &str) -> Step {
    fx.proposed_by(id);
    if !state.nodes.contains_key(&id) && state.nodes.len() >= NODES_MAX {
        return reject(Rejection::LimitReached);
    }
    if name.is_empty() || name.len() > 255 {
        return reject(Rejection::InvalidName);
    }
    if state.node(id).is_some_and(Node::is_live) {
        end_life(state, fx, id);
    }
    end_part(state, fx, id, usize::MAX);
    let cluster = state.cluster.as_mut().expect("apply has checked that the cluster exists");
    let incarnation = Incarnation(cluster.next_incarnation);
    cluster.next_incarnation += 1;
    // Ids given out since the last synced entry may be forgotten by all nodes at once; the next life starts above any of them.
    cluster.next_open = cluster.next_open.max(incarnation.0 << 32 | 1);
    state.touch(RecordKey::Cluster);
    let (name, boot_id, since) = (name.to_owned(), boot_id.to_owned(), fx.now);
    let node = Node { id, incarnation, name, addresses: addresses.clone(), state: NodeState::Up, boot_id, since };
    state.nodes.insert(id, node);
    state.touch(RecordKey::Node(id));
    fx.event(Event::NodeUp { node: id, incarnation });
    hand_out_deletes(state, fx, Some(id));
    Ok(Outcome::Joined { incarnation })
}

pub(crate) fn down(state: &mut State, fx: &mut Effects, id: NodeId, incarnation: Incarnation) -> Step {
    match state.node(id) {
        None => reject(Rejection::NoSuchNode),
        Some(n) if n.incarnation != incarnation || !n.is_live() => reject(Rejection::StaleIncarnation),
        Some(_) => {
            end_life(state, fx, id);
            Ok(Outcome::Done)
        }
    }
}

/// As [`down`], for so many opens at once; the rest has its turn when it is said again.
pub(crate) fn end(state: &mut State, fx: &mut Effects, id: NodeId, incarnation: Incarnation, at_most: u32) -> Step {
    match state.node(id) {
        None => return reject(Rejection::NoSuchNode),
        Some(n) if n.incarnation != incarnation => return reject(Rejection::StaleIncarnation),
        Some(n) if !n.is_live() && !state.is_ending(id) => return reject(Rejection::StaleIncarnation),
        Some(n) if n.is_live() => declare(state, fx, id),
        Some(_) => {}
    }
    end_part(state, fx, id, usize::try_from(at_most.max(1)).unwrap_or(usize::MAX));
    Ok(Outcome::Done)
}

pub(crate) fn drain(state: &mut State, fx: &mut Effects, id: NodeId, on: bool) -> Step {
    let now = fx.now;
    match state.nodes.get_mut(&id) {
        None => return reject(Rejection::NoSuchNode),
        Some(n) if !n.is_live() => return reject(Rejection::StaleIncarnation),
        Some(n) => {
            let wanted = if on { NodeState::Draining } else { NodeState::Up };
            if n.state == wanted {
                return Ok(Outcome::Done);
            }
            (n.state, n.since) = (wanted, now);
        }
    }
    state.touch(RecordKey::Node(id));
    fx.event(Event::NodeDraining { node: id, on });
    Ok(Outcome::Done)
}

/// A living node gains and loses addresses. Said twice, it is done once.
pub(crate) fn listen(state: &mut State, fx: &mut Effects, id: NodeId, by: Incarnation, add: &[SocketAddr], remove: &[SocketAddr]) -> Step {
    live(state, fx, id, by)?;
    // Whatever the port: clients and witnesses know a node by its address alone.
    let others = state.nodes().filter(|n| n.id != id && n.is_live());
    if others.flat_map(|n| &n.addresses.smb).any(|taken| add.iter().any(|wished| wished.ip().to_canonical() == taken.ip().to_canonical())) {
        return reject(Rejection::Exists);
    }
    let node = state.nodes.get_mut(&id).expect("a node that lives has a record");
    let mut smb: Vec<SocketAddr> = node.addresses.smb.iter().filter(|address| !remove.contains(address)).copied().collect();
    for address in add {
        if !smb.contains(address) && !remove.contains(address) {
            smb.push(*address);
        }
    }
    if smb.is_empty() {
        return reject(Rejection::LastAddress);
    }
    if smb.len() > SMB_ADDRESSES_MAX {
        return reject(Rejection::LimitReached);
    }
    if node.addresses.smb != smb {
        node.addresses.smb = smb;
        state.touch(RecordKey::Node(id));
        fx.event(Event::NodeAddresses { node: id });
    }
    Ok(Outcome::Done)
}

pub(crate) fn remove(state: &mut State, id: NodeId) -> Step {
    match state.node(id) {
        None => return reject(Rejection::NoSuchNode),
        Some(n) if n.is_live() || state.is_ending(id) => return reject(Rejection::NodeIsLive),
        Some(_) => {}
    }
    state.nodes.remove(&id);
    state.touch(RecordKey::Node(id));
    Ok(Outcome::Done)
}

/// A node's life is over: what may outlive it is detached, the rest closed, its sessions are gone, its duties go to others.
fn end_life(state: &mut State, fx: &mut Effects, id: NodeId) {
    mark_down(state, fx, id);
    let opens: Vec<OpenId> = state.opens_of_node(id).map(|o| o.id).collect();
    for open in opens {
        end_open(state, fx, open);
    }
    let sessions: Vec<SessionId> = state.sessions_of_node(id).map(|s| s.id).collect();
    for session in sessions {
        end_session(state, fx, session, id);
    }
    hand_out_deletes(state, fx, None);
}

/// Nothing that this life proposes counts any more; its duties go to others.
fn declare(state: &mut State, fx: &mut Effects, id: NodeId) {
    mark_down(state, fx, id);
    hand_out_deletes(state, fx, None);
}

fn mark_down(state: &mut State, fx: &mut Effects, id: NodeId) {
    let now = fx.now;
    let Some(node) = state.nodes.get_mut(&id) else { return };
    (node.state, node.since) = (NodeState::Down, now);
    let incarnation = node.incarnation;
    state.touch(RecordKey::Node(id));
    fx.event(Event::NodeDown { node: id, incarnation });
}

/// Of a life that is over, so many opens are detached or closed, the oldest first, and sessions without opens removed.
pub(crate) fn end_part(state: &mut State, fx: &mut Effects, id: NodeId, at_most: usize) {
    for open in oldest_opens(state, id, at_most) {
        end_open(state, fx, open);
    }
    let empty = state.sessions_of_node(id).map(|s| s.id).filter(|s| state.opens_of_session(*s).next().is_none());
    for session in empty.take(at_most).collect::<Vec<_>>() {
        end_session(state, fx, session, id);
    }
}

/// The oldest opens of a node, of all its sessions.
fn oldest_opens(state: &State, node: NodeId, at_most: usize) -> Vec<OpenId> {
    let mut sessions: Vec<_> = state.sessions_of_node(node).map(|s| state.opens_of_session(s.id).map(|o| o.id)).collect();
    let mut next: BinaryHeap<Reverse<(OpenId, usize)>> =
        sessions.iter_mut().enumerate().filter_map(|(at, opens)| Some(Reverse((opens.next()?, at)))).collect();
    let mut oldest = Vec::new();
    while oldest.len() < at_most
        && let Some(Reverse((open, at))) = next.pop()
    {
        oldest.push(open);
        next.extend(sessions[at].next().map(|open| Reverse((open, at))));
    }
    oldest
}

/// A session whose life is over has lost its last open.
pub(crate) fn end_session(state: &mut State, fx: &mut Effects, session: SessionId, node: NodeId) {
    assert!(state.opens_of_session(session).next().is_none(), "no open is left with a dead session");
    state.remove_session(session);
    fx.event(Event::SessionEnded { session, node });
}

/// An open loses the life that had it. Its time without a client counts from the end of that life, whenever it has its turn.
pub(crate) fn end_open(state: &mut State, fx: &mut Effects, open: OpenId) {
    let owner = state.open(open).and_then(|o| o.owner);
    let Some(since) = owner.and_then(|w| state.node(w.node)).map(|n| n.since) else { return };
    let now = std::mem::replace(&mut fx.now, since);
    let lost = close::lose(state, fx, open, Loss::Connection, None);
    fx.now = now;
    if let Lost::Closed(Some(delete)) = lost {
        fx.event(Event::DeleteDue { delete });
    }
}

/// Files to remove whose node is dead, or has just been born anew, get a living one.
fn hand_out_deletes(state: &mut State, fx: &mut Effects, joined: Option<NodeId>) {
    let Some(heir) = joined.or_else(|| close::live_node(state)) else { return };
    let orphans: Vec<FileKey> = state
        .pending_deletes()
        .filter(|d| Some(d.node) == joined || !state.node(d.node).is_some_and(Node::is_live))
        .map(|d| d.file)
        .collect();
    for file in orphans {
        let Some(delete) = state.pending_deletes.get_mut(&file) else { continue };
        delete.node = heir;
        let delete = delete.clone();
        state.touch(RecordKey::PendingDelete(file));
        if state.is_due(&delete) {
            fx.event(Event::DeleteDue { delete });
        }
    }
}
