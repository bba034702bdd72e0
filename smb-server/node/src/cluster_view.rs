//! The cluster as the witness sees it: interfaces of all nodes from the records, and their events carried to it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use persistence::{EventPosition, Scope, WatchError};
use persistence_model::{Event, Incarnation, Node, NodeId, NodeState, ShareId, State};
use tokio_util::sync::CancellationToken;
use witness::{
    WitnessService,
    cluster::{ClusterEvent, ClusterView, Interface, InterfaceState, Share},
    message::Address,
};

/// The records, looked at with the witness's eyes.
pub struct Records {
    store: persistence::Store,
    workgroup: String,
    aliases: Vec<String>,
}

impl Records {
    /// Over this node's replica.
    #[must_use]
    pub fn new(store: persistence::Store, workgroup: String, aliases: Vec<String>) -> Arc<Self> {
        Arc::new(Self { store, workgroup, aliases })
    }
}

impl ClusterView for Records {
    fn net_names(&self) -> Vec<String> {
        let name = self.store.with_state(|state| state.cluster().map(|cluster| cluster.net_name.clone()));
        let full = name.as_ref().map(|name| format!("{name}.{}", self.workgroup));
        name.into_iter().chain(full).chain(self.aliases.iter().cloned()).collect()
    }

    fn interfaces(&self) -> Vec<Interface> {
        let own = self.store.node();
        self.store.with_state(|state| {
            let mut all = Vec::new();
            for node in state.nodes() {
                let is_live = node.state != NodeState::Down;
                for address in addresses(node) {
                    let (ipv4, ipv6) = match address {
                        IpAddr::V4(v4) => (Some(v4), None),
                        IpAddr::V6(v6) => (None, Some(v6)),
                    };
                    all.push(Interface {
                        node_id: node.id.0,
                        group_name: node.name.clone(),
                        ipv4,
                        ipv6,
                        state: if is_live { InterfaceState::Available } else { InterfaceState::Unavailable },
                        local: node.id == own,
                    });
                }
            }
            all
        })
    }

    fn leave_for(&self, address: IpAddr) -> Vec<Address> {
        self.store.with_state(|state| {
            let drains = |node: &Node| node.state == NodeState::Draining && addresses(node).contains(&address);
            if !state.nodes().any(drains) {
                return Vec::new();
            }
            let others = state.nodes().filter(|node| node.state == NodeState::Up);
            let all: BTreeSet<IpAddr> = others.flat_map(addresses).collect();
            all.into_iter().map(|ip| Address { ip, is_online: true }).collect()
        })
    }

    fn shares(&self) -> Vec<Share> {
        self.store.with_state(|state| state.shares().map(|share| Share { name: share.name.clone(), sofs: is_sofs(share) }).collect())
    }

    fn owner_of(&self, share: &str) -> Vec<Address> {
        self.store.with_state(|state| {
            let owner = state.share_by_name(share).and_then(|share| state.node(share.owner?));
            let owner = owner.filter(|node| node.state == NodeState::Up);
            owner.into_iter().flat_map(addresses).map(|ip| Address { ip, is_online: true }).collect()
        })
    }
}

/// A share that one node owns is one of a scale-out server's: its clients register for it by name.
fn is_sofs(share: &persistence_model::Share) -> bool {
    share.settings.scaleout || share.owner.is_some()
}

/// The addresses at which clients reach a node.
pub(crate) fn addresses(node: &Node) -> BTreeSet<IpAddr> {
    node.addresses.smb.iter().map(|address| address.ip().to_canonical()).collect()
}

/// What the witness was told of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Told {
    incarnation: Incarnation,
    state: NodeState,
}

/// Carries the records' events to the witness.
pub struct Carrier {
    store: persistence::Store,
    told: BTreeMap<NodeId, Told>,
    /// Who owned each asymmetric share when it was last told.
    owners: BTreeMap<ShareId, NodeId>,
    from: EventPosition,
}

impl Carrier {
    /// From now on: made before the witness is, so that no event falls between the two.
    #[must_use]
    pub fn new(store: persistence::Store) -> Self {
        let ((told, owners), from) = store.with_state_at(|state, at| (look(state), at));
        Self { store, told, owners, from }
    }

