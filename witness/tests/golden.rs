//! Stubs of foreign implementations, read and written back: what they encode is what we encode.
#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

#[path = "../dcerpc-rs/tests/vectors/mod.rs"]
mod vectors;

use std::fmt::Debug;
use std::net::{IpAddr, Ipv4Addr};

use dcerpc_rs::ndr::Parameters;
use dcerpc_rs::pdu::{Bind, BindAck, Frame, PacketType, Request, Response, encode};
use dcerpc_rs::{ContextHandle, TransferSyntax, Uuid};
use witness::declaration::{HandleAnswer, HandleRequest, InterfaceListAnswer, NotifyAnswer, RegisterExRequest, RegisterRequest};
use witness::interface::{InterfaceInfo, VERSION_1, VERSION_2, notification_of};
use witness::{Address, Notification, ResourceChange, ResourceState, Status};

const SAMBA: &str = include_str!("vectors/witness-stubs.hex");
const WINDOWS: &str = include_str!("vectors/windows-stubs.hex");

/// Reads Samba's stub in both syntaxes: it means `expected`, and what we write is the same bytes.
fn agrees<P: Parameters + PartialEq + Debug>(name: &str, syntaxes: &[TransferSyntax], expected: &P) {
    let vectors = vectors::named(SAMBA);
    for syntax in syntaxes {
        let stub = &vectors[format!("{name} {}", if *syntax == TransferSyntax::Ndr64 { "ndr64" } else { "ndr20" }).as_str()];
        assert_eq!(&P::from_stub(stub, *syntax).unwrap(), expected, "{name}");
        assert_eq!(&expected.to_stub(*syntax), stub, "{name}");
    }
}

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

const HANDLE: ContextHandle = ContextHandle { attributes: 0, uuid: Uuid::from_u128(0x3ab8_8633_1e57_4c1a_856c_d1bc_4b15_bbb1) };

#[test]
fn samba_encodes_what_we_encode_in_both_syntaxes() {
    let both = &TransferSyntax::ALL;
    agrees(
        "register_request",
        both,
        &RegisterRequest { version: VERSION_1, net_name: text("sofs"), ip_address: text("192.168.3.45"), client_name: text("MTHELENA") },
    );
    agrees(
        "register_ex_request",
        both,
        &RegisterExRequest {
            version: VERSION_2,
            net_name: text("fs1"),
            share_name: None,
            ip_address: text("192.0.2.1"),
            client_name: text("CLIENT1"),
            flags: 1,
            keep_alive_s: 120,
        },
    );
    agrees("handle_request", both, &HandleRequest { handle: HANDLE });
    agrees("handle_answer", both, &HandleAnswer { handle: HANDLE, status: 0 });
    let node = |name: &str, state, last, ipv6, is_witness| InterfaceInfo {
        group_name: name.to_owned(),
        version: VERSION_2,
        state,
        ipv4: Some(Ipv4Addr::new(192, 0, 2, last)),
        ipv6,
        is_witness,
    };
    let list = vec![node("NODE1", 1, 1, Some("2001:db8::1".parse().unwrap()), true), node("NODE2", 0xFF, 2, None, false)];
    agrees("interface_list_answer", both, &InterfaceListAnswer::from(Ok(list)));
    let change = ResourceChange { state: ResourceState::Unavailable, name: "SOFS".to_owned() };
    let changed = Ok(Notification::ResourceChange(vec![change]));
    agrees("notify_answer_resource_change", &[TransferSyntax::Ndr20], &NotifyAnswer::from(&changed));
    let address = |ip: &str, is_online| Address { ip: ip.parse().unwrap(), is_online };
    let moved = Ok(Notification::ClientMove(vec![address("192.0.2.7", true), address("2001:db8::7", false)]));
    agrees("notify_answer_client_move", &[TransferSyntax::Ndr20], &NotifyAnswer::from(&moved));
}

