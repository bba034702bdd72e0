//! What the witness is told of the cluster. Implemented by the node program over the replicated state.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::message::Address;

/// Whether clients can reach an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InterfaceState {
    /// Not known yet.
    Unknown,
    /// It serves.
    Available,
    /// Its node is down, or it lost the address.
    Unavailable,
}

/// One interface of a node (MS-SWN 3.1.1: WitnessInterface).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Whose it is.
    pub node_id: u64,
    /// Name of the node or of its group of interfaces.
    pub group_name: String,
    /// Its IPv4 address.
    pub ipv4: Option<Ipv4Addr>,
    /// Its IPv6 address.
    pub ipv6: Option<Ipv6Addr>,
    /// Whether it serves.
    pub state: InterfaceState,
    /// True if it is an interface of the answering node.
    pub local: bool,
}

impl Interface {
    /// Its addresses.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.ipv4.map(IpAddr::V4).into_iter().chain(self.ipv6.map(IpAddr::V6))
    }
}

/// A share as far as registrations care.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// Its name.
    pub name: String,
    /// True for a scale-out share (STYPE_CLUSTER_SOFS), and for one that a node owns.
    pub sofs: bool,
}

/// The cluster as this node's replica shows it. Called for every registration; must not wait.
pub trait ClusterView: Send + Sync {
    /// The names under which clients mount, short or full; compared without case.
    fn net_names(&self) -> Vec<String>;

    /// Interfaces of all nodes, those of dead nodes with their state. Must show a change before it is raised.
    fn interfaces(&self) -> Vec<Interface>;

    /// All shares.
    fn shares(&self) -> Vec<Share>;

    /// Where the clients of an address should go because its node is being drained; empty if it is not, or if nobody could take them.
    fn leave_for(&self, address: IpAddr) -> Vec<Address>;

    /// Where the clients of an asymmetric share should be: the addresses of the node that owns it. Empty for any other share, and while the
    /// owner does not serve. Must show a change before it is raised.
    fn owner_of(&self, _share: &str) -> Vec<Address> {
        Vec::new()
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClusterEvent {
    /// A node died or was stopped: all its addresses are gone.
    NodeDown {
        /// Which.
        node_id: u64,
    },
    /// A node serves (again), perhaps with other addresses than before.
    NodeUp {
        /// Which.
        node_id: u64,
    },
    /// A living node has lost or gained addresses.
    NodeAddresses {
        /// Which.
        node_id: u64,
    },
    /// A node asks its clients to move ([`ClusterView::leave_for`] says where to), or has stopped asking.
    NodeDraining {
        /// Which.
        node_id: u64,
        /// Asks.
        on: bool,
    },
    /// One address went or came while its node lives.
    ResourceChange {
        /// Which address.
        address: IpAddr,
        /// True if it serves now.
        is_available: bool,
    },
    /// A client should move, because the administrator wants it. The wish stands for a while: see [`crate::service::WISH_STANDS`].
    ClientMove {
        /// The client computer's name.
        client: String,
        /// Where to.
        destinations: Vec<Address>,
    },
    /// An asymmetric share has another owner ([`ClusterView::owner_of`] says where): told to who has registered for it by name and is not
    /// there already.
    ShareOwner {
        /// Which share.
        share: String,
    },
    /// The clients of a share should move, because the administrator wants it.
    ShareMove {
        /// Which share.
        share: String,
        /// Only this client's registrations; all if `None`.
        client: Option<String>,
        /// Where to.
        destinations: Vec<Address>,
    },
    /// Addresses of the cluster changed.
    AddressChange {
        /// Only this client's registrations; all if `None`.
        client: Option<String>,
        /// Gained addresses online, lost ones offline.
        addresses: Vec<Address>,
    },
}
