use std::net::SocketAddr;

use futures::FutureExt;
use uuid::uuid;

use super::*;
use crate::interface::{CallContext, CallFuture};
use crate::pdu::{Bind, BindAck, BindNak, ContextElement, FaultBody, NakReason, Reason, Request, Response, ResultCode, encode, flags};
use crate::syntax::{NDR20, NDR64, SyntaxId, TransferSyntax};

const ECHO: SyntaxId = SyntaxId::new(uuid!("11111111-2222-3333-4444-555555555555"), 1, 1);

struct Echo;

impl Interface for Echo {
    fn syntax(&self) -> SyntaxId {
        ECHO
    }

    fn call(&self, _opnum: u16, stub: Vec<u8>, _context: CallContext) -> CallFuture {
        std::future::ready(Ok(stub)).boxed()
    }
}

fn connection(limits: Limits) -> Connection {
    let peer: SocketAddr = "127.0.0.1:1".parse().unwrap();
    Connection::new(ConnectionConfig {
        interfaces: InterfaceSet::from(Echo),
        security: None,
        groups: AssociationGroups::new(),
        limits: Arc::new(limits),
        secondary_address: "135".into(),
        peer: Some(peer),
        local: None,
        transport_identity: None,
    })
}

fn element(context_id: u16, transfer: &[SyntaxId]) -> ContextElement {
    ContextElement { context_id, abstract_syntax: ECHO, transfer_syntaxes: transfer.to_vec() }
}

fn bind_pdu(pfc_flags: u8, contexts: Vec<ContextElement>) -> Vec<u8> {
    let bind = Bind { max_xmit_frag: 4280, max_recv_frag: 4287, assoc_group_id: 0, contexts };
    encode(PacketType::Bind, flags::WHOLE | pfc_flags, 1, &bind.encode(), None).unwrap()
}

fn request_pdu(pfc_flags: u8, call_id: u32, context_id: u16, stub: &[u8]) -> Vec<u8> {
    let body = Request { alloc_hint: 0, context_id, opnum: 4, object: None, stub }.encode();
    encode(PacketType::Request, pfc_flags, call_id, &body, None).unwrap()
}

fn sent(actions: &[Action]) -> Vec<Frame> {
    actions
        .iter()
        .filter_map(|action| match action {
            Action::Send(bytes) => Some(Frame::parse(bytes.clone()).unwrap()),
            _ => None,
        })
        .collect()
}

fn calls(actions: Vec<Action>) -> Vec<IncomingCall> {
    actions.into_iter().filter_map(|action| if let Action::Call(call) = action { Some(call) } else { None }).collect()
}

fn disconnects(actions: &[Action]) -> bool {
    actions.iter().any(|action| matches!(action, Action::Disconnect(_)))
}

fn fault_of(actions: &[Action]) -> Fault {
    FaultBody::decode(sent(actions)[0].body()).unwrap().status
}

fn bound(pfc_flags: u8, limits: Limits) -> Connection {
    let mut connection = connection(limits);
    let actions = connection.receive(&bind_pdu(pfc_flags, vec![element(0, &[NDR20])]));
    assert_eq!(sent(&actions)[0].header.packet_type, PacketType::BindAck);
    connection
}

#[test]
fn every_context_gets_its_result() {
    let mut connection = connection(Limits::default());
    let mut unknown = element(3, &[NDR20]);
    unknown.abstract_syntax.uuid = NDR64.uuid;
    let contexts = vec![element(0, &[NDR20]), element(1, &[NDR64]), element(2, &[SyntaxId::of_features(3)]), unknown];
    let actions = connection.receive(&bind_pdu(flags::CONC_MPX, contexts));
    let frame = &sent(&actions)[0];
    assert_ne!(frame.header.flags & flags::CONC_MPX, 0);
    let ack = BindAck::decode(frame.body()).unwrap();
    assert_eq!((ack.max_xmit_frag, ack.max_recv_frag), (4280, 4280));
    assert_ne!(ack.assoc_group_id, 0);
    let results: Vec<_> = ack.results.iter().map(|result| (result.result, result.reason)).collect();
    assert_eq!(
        results,
        [
            (ResultCode::Acceptance, Reason::NONE),
            (ResultCode::ProviderRejection, Reason::TRANSFER_SYNTAXES),
            (ResultCode::NegotiateAck, Reason(3)),
            (ResultCode::ProviderRejection, Reason::ABSTRACT_SYNTAX),
        ]
    );
    assert!(connection.is_established());
}