#[test]
fn stubs_of_windows_mean_what_they_say() {
    let vectors = vectors::named(WINDOWS);
    let ndr20 = TransferSyntax::Ndr20;
    let list = InterfaceListAnswer::from_stub(&vectors["interface_list_answer"], ndr20).unwrap();
    assert_eq!(list.to_stub(ndr20), vectors["interface_list_answer"]);
    let list = Result::<Vec<InterfaceInfo>, Status>::from(list).unwrap();
    let seen: Vec<_> = list.iter().map(|info| (info.group_name.as_str(), info.version, info.state, info.ipv4, info.is_witness)).collect();
    let ip = |last| Some(Ipv4Addr::new(192, 168, 3, last));
    assert_eq!(seen, [("NODE2", u32::MAX, 1, ip(44), true), ("NODE1", u32::MAX, 1, ip(45), false)]);

    let register = RegisterRequest::from_stub(&vectors["register_request"], ndr20).unwrap();
    assert_eq!(register.to_stub(ndr20), vectors["register_request"]);
    assert_eq!((register.net_name, register.client_name), (text("sofs"), text("MTHELENA")));
    assert_eq!(HandleAnswer::from_stub(&vectors["handle_answer"], ndr20), Ok(HandleAnswer { handle: HANDLE, status: 0 }));
    assert_eq!(HandleRequest::from_stub(&vectors["handle_request"], ndr20), Ok(HandleRequest { handle: HANDLE }));

    let answer = NotifyAnswer::from_stub(&vectors["notify_answer"], ndr20).unwrap();
    assert_eq!(answer.to_stub(ndr20), vectors["notify_answer"]);
    let change = ResourceChange { state: ResourceState::Unavailable, name: "SOFS".to_owned() };
    assert_eq!(notification_of(answer), Ok(Ok(Notification::ResourceChange(vec![change]))));

    let handle = ContextHandle { attributes: 0, uuid: Uuid::from_u128(0x1fb9_f2ee_2a4d_4bf8_af8b_cb9d_4529_a9ab) };
    assert_eq!(HandleRequest::from_stub(&vectors["notify_handle_request"], ndr20), Ok(HandleRequest { handle }));
    // An address without a word on whether it is online, and whatever was in memory where its IPv6 address would be.
    let moved = vec![Address { ip: Ipv4Addr::new(192, 168, 3, 45).into(), is_online: true }];
    for (name, addresses) in [("notify_move_answer", moved), ("notify_move_without_addresses_answer", Vec::new())] {
        let answer = NotifyAnswer::from_stub(&vectors[name], ndr20).unwrap();
        assert_eq!(answer.to_stub(ndr20), vectors[name], "{name}");
        assert_eq!(notification_of(answer), Ok(Ok(Notification::ClientMove(addresses))), "{name}");
    }
}

/// The stub of each request or response of a capture that is signed and not sealed, in their order.
fn stubs_of(side: &str) -> Vec<Vec<u8>> {
    let capture = vectors::in_order(include_str!("vectors/rpcd-witness.hex"));
    let frames = capture.into_iter().filter(|(name, _)| name.starts_with(side)).map(|(_, pdu)| Frame::parse(pdu).unwrap());
    let stub = |frame: Frame| match frame.header.packet_type {
        PacketType::Request => Some(Request::decode(frame.body(), false).unwrap().stub.to_vec()),
        PacketType::Response => Some(Response::decode(frame.body()).unwrap().stub.to_vec()),
        _ => None,
    };
    frames.filter_map(stub).collect()
}

#[test]
fn what_sambas_witness_answers_is_what_we_would() {
    let ndr20 = TransferSyntax::Ndr20;
    let answers = stubs_of("server");
    let list = InterfaceListAnswer::from_stub(&answers[0], ndr20).unwrap();
    assert_eq!(list.to_stub(ndr20), answers[0]);
    let list = Result::<Vec<InterfaceInfo>, Status>::from(list).unwrap();
    let seen: Vec<_> = list.iter().map(|info| (info.version, info.state, info.ipv4, info.is_witness)).collect();
    let ip = |last| Some(Ipv4Addr::new(127, 0, 1, last));
    assert_eq!(seen, [(VERSION_2, 1, ip(1), false), (VERSION_2, 1, ip(2), true)]);
    for (answer, status) in answers[1..].iter().zip([Status::REVISION_MISMATCH, Status::INVALID_PARAMETER]) {
        let refused = HandleAnswer { handle: ContextHandle::NULL, status: status.0 };
        assert_eq!(HandleAnswer::from_stub(answer, ndr20).as_ref(), Ok(&refused));
        assert_eq!(&refused.to_stub(ndr20), answer);
    }
    let requests = stubs_of("client");
    let request = RegisterExRequest::from_stub(&requests[2], ndr20).unwrap();
    assert_eq!((request.net_name.as_deref(), request.keep_alive_s), (Some("wrong-name"), 60));
    assert_eq!(request.to_stub(ndr20), requests[2]);
}

#[test]
fn the_binds_of_sambas_witness_are_written_back() {
    let capture = vectors::in_order(include_str!("vectors/rpcd-witness.hex"));
    let mut seen = Vec::new();
    for frame in capture.into_iter().map(|(_, pdu)| Frame::parse(pdu).unwrap()) {
        let body = match frame.header.packet_type {
            PacketType::Bind | PacketType::AlterContext => Bind::decode(frame.body()).unwrap().encode(),
            PacketType::BindAck | PacketType::AlterContextResponse => BindAck::decode(frame.body()).unwrap().encode(),
            _ => continue,
        };
        let auth = frame.auth.map(|trailer| (trailer, frame.token()));
        let again = encode(frame.header.packet_type, frame.header.flags, frame.header.call_id, &body, auth).unwrap();
        assert_eq!(again, frame.bytes, "{:?}", frame.header);
        seen.push(frame.header.packet_type);
    }
    assert_eq!(seen, [PacketType::Bind, PacketType::BindAck, PacketType::AlterContext, PacketType::AlterContextResponse]);
}

#[test]
fn an_address_that_is_mapped_into_ipv6_stays_what_it_is() {
    let mapped: IpAddr = "::ffff:192.0.2.1".parse().unwrap();
    let list = Notification::ClientMove(vec![Address { ip: mapped, is_online: true }]);
    assert_eq!(Notification::from_buffer(2, 1, &list.to_buffer()), Some(list));
}
