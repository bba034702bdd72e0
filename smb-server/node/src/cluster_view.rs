//! The cluster as the witness sees it: interfaces of all nodes from the records, and their events carried to it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use persistence_model::{Event, NodeId, NodeState};
use tokio::sync::broadcast::error::RecvError;
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
                let addresses: BTreeSet<IpAddr> = node.addresses.smb.iter().map(|a| a.ip().to_canonical()).collect();
                for address in addresses {
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

    fn shares(&self) -> Vec<Share> {
        self.store
            .with_state(|state| state.shares().map(|share| Share { name: share.name.clone(), sofs: share.settings.scaleout }).collect())
    }
}

/// Carries the records' events to the witness until cancelled. A gap in the events is made up for by comparing states: nothing is lost.
pub async fn carry(store: persistence::Store, service: Arc<WitnessService>, cancel: CancellationToken) {
    let mut events = store.subscribe_news();
    let mut known = states(&store);
    loop {
        let event = tokio::select! {
            () = cancel.cancelled() => return,
            event = events.recv() => event,
        };
        match event.as_deref() {
            Ok(Event::NodeDown { node, .. }) => raise(&service, &mut known, *node, NodeState::Down),
            Ok(Event::NodeUp { node, .. }) => raise(&service, &mut known, *node, NodeState::Up),
            Ok(Event::NodeDraining { node, on }) => {
                if *on {
                    move_clients(&store, &service, *node);
                }
            }
            Ok(_) => {}
            Err(RecvError::Lagged(missed)) => {
                tracing::error!(missed, "events were missed; comparing the states of nodes instead");
                for (node, state) in states(&store) {
                    raise(&service, &mut known, node, state);
                }
            }
            Err(RecvError::Closed) => return,
        }
    }
}

fn states(store: &persistence::Store) -> BTreeMap<NodeId, NodeState> {
    store.with_state(|state| state.nodes().map(|node| (node.id, node.state)).collect())
}

/// Raises a change once.
fn raise(service: &WitnessService, known: &mut BTreeMap<NodeId, NodeState>, node: NodeId, state: NodeState) {
    let was = known.insert(node, state);
    if was == Some(state) {
        return;
    }
    match state {
        NodeState::Down => service.raise(&ClusterEvent::NodeDown { node_id: node.0 }),
        NodeState::Up => service.raise(&ClusterEvent::NodeUp { node_id: node.0 }),
        NodeState::Draining => {}
    }
}

/// Asks the clients of a draining node to move to the others.
fn move_clients(store: &persistence::Store, service: &WitnessService, from: NodeId) {
    let (old, destinations) = store.with_state(|state| {
        let old: BTreeSet<String> =
            state.node(from).into_iter().flat_map(|node| node.addresses.smb.iter().map(|a| a.ip().to_string())).collect();
        let others = state.nodes().filter(|node| node.id != from && node.state == NodeState::Up);
        let addresses: BTreeSet<IpAddr> = others.flat_map(|node| node.addresses.smb.iter().map(|a| a.ip())).collect();
        (old, addresses.into_iter().map(|ip| Address { ip, is_online: true }).collect::<Vec<_>>())
    });
    if destinations.is_empty() {
        return;
    }
    let clients: BTreeSet<String> =
        service.registrations().into_iter().filter(|r| old.contains(&r.ip_address)).map(|r| r.client_name).collect();
    for client in clients {
        service.raise(&ClusterEvent::ClientMove { client, destinations: destinations.clone() });
    }
}
