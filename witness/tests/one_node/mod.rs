//! A cluster for tests to which the cluster is nothing: one other node, no share.

use std::net::{IpAddr, Ipv4Addr};

use witness::{Address, ClusterView, Interface, InterfaceState, Share};

/// Node 1 at 127.0.0.11, under the name `fs1`.
pub(crate) struct OneNode;

impl ClusterView for OneNode {
    fn net_names(&self) -> Vec<String> {
        vec!["fs1".into()]
    }

    fn interfaces(&self) -> Vec<Interface> {
        let ipv4 = Some(Ipv4Addr::new(127, 0, 0, 11));
        vec![Interface { node_id: 1, group_name: "NODE1".into(), ipv4, ipv6: None, state: InterfaceState::Available, local: false }]
    }

    fn leave_for(&self, _address: IpAddr) -> Vec<Address> {
        Vec::new()
    }

    fn shares(&self) -> Vec<Share> {
        Vec::new()
    }
}