#[test]
fn requests_are_reassembled_from_any_portions() {
    let mut connection = bound(0, Limits::default());
    let mut bytes = request_pdu(flags::FIRST, 2, 0, &[1; 100]);
    bytes.extend(request_pdu(0, 2, 0, &[2; 100]));
    bytes.extend(request_pdu(flags::LAST, 2, 0, &[3; 50]));
    let mut actions = Vec::new();
    for byte in &bytes {
        actions.extend(connection.receive(std::slice::from_ref(byte)));
    }
    let calls = calls(actions);
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].stub, [vec![1; 100], vec![2; 100], vec![3; 50]].concat());
    assert_eq!((calls[0].opnum, calls[0].auth_level), (4, AuthLevel::None));
}

#[test]
fn long_responses_are_fragmented() {
    let mut connection = bound(0, Limits::default());
    assert_eq!(calls(connection.receive(&request_pdu(flags::WHOLE, 2, 0, &[]))).len(), 1);
    let stub: Vec<u8> = (0..10_000u32).map(|value| value.to_le_bytes()[0]).collect();
    let mut bytes = connection.respond(2, Ok(stub.clone()));
    let mut collected = Vec::new();
    let mut all_flags = Vec::new();
    while !bytes.is_empty() {
        let length = frame_length(&bytes).unwrap();
        assert!(length <= 4280);
        let rest = bytes.split_off(length);
        let frame = Frame::parse(bytes).unwrap();
        all_flags.push(frame.header.flags);
        collected.extend_from_slice(Response::decode(frame.body()).unwrap().stub);
        bytes = rest;
    }
    assert_eq!(collected, stub);
    assert_eq!(all_flags, [flags::FIRST, 0, flags::LAST]);
    assert_eq!(connection.respond(2, Ok(Vec::new())), Vec::<u8>::new(), "answered once only");
}

#[test]
fn several_calls_need_concurrent_multiplexing() {
    let mut without = bound(0, Limits::default());
    without.receive(&request_pdu(flags::WHOLE, 2, 0, &[]));
    let actions = without.receive(&request_pdu(flags::WHOLE, 3, 0, &[]));
    assert_eq!(fault_of(&actions), Fault::PROTOCOL_ERROR);
    assert!(disconnects(&actions));
    let mut with = bound(flags::CONC_MPX, Limits { calls_max: 2, ..Limits::default() });
    for call_id in [2, 3] {
        assert_eq!(calls(with.receive(&request_pdu(flags::WHOLE, call_id, 0, &[]))).len(), 1);
    }
    let actions = with.receive(&request_pdu(flags::WHOLE, 4, 0, &[]));
    assert_eq!(fault_of(&actions), Fault::TOO_BUSY);
    assert!(!disconnects(&actions));
    assert!(!with.respond(3, Ok(Vec::new())).is_empty());
    assert_eq!(calls(with.receive(&request_pdu(flags::WHOLE, 5, 0, &[]))).len(), 1);
}

#[test]
fn cancel_and_orphan_reach_their_call_only() {
    let mut connection = bound(flags::CONC_MPX, Limits::default());
    connection.receive(&request_pdu(flags::WHOLE, 2, 0, &[]));
    let abandon = |kind, call_id| encode(kind, flags::WHOLE, call_id, &[], None).unwrap();
    assert!(connection.receive(&abandon(PacketType::CoCancel, 9)).is_empty());
    assert!(matches!(connection.receive(&abandon(PacketType::CoCancel, 2))[..], [Action::Cancel(2)]));
    assert!(matches!(connection.receive(&abandon(PacketType::Orphaned, 2))[..], [Action::Orphan(2)]));
    assert!(connection.respond(2, Ok(vec![1])).is_empty());
    assert_eq!(connection.calls_active(), 0);
}

