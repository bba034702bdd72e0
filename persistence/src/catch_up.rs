//! The events of entries that a node never saw, because a snapshot replaced them: what must be said to get from one state to the other.
//!
//! Pure. Says too much rather than too little: an event about something that its reader does not know is ignored there.

use std::collections::{BTreeMap, BTreeSet};

use persistence_model::{Event, FileKey, FileState, Lease, NodeId, NodeState, Open, Share, State};

/// The events between two states.
pub(crate) fn events_between(old: &State, new: &State) -> Vec<Event> {
    let mut events = Vec::new();
    nodes(old, new, &mut events);
    opens(old, new, &mut events);
    sessions(old, new, &mut events);
    blocks(old, new, &mut events);
    files(old, new, &mut events);
    names(old, new, &mut events);
    let due = new.due_deletes().filter(|delete| !old.due_deletes().any(|known| known == *delete));
    events.extend(due.map(|delete| Event::DeleteDue { delete: delete.clone() }));
    events
}

fn nodes(old: &State, new: &State, events: &mut Vec<Event>) {
    for was in old.nodes().filter(|was| was.is_live()) {
        if !new.node(was.id).is_some_and(|is| is.is_live() && is.incarnation == was.incarnation) {
            events.push(Event::NodeDown { node: was.id, incarnation: was.incarnation });
        }
    }
    for is in new.nodes().filter(|is| is.is_live()) {
        let was = old.node(is.id).filter(|was| was.is_live() && was.incarnation == is.incarnation);
        if was.is_none() {
            events.push(Event::NodeUp { node: is.id, incarnation: is.incarnation });
        }
        let (drained, drains) = (was.is_some_and(|was| was.state == NodeState::Draining), is.state == NodeState::Draining);
        if drained != drains {
            events.push(Event::NodeDraining { node: is.id, on: drains });
        }
        if was.is_some_and(|was| was.addresses != is.addresses) {
            events.push(Event::NodeAddresses { node: is.id });
        }
    }
}

fn blocks(old: &State, new: &State, events: &mut Vec<Event>) {
    let known = |network| old.client_blocks().any(|block| block.network == network);
    let more = new.client_blocks().filter(|block| !known(block.network));
    events.extend(more.map(|block| Event::ClientsBlocked { network: block.network }));
}

fn opens(old: &State, new: &State, events: &mut Vec<Event>) {
    for was in old.opens() {
        let is = new.open(was.id);
        let Some(owner) = was.owner else {
            if let Some(now) = is.and_then(|is| is.owner) {
                events.push(Event::OpenReclaimed { open: was.id, node: now.node });
            }
            continue;
        };
        if !is.is_some_and(|is| is.is_owned_by(owner.incarnation)) {
            events.push(Event::OpenTaken { open: was.id, node: owner.node, incarnation: owner.incarnation });
        }
    }
    for is in new.opens().filter(|is| is.oplock.breaking) {
        let known = old.open(is.id).is_some_and(|was| was.oplock.breaking && was.oplock.break_to == is.oplock.break_to);
        if let Some(owner) = is.owner.filter(|_| !known) {
            let (open, node, session, level) = (is.id, owner.node, owner.session, is.oplock.break_to);
            events.push(Event::OplockBreak { open, node, session, level, ack_required: true });
        }
    }
}

fn sessions(old: &State, new: &State, events: &mut Vec<Event>) {
    let ended = old.sessions().filter(|was| new.session(was.id).is_none());
    events.extend(ended.map(|was| Event::SessionEnded { session: was.id, node: was.node }));
}

fn files(old: &State, new: &State, events: &mut Vec<Event>) {
    for is in new.files() {
        let was = old.file(&is.key);
        for lease in is.leases.values().filter(|lease| lease.breaking) {
            let before = was.and_then(|was| was.leases.get(&lease.id));
            if !before.is_some_and(|before| before.breaking && before.epoch == lease.epoch && before.break_to == lease.break_to) {
                events.push(lease_break(new, is.key, lease));
            }
        }
    }
    let keys: BTreeSet<FileKey> = old.files().chain(new.files()).map(|file| file.key).collect();
    let changed = keys.into_iter().filter(|key| old.file(key) != new.file(key) || opens_differ(old, new, old.file(key)));
    events.extend(changed.map(|file| Event::FileChanged { file }));
}

fn opens_differ(old: &State, new: &State, file: Option<&FileState>) -> bool {
    file.is_some_and(|file| file.opens.iter().any(|open| old.open(*open) != new.open(*open)))
}

fn lease_break(state: &State, file: FileKey, lease: &Lease) -> Event {
    let owner = |open: &Open| open.owner.map(|owner| owner.node);
    let nodes: BTreeSet<NodeId> = lease.opens.iter().filter_map(|open| state.open(*open).and_then(owner)).collect();
    Event::LeaseBreak {
        lease: lease.id,
        file,
        nodes: nodes.into_iter().collect(),
        current: lease.state,
        new: lease.break_to,
        epoch: lease.epoch,
        ack_required: true,
    }
}

fn names(old: &State, new: &State, events: &mut Vec<Event>) {
    if old.settings() != new.settings() {
        events.push(Event::SettingsChanged);
    }
    let shares = |state: &State| state.shares().map(|share| (share.id, share.clone())).collect::<BTreeMap<_, _>>();
    let (was, is) = (shares(old), shares(new));
    let ids: BTreeSet<_> = was.keys().chain(is.keys()).copied().collect();
    for id in ids {
        let (was, is) = (was.get(&id), is.get(&id));
        // Another owner alone leaves the share as it is.
        let owner = was.zip(is).and_then(|(was, is)| is.owner.filter(|owner| Some(*owner) != was.owner));
        let same = |share: &Share| Share { owner: None, ..share.clone() };
        if was.map(same) != is.map(same) || (was != is && owner.is_none()) {
            events.push(Event::ShareChanged { share: id });
        }
        events.extend(owner.map(|owner| Event::ShareMoved { share: id, owner }));
    }
    let users = |state: &State| state.users().map(|user| (user.name.clone(), user.clone())).collect::<BTreeMap<_, _>>();
    events.extend(differing(&users(old), &users(new)).map(|name| Event::UserChanged { name }));
    let groups = |state: &State| state.groups().map(|group| (group.name.clone(), group.clone())).collect::<BTreeMap<_, _>>();
    events.extend(differing(&groups(old), &groups(new)).map(|name| Event::GroupChanged { name }));
}

/// The names under which there was something else before, ascending.
fn differing<'a, T: PartialEq>(was: &'a BTreeMap<String, T>, is: &'a BTreeMap<String, T>) -> impl Iterator<Item = String> + use<'a, T> {
    let names: BTreeSet<&String> = was.keys().chain(is.keys()).collect();
    names.into_iter().filter(|name| was.get(*name) != is.get(*name)).cloned()
}
