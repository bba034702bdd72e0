//! NodeJoin, NodeDown, NodeDrain, NodeRemove, NodeListen: the lives of nodes.

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
        Some(n) if n.is_live() => return reject(Rejection::NodeIsLive),
        Some(_) => {}
    }
    state.nodes.remove(&id);
    state.touch(RecordKey::Node(id));
    Ok(Outcome::Done)
}

/// A node's life is over: what may outlive it is detached, the rest closed, its sessions are gone, its duties go to others.
fn end_life(state: &mut State, fx: &mut Effects, id: NodeId) {
    let now = fx.now;
    let Some(node) = state.nodes.get_mut(&id) else { return };
    (node.state, node.since) = (NodeState::Down, now);
    let incarnation = node.incarnation;
    state.touch(RecordKey::Node(id));
    fx.event(Event::NodeDown { node: id, incarnation });
    let opens: Vec<OpenId> = state.opens_of_node(id).map(|o| o.id).collect();
    for open in opens {
        if let Lost::Closed(Some(delete)) = close::lose(state, fx, open, Loss::Connection, None) {
            fx.event(Event::DeleteDue { delete });
        }
    }
    let sessions: Vec<SessionId> = state.sessions_of_node(id).map(|s| s.id).collect();
    for session in sessions {
        assert!(state.opens_of_session(session).next().is_none(), "no open is left with a dead node");
        state.remove_session(session);
        fx.event(Event::SessionEnded { session, node: id });
    }
    hand_out_deletes(state, fx, None);
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
        if let Some(delete) = state.pending_deletes.get_mut(&file) {
            delete.node = heir;
            fx.event(Event::DeleteDue { delete: delete.clone() });
            state.touch(RecordKey::PendingDelete(file));
        }
    }
}