#[test]
fn what_breaks_the_protocol_is_answered_and_closed() {
    // Before the bind.
    let mut fresh = connection(Limits::default());
    let actions = fresh.receive(&request_pdu(flags::WHOLE, 2, 0, &[]));
    assert!(disconnects(&actions) && fault_of(&actions) == Fault::PROTOCOL_ERROR);
    // Two requests mixed.
    let mut mixed = bound(flags::CONC_MPX, Limits::default());
    mixed.receive(&request_pdu(flags::FIRST, 2, 0, &[]));
    let actions = mixed.receive(&request_pdu(flags::FIRST, 3, 0, &[]));
    assert!(disconnects(&actions) && fault_of(&actions) == Fault::PROTOCOL_ERROR);
    // A fragment longer than we take is refused at its header.
    let mut long = bound(0, Limits::default());
    let actions = long.receive(&request_pdu(flags::WHOLE, 2, 0, &[0; 5841])[..16]);
    assert!(disconnects(&actions) && fault_of(&actions) == Fault::PROTOCOL_ERROR);
    assert!(long.receive(&request_pdu(flags::WHOLE, 2, 0, &[])).is_empty(), "closed is closed");
    // A request longer than the limit.
    let mut endless = bound(0, Limits { stub_bytes_max: 300, ..Limits::default() });
    assert!(endless.receive(&request_pdu(flags::FIRST, 2, 0, &[0; 200])).is_empty());
    let actions = endless.receive(&request_pdu(0, 2, 0, &[0; 200]));
    assert!(disconnects(&actions) && fault_of(&actions) == Fault::ACCESS_DENIED);
}

#[test]
fn an_unknown_context_is_a_fault_and_no_end() {
    let mut connection = bound(0, Limits::default());
    let actions = connection.receive(&request_pdu(flags::WHOLE, 2, 7, &[]));
    assert_eq!(fault_of(&actions), Fault::UNKNOWN_INTERFACE);
    assert_ne!(sent(&actions)[0].header.flags & flags::DID_NOT_EXECUTE, 0);
    assert!(!disconnects(&actions));
}

#[test]
fn security_without_a_provider_is_refused_by_type() {
    let mut connection = connection(Limits::default());
    let trailer = crate::pdu::AuthTrailer { auth_type: 9, auth_level: 5, pad_length: 0, context_id: 1 };
    let bind = Bind { max_xmit_frag: 5840, max_recv_frag: 5840, assoc_group_id: 0, contexts: vec![element(0, &[NDR20])] };
    let pdu = encode(PacketType::Bind, flags::WHOLE, 1, &bind.encode(), Some((trailer, &[1; 40]))).unwrap();
    let actions = connection.receive(&pdu);
    let frame = &sent(&actions)[0];
    assert_eq!(frame.header.packet_type, PacketType::BindNak);
    assert_eq!(BindNak::decode(frame.body()).unwrap().reason, NakReason::AUTHENTICATION_TYPE);
    assert!(disconnects(&actions));
    assert!(connection.config.groups.is_empty());
}

#[test]
fn association_groups_are_joined_by_number() {
    let mut first = bound(0, Limits::default());
    let id = first.membership.as_ref().unwrap().association.id();
    let join = |id| {
        let bind = Bind { max_xmit_frag: 0, max_recv_frag: 0, assoc_group_id: id, contexts: vec![element(0, &[NDR20])] };
        encode(PacketType::Bind, flags::WHOLE, 1, &bind.encode(), None).unwrap()
    };
    let mut second = Connection::new(first.config.clone());
    assert_eq!(BindAck::decode(sent(&second.receive(&join(id)))[0].body()).unwrap().assoc_group_id, id);
    let mut third = Connection::new(first.config.clone());
    assert_eq!(sent(&third.receive(&join(id + 50)))[0].header.packet_type, PacketType::BindNak);
    // A second bind on one connection is refused too.
    assert_eq!(sent(&first.receive(&join(id)))[0].header.packet_type, PacketType::BindNak);
}

proptest::proptest! {
    #[test]
    fn garbage_never_panics(chunks in proptest::collection::vec(proptest::collection::vec(proptest::prelude::any::<u8>(), 0..60), 0..8),
                            packet_type in 0u8..20) {
        let mut connection = bound(flags::CONC_MPX, Limits::default());
        for mut chunk in chunks {
            if chunk.len() >= 16 {
                chunk[..5].copy_from_slice(&[5, 0, packet_type, 3, 0x10]);
                let length = u16::try_from(chunk.len()).unwrap().to_le_bytes();
                chunk[8..10].copy_from_slice(&length);
                chunk[10] %= 16;
                chunk[11] = 0;
            }
            for call in calls(connection.receive(&chunk)) {
                connection.respond(call.call_id, Ok(call.stub));
            }
        }
    }
}

