//! Captures of foreign clients at the endpoint mapper, played again: the mapper answers as it did.
#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

#[path = "vectors/replay.rs"]
mod replay;
mod vectors;

use std::sync::Arc;

use dcerpc_rs::connection::ConnectionConfig;
use dcerpc_rs::epm::{Endpoint, EndpointMapper, Place};
use dcerpc_rs::interface::mgmt::managed;
use dcerpc_rs::{AssociationGroups, EndpointMap, Limits, SyntaxId, Uuid};

/// As the server was when the captures were made.
fn config() -> ConnectionConfig {
    let map = EndpointMap::new();
    let interface = SyntaxId::new(Uuid::from_u128(0xccd8_c074_d0e5_4a40_92b4_d074_faa6_ba28), 1, 1);
    map.insert(Endpoint { interface, place: Place::Port(49_152), annotation: "witness".into() });
    ConnectionConfig {
        interfaces: managed(EndpointMapper::new(map).into()),
        security: None,
        groups: AssociationGroups::new(),
        limits: Arc::new(Limits::default()),
        secondary_address: "135".into(),
        peer: Some("127.0.0.1:1".parse().unwrap()),
        local: Some("127.0.0.1:135".parse().unwrap()),
        transport_identity: None,
    }
}

#[test]
fn impacket_is_answered_as_it_was() {
    assert_eq!(replay::replay(include_str!("vectors/impacket-epm.hex"), &config()), 4);
}

#[test]
fn samba_is_answered_as_it_was() {
    assert!(replay::replay(include_str!("vectors/samba-epm.hex"), &config()) >= 5);
}
