//! Plays the client's side of a capture to a server and compares what it answers, PDU by PDU.

use std::collections::BTreeMap;

use dcerpc_rs::Interrupter;
use dcerpc_rs::connection::{Action, Connection, ConnectionConfig, run};
use dcerpc_rs::pdu::{Bind, BindAck, FaultBody, Frame, PacketType, Request, Response, encode, flags};
use futures::FutureExt;

use super::vectors::in_order;

/// Plays every connection of a capture; returns how many PDUs were compared.
pub(crate) fn replay(capture: &str, config: &ConnectionConfig) -> usize {
    let mut connections: BTreeMap<&str, (Connection, Vec<u8>)> = BTreeMap::new();
    let mut compared = 0;
    for (name, pdu) in in_order(capture) {
        let words: Vec<&str> = name.split(' ').collect();
        let (connection, output) = connections.entry(words[1]).or_insert_with(|| (Connection::new(config.clone()), Vec::new()));
        written_back(&pdu);
        if words[0] == "client" {
            assert!(output.is_empty(), "{name}: something was sent that the capture does not have");
            for action in connection.receive(&pdu) {
                match action {
                    Action::Send(bytes) => output.extend(bytes),
                    Action::Call(call) => {
                        let (_interrupter, watch) = Interrupter::new();
                        let (call_id, result) = run(call, config, watch).now_or_never().expect("the call does not wait");
                        output.extend(connection.respond(call_id, result));
                    }
                    Action::Cancel(_) | Action::Orphan(_) => {}
                    Action::Disconnect(because) => panic!("{name}: {because}"),
                }
            }
        } else {
            assert!(output.len() >= pdu.len(), "{name}: nothing was answered");
            let rest = output.split_off(pdu.len());
            assert_eq!(*output, pdu, "{name}");
            *output = rest;
            compared += 1;
        }
    }
    compared
}

/// What is not encrypted is decoded and encoded again: the same bytes.
fn written_back(pdu: &[u8]) {
    let frame = Frame::parse(pdu.to_vec()).unwrap();
    let body = frame.body();
    let has_object = frame.header.flags & flags::OBJECT_UUID != 0;
    let again = match frame.header.packet_type {
        PacketType::Bind | PacketType::AlterContext => Bind::decode(body).unwrap().encode(),
        PacketType::BindAck | PacketType::AlterContextResponse => BindAck::decode(body).unwrap().encode(),
        PacketType::Request => Request::decode(body, has_object).unwrap().encode(),
        PacketType::Response => Response::decode(body).unwrap().encode(),
        PacketType::Fault => FaultBody::decode(body).unwrap().encode(),
        _ => body.to_vec(),
    };
    // The trailer of a leg without a token is not told apart from the body.
    assert!(body.starts_with(&again), "{:?}", frame.header);
    if matches!(frame.header.packet_type, PacketType::Bind | PacketType::AlterContext) {
        let auth = frame.auth.map(|trailer| (trailer, frame.token()));
        let whole = encode(frame.header.packet_type, frame.header.flags, frame.header.call_id, &again, auth).unwrap();
        assert_eq!(whole, pdu);
    }
}