    /// Carries until cancelled. Where events are missing (this node was sent a snapshot), states are compared instead: what a client has
    /// to know is told late, and not lost.
    pub async fn run(mut self, service: Arc<WitnessService>, cancel: CancellationToken) {
        let mut events = self.store.watch(self.from, Scope::News);
        loop {
            let next = tokio::select! {
                () = cancel.cancelled() => return,
                next = events.next() => next,
            };
            match next {
                Ok(placed) => self.carry(&service, &placed.event),
                Err(WatchError::Gap { .. }) => {
                    let (present, from) = self.store.with_state_at(|state, at| (look(state), at));
                    tracing::warn!(%from, "events are missing; the states of nodes are compared instead");
                    self.compare(&service, &present.0);
                    self.compare_owners(&service, present.1);
                    events = self.store.watch(from, Scope::News);
                }
                Err(WatchError::Stopped) => return,
            }
        }
    }

    fn carry(&mut self, service: &WitnessService, event: &Event) {
        match event {
            Event::NodeUp { node, incarnation } => {
                self.told.insert(*node, Told { incarnation: *incarnation, state: NodeState::Up });
                service.raise(&ClusterEvent::NodeUp { node_id: node.0 });
            }
            Event::NodeDown { node, incarnation } => {
                self.told.insert(*node, Told { incarnation: *incarnation, state: NodeState::Down });
                service.raise(&ClusterEvent::NodeDown { node_id: node.0 });
            }
            Event::NodeDraining { node, on } => {
                if let Some(told) = self.told.get_mut(node) {
                    told.state = if *on { NodeState::Draining } else { NodeState::Up };
                }
                service.raise(&ClusterEvent::NodeDraining { node_id: node.0, on: *on });
            }
            Event::NodeAddresses { node } => {
                service.raise(&ClusterEvent::NodeAddresses { node_id: node.0 });
            }
            Event::ShareMoved { share, owner } => {
                self.owners.insert(*share, *owner);
                // If it has moved on meanwhile, the event that says so is still to come.
                if self.store.with_state(|state| state.share(*share)?.owner) == Some(*owner) {
                    self.tell_owner(service, *share);
                }
            }
            Event::ShareChanged { share } => {
                let owner = self.store.with_state(|state| state.share(*share)?.owner);
                if let Some(owner) = owner {
                    self.owners.entry(*share).or_insert(owner);
                } else {
                    self.owners.remove(share);
                }
            }
            _ => {}
        }
    }

    fn tell_owner(&self, service: &WitnessService, share: ShareId) {
        // Gone meanwhile: nobody is told where it is.
        if let Some(share) = self.store.with_state(|state| state.share(share).map(|share| share.name.clone())) {
            service.raise(&ClusterEvent::ShareOwner { share });
        }
    }

    /// Raises the owners that have changed since they were last told.
    fn compare_owners(&mut self, service: &WitnessService, present: BTreeMap<ShareId, NodeId>) {
        let before = std::mem::replace(&mut self.owners, present);
        for (share, owner) in &self.owners {
            if before.get(share).is_some_and(|was| was != owner) {
                self.tell_owner(service, *share);
            }
        }
    }

    /// Raises what has changed since it was last told.
    fn compare(&mut self, service: &WitnessService, present: &BTreeMap<NodeId, Told>) {
        for (node, now) in present {
            let was = self.told.get(node);
            let was_live = was.is_some_and(|was| was.state != NodeState::Down);
            let is_same_life = was.is_some_and(|was| was.incarnation == now.incarnation);
            let is_live = now.state != NodeState::Down;
            if was_live && !(is_live && is_same_life) {
                service.raise(&ClusterEvent::NodeDown { node_id: node.0 });
            }
            if is_live {
                // Also when nothing is known to have happened: its addresses may have changed.
                service.raise(&ClusterEvent::NodeUp { node_id: node.0 });
                service.raise(&ClusterEvent::NodeDraining { node_id: node.0, on: now.state == NodeState::Draining });
            }
        }
        for (node, was) in &self.told {
            if was.state != NodeState::Down && !present.contains_key(node) {
                service.raise(&ClusterEvent::NodeDown { node_id: node.0 });
            }
        }
        self.told.clone_from(present);
    }
}

fn look(state: &State) -> (BTreeMap<NodeId, Told>, BTreeMap<ShareId, NodeId>) {
    let nodes = state.nodes().map(|node| (node.id, Told { incarnation: node.incarnation, state: node.state })).collect();
    (nodes, state.shares().filter_map(|share| Some((share.id, share.owner?))).collect())
}
