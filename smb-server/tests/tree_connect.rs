//! TREE_CONNECT to shares that one node owns (MS-SMB2 3.3.5.7).
#![allow(clippy::unwrap_used, reason = "tests")]

mod rig;

use std::net::{IpAddr, SocketAddr};

use persistence_model::{Command as Record, Incarnation, NodeAddresses, NodeId, Outcome, ShareId, ShareSettings};
use rig::Rig;
use smb_proto::message::{
    error_response::{ErrorData, ErrorResponse, ShareRedirect},
    tree_connect::{ShareCapabilities, TreeConnectFlags, TreeConnectResponse},
};
use smb_server::Store as _;
use smb_types::{Dialect, NtStatus};

const OTHER: NodeId = NodeId(99);
const PLACES: [&str; 2] = ["192.0.2.12", "2001:db8::12"];

fn add(rig: &Rig, name: &str, owner: NodeId) -> ShareId {
    let settings = ShareSettings {
        path: name.to_owned(),
        comment: String::new(),
        ca: true,
        scaleout: true,
        encrypt: false,
        ca_timeout_ms: 0,
        ..ShareSettings::default()
    };
    match rig.store.apply(&Record::AsymmetricShareAdd { name: name.to_owned(), settings, owner: Some(owner) }) {
        Outcome::ShareAdded { share } => share,
        other => panic!("{other:?}"),
    }
}

/// A second node that serves.
fn join_other(rig: &Rig) -> Incarnation {
    let any = SocketAddr::from(([192, 0, 2, 12], 1));
    let smb = PLACES.map(|place| SocketAddr::new(place.parse().unwrap(), 445)).to_vec();
    let addresses = NodeAddresses { smb, witness: any, mapper: any, admin: any, raft: any };
    match rig.store.apply(&Record::NodeJoin { node: OTHER, name: "other".to_owned(), addresses, boot_id: String::new() }) {
        Outcome::Joined { incarnation } => incarnation,
        other => panic!("{other:?}"),
    }
}

// MS-SMB2 3.3.5.7, 2.2.10
#[tokio::test]
async fn only_those_who_know_the_word_are_told_that_one_node_owns_a_share() {
    let rig = Rig::new();
    add(&rig, "owned", rig.store.node());
    for (dialect, told) in [(Dialect::Smb300, false), (Dialect::Smb302, true), (Dialect::Smb311, true)] {
        let mut client = rig.connect();
        client.negotiate(&[dialect]).await;
        assert_eq!(client.log_on("alice", "secret", 0).await, NtStatus::SUCCESS);
        let (status, owned) = client.tree("owned").await;
        assert_eq!((status, owned.capabilities.contains(ShareCapabilities::ASYMMETRIC)), (NtStatus::SUCCESS, told), "{dialect:?}");
        assert!(owned.capabilities.contains(ShareCapabilities::CLUSTER | ShareCapabilities::SCALEOUT), "{dialect:?}");
        assert!(!owned.capabilities.contains(ShareCapabilities::REDIRECT_TO_OWNER), "nobody asked");
        let (_, symmetric) = client.tree("data").await;
        assert!(!symmetric.capabilities.contains(ShareCapabilities::ASYMMETRIC), "{dialect:?}");
    }
}

// MS-SMB2 3.3.5.7, 2.2.2.2.2
#[tokio::test]
async fn who_can_be_sent_to_the_owner_is() {
    let rig = Rig::new();
    let life = join_other(&rig);
    let (own, share) = (rig.store.node(), add(&rig, "owned", OTHER));
    let flags = TreeConnectFlags::REDIRECT_TO_OWNER;
    let mut client = rig.ready("data").await;
    let (header, message) = client.tree_with("owned", flags).await;
    assert_eq!(header.status(), NtStatus::BAD_NETWORK_NAME);
    let to = ShareRedirect { resource_name: "owned".to_owned(), addresses: PLACES.map(|place| place.parse::<IpAddr>().unwrap()).to_vec() };
    assert_eq!(ErrorResponse::decode(&message).unwrap().data, ErrorData::ShareRedirect(to));
    // Who cannot be redirected is served here; so is everybody on other shares.
    assert_eq!(client.tree("owned").await.0, NtStatus::SUCCESS);
    let (header, message) = client.tree_with("data", flags).await;
    assert_eq!(header.status(), NtStatus::SUCCESS);
    assert!(!TreeConnectResponse::decode(&message).unwrap().capabilities.contains(ShareCapabilities::REDIRECT_TO_OWNER));
    // In older dialects the field is reserved.
    let mut older = rig.connect();
    older.negotiate(&[Dialect::Smb302]).await;
    assert_eq!(older.log_on("alice", "secret", 0).await, NtStatus::SUCCESS);
    assert_eq!(older.tree_with("owned", flags).await.0.status(), NtStatus::SUCCESS);
    // The owner itself, and any node while the owner does not serve.
    let served = async |client: &mut rig::Client| {
        let (header, message) = client.tree_with("owned", flags).await;
        assert_eq!(header.status(), NtStatus::SUCCESS);
        TreeConnectResponse::decode(&message).unwrap().capabilities
    };
    assert_eq!(rig.store.apply(&Record::ShareMove { share, to: Some(own), instead_of: None }), Outcome::Done);
    let both = ShareCapabilities::ASYMMETRIC | ShareCapabilities::REDIRECT_TO_OWNER;
    assert!(served(&mut client).await.contains(both));
    assert_eq!(rig.store.apply(&Record::ShareMove { share, to: Some(OTHER), instead_of: None }), Outcome::Done);
    assert_eq!(client.tree_with("owned", flags).await.0.status(), NtStatus::BAD_NETWORK_NAME);
    assert_eq!(rig.store.apply(&Record::NodeDown { node: OTHER, incarnation: life }), Outcome::Done);
    assert!(served(&mut client).await.contains(both));
}
