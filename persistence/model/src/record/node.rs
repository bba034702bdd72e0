//! A node of the cluster and its present life.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::id::{Incarnation, LogTime, NodeId};

/// Where a node can be reached.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NodeAddresses {
    /// SMB listeners; the only addresses that are offered for multichannel.
    pub smb: Vec<SocketAddr>,
    /// Witness service.
    pub witness: SocketAddr,
    /// Endpoint mapper.
    pub mapper: SocketAddr,
    /// Operator's HTTP.
    pub admin: SocketAddr,
    /// Node-to-node transport.
    pub raft: SocketAddr,
}

/// What the cluster believes of a node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum NodeState {
    /// Serves clients.
    Up,
    /// Serves the clients it has while they are asked to move.
    Draining,
    /// This incarnation is dead; its handles may be taken over.
    Down,
}

/// A node; stays in the table when it is down.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Node {
    /// Its id.
    pub id: NodeId,
    /// Its present (or last) life.
    pub incarnation: Incarnation,
    /// For people.
    pub name: String,
    /// Where to reach it.
    pub addresses: NodeAddresses,
    /// Up, draining or down.
    pub state: NodeState,
    /// Differs after a reboot.
    pub boot_id: String,
    /// When `state` was entered.
    pub since: LogTime,
}

impl Node {
    /// Tells whether its handles still count as attached.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.state != NodeState::Down
    }
}