#[test]
fn windows_behaviour_of_requests_that_are_not_whole() {
    let cancel = |kind| encode(kind, flags::WHOLE, 2, &[], None).unwrap();
    // A cancel or orphan of a request that is still being received does not stop it.
    let mut connection = bound(0, Limits::default());
    assert!(connection.receive(&request_pdu(flags::FIRST, 2, 0, &[1])).is_empty());
    assert!(connection.is_assembling());
    assert!(connection.receive(&cancel(PacketType::CoCancel)).is_empty());
    assert!(connection.receive(&cancel(PacketType::Orphaned)).is_empty());
    let calls = calls(connection.receive(&request_pdu(flags::LAST, 2, 77, &[2])));
    assert_eq!(calls[0].stub, [1, 2], "the context of a later fragment is not looked at");
    assert!(!connection.is_assembling());
    // A fragment without a first one.
    let mut alone = bound(0, Limits::default());
    let actions = alone.receive(&request_pdu(0, 2, 0, &[]));
    assert!(disconnects(&actions) && fault_of(&actions) == Fault::PROTOCOL_ERROR);
    let mut alone = bound(flags::CONC_MPX, Limits::default());
    let actions = alone.receive(&request_pdu(0, 2, 9, &[]));
    assert!(!disconnects(&actions) && fault_of(&actions) == Fault::UNKNOWN_INTERFACE);
    // The fault of mixed requests blames the unfinished call, or the new one if calls may run beside each other.
    for (concurrent, blamed) in [(0, 2), (flags::CONC_MPX, 3)] {
        let mut mixed = bound(concurrent, Limits::default());
        mixed.receive(&request_pdu(flags::FIRST, 2, 0, &[]));
        assert_eq!(sent(&mixed.receive(&request_pdu(flags::WHOLE, 3, 0, &[])))[0].header.call_id, blamed);
    }
}

#[test]
fn windows_behaviour_of_binds_that_make_no_sense() {
    let nak = |contexts| {
        let actions = connection(Limits::default()).receive(&bind_pdu(0, contexts));
        assert!(disconnects(&actions));
        BindNak::decode(sent(&actions)[0].body()).unwrap().reason
    };
    let features = |context_id| element(context_id, &[SyntaxId::of_features(1)]);
    assert_eq!(nak(vec![]), NakReason::PROTOCOL_VERSION);
    assert_eq!(nak(vec![element(0, &[])]), NakReason::NOT_SPECIFIED);
    assert_eq!(nak(vec![features(0), features(1)]), NakReason::NOT_SPECIFIED);
    // A context that exists cannot become another one.
    let alter = |contexts| {
        let bind = Bind { max_xmit_frag: 0, max_recv_frag: 0, assoc_group_id: 0, contexts };
        encode(PacketType::AlterContext, flags::WHOLE, 2, &bind.encode(), None).unwrap()
    };
    for contexts in [vec![], vec![element(0, &[NDR64])], vec![ContextElement { abstract_syntax: NDR20, ..element(0, &[NDR20]) }]] {
        let actions = bound(0, Limits::default()).receive(&alter(contexts));
        assert!(disconnects(&actions) && fault_of(&actions) == Fault::PROTOCOL_ERROR);
    }
    // Sizes that are too small count as the smallest.
    let bind = Bind { max_xmit_frag: 1, max_recv_frag: 0, assoc_group_id: 0, contexts: vec![element(0, &[NDR20])] };
    let actions = connection(Limits::default()).receive(&encode(PacketType::Bind, flags::WHOLE, 1, &bind.encode(), None).unwrap());
    assert_eq!(BindAck::decode(sent(&actions)[0].body()).unwrap().max_xmit_frag, 2048);
}

#[test]
fn one_of_several_transfer_syntaxes_is_taken() {
    struct Both(bool);
    impl Interface for Both {
        fn syntax(&self) -> SyntaxId {
            ECHO
        }
        fn speaks(&self, transfer: TransferSyntax) -> bool {
            self.0 || transfer == TransferSyntax::Ndr20
        }
        fn call(&self, _opnum: u16, stub: Vec<u8>, _context: CallContext) -> CallFuture {
            std::future::ready(Ok(stub)).boxed()
        }
    }
    let taken = |speaks_both, preferred, contexts: &[ContextElement]| {
        let mut config = connection(Limits::default()).config;
        config.interfaces = InterfaceSet::from(Both(speaks_both)).preferring(preferred);
        let mut connection = Connection::new(config);
        let actions = connection.receive(&bind_pdu(0, contexts.to_vec()));
        let results = BindAck::decode(sent(&actions)[0].body()).unwrap().results;
        results.iter().map(|result| TransferSyntax::from_id(&result.transfer_syntax)).collect::<Vec<_>>()
    };
    let [ndr20, ndr64] = [Some(TransferSyntax::Ndr20), Some(TransferSyntax::Ndr64)];
    // As Windows offers them: two elements for one interface.
    let both = [element(0, &[NDR20]), element(1, &[NDR64])];
    assert_eq!(taken(true, TransferSyntax::Ndr20, &both), [ndr20, None]);
    assert_eq!(taken(true, TransferSyntax::Ndr64, &both), [None, ndr64]);
    assert_eq!(taken(false, TransferSyntax::Ndr64, &both), [ndr20, None]);
    // Both in one element, and only one of them.
    assert_eq!(taken(true, TransferSyntax::Ndr64, &[element(0, &[NDR20, NDR64])]), [ndr64]);
    assert_eq!(taken(true, TransferSyntax::Ndr20, &[element(0, &[NDR64])]), [ndr64]);
    assert_eq!(taken(true, TransferSyntax::Ndr64, &[element(0, &[NDR20])]), [ndr20]);
}

#[test]
fn memory_for_requests_is_shared_and_its_end_is_a_fault() {
    let limits = Limits { stub_bytes_total_max: 2_000, ..Limits::default() };
    let mut first = bound(flags::CONC_MPX, limits);
    let mut second = Connection::new(first.config.clone());
    second.receive(&bind_pdu(0, vec![element(0, &[NDR20])]));
    // Who has not authenticated has half of it.
    assert!(first.receive(&request_pdu(flags::FIRST, 2, 0, &[0; 900])).is_empty());
    let actions = second.receive(&request_pdu(flags::FIRST, 2, 0, &[0; 200]));
    assert!(fault_of(&actions) == Fault::OUT_OF_RESOURCES && !disconnects(&actions));
    // The rest of the refused request is dropped, the next one is served.
    assert!(second.receive(&request_pdu(0, 2, 0, &[0; 200])).is_empty());
    assert!(second.receive(&request_pdu(flags::LAST, 2, 0, &[0; 200])).is_empty());
    assert_eq!(calls(second.receive(&request_pdu(flags::WHOLE, 3, 0, &[0; 50]))).len(), 1);
    // A call holds its part as long as it is under way.
    let call = calls(first.receive(&request_pdu(flags::LAST, 2, 0, &[0; 50])));
    assert_eq!(first.config.groups.stub_bytes.used(), 950);
    drop(call);
    assert_eq!(first.config.groups.stub_bytes.used(), 0);
}

#[test]
fn fragments_without_end_come_to_an_end() {
    let mut connection = bound(0, Limits { fragments_max: 100, ..Limits::default() });
    connection.receive(&request_pdu(flags::FIRST, 2, 0, &[]));
    for _ in 1..100 {
        assert!(connection.receive(&request_pdu(0, 2, 0, &[])).is_empty());
    }
    let actions = connection.receive(&request_pdu(0, 2, 0, &[]));
    assert!(disconnects(&actions) && fault_of(&actions) == Fault::ACCESS_DENIED);
}

#[test]
fn a_server_that_goes_away_says_so_once() {
    assert!(connection(Limits::default()).shutdown().is_empty(), "nobody is bound");
    let mut connection = bound(0, Limits::default());
    connection.receive(&request_pdu(flags::WHOLE, 2, 0, &[]));
    assert_eq!(connection.unanswered().collect::<Vec<_>>(), [2]);
    assert_eq!(Frame::parse(connection.shutdown()).unwrap().header.packet_type, PacketType::Shutdown);
    assert!(connection.shutdown().is_empty() && connection.respond(2, Ok(vec![])).is_empty());
}
