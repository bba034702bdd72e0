//! What the fuzz targets feed with bytes, and the tests with bytes of their own: every way into the runtime. An entry
//! panics if one of its promises does not hold. It uses nothing but the public interface of the crate.
#![allow(dead_code, reason = "each target calls one of them")]

use std::sync::Arc;

use dcerpc_rs::connection::{Action, Connection, ConnectionConfig, run};
use dcerpc_rs::epm::{Endpoint, EndpointMapper, Place, Tower};
use dcerpc_rs::interface::mgmt::{InterfaceIdsAnswer, MGMT, StatisticsAnswer, managed};
use dcerpc_rs::interface::srvsvc::declaration::{
    ServerInfoAnswer, ShareEnumAnswer, ShareEnumRequest, ShareInfoAnswer, ShareInfoRequest, TimeOfDayAnswer,
};
use dcerpc_rs::interface::srvsvc::{SRVSVC, ServerIdentity, ShareInfo, ShareProvider, Srvsvc};
use dcerpc_rs::interface::wkssvc::WorkstationInfoAnswer;
use dcerpc_rs::ndr::Parameters;
use dcerpc_rs::pdu::{Bind, BindAck, BindNak, ContextElement, FaultBody, Frame, PacketType, Request, Response, encode, flags};
use dcerpc_rs::syntax::{NDR20, NDR64};
use dcerpc_rs::{AssociationGroups, Client, ClientConfig, EndpointMap, Identity, Interrupter, Limits, SyntaxId, TransferSyntax};
use futures::FutureExt;

/// Bytes of all stubs that one connection may make the server hold here.
const STUB_BYTES_MAX: usize = 64 * 1024;

/// One PDU: what is read is written back to the same bytes.
pub(crate) fn frames(data: &[u8]) {
    let Ok(frame) = Frame::parse(data.to_vec()) else { return };
    let body = frame.body();
    assert!(frame.trailer_offset() <= frame.bytes.len() && body.len() <= frame.bytes.len());
    let has_object = frame.header.flags & flags::OBJECT_UUID != 0;
    if let Ok(bind) = Bind::decode(body) {
        assert_eq!(Bind::decode(&bind.encode()), Ok(bind));
    }
    if let Ok(ack) = BindAck::decode(body) {
        // A text that is not UTF-8 is shown with replacements.
        _ = BindAck::decode(&ack.encode()).map(|again| assert_eq!(again.results, ack.results));
    }
    if let Ok(request) = Request::decode(body, has_object) {
        assert_eq!(request.encode(), body);
    }
    if let Ok(response) = Response::decode(body) {
        assert_eq!(response.encode().len(), body.len());
    }
    _ = (FaultBody::decode(body), BindNak::decode(body), frame.token().len(), frame.stub_offset());
}

/// A server's connection, in whatever portions: it takes no more memory than its limits, answers each call once, and says
/// nothing after its end.
pub(crate) fn connection(data: &[u8]) {
    let limits = Limits { stub_bytes_max: STUB_BYTES_MAX, calls_max: 4, fragments_max: 64, ..Limits::default() };
    let config = config(limits);
    let mut connection = Connection::new(config.clone());
    // The first byte says how the rest is cut.
    let Some((portion, data)) = data.split_first() else { return };
    let mut closed = false;
    for chunk in data.chunks(usize::from(*portion).max(1)) {
        for action in connection.receive(chunk) {
            assert!(!closed, "an action after the end");
            closed |= act(&mut connection, action, &config);
        }
    }
    assert!(connection.calls_active() <= 4);
    connection.shutdown();
    assert!(connection.receive(data).is_empty());
}

/// Returns true if the connection is at its end.
fn act(connection: &mut Connection, action: Action, config: &ConnectionConfig) -> bool {
    match action {
        Action::Send(bytes) => {
            Frame::parse(bytes).expect("what is sent is a PDU");
            false
        }
        Action::Call(call) => {
            assert!(call.stub.len() <= STUB_BYTES_MAX);
            let (_interrupter, watch) = Interrupter::new();
            let (call_id, result) = run(call, config, watch).now_or_never().expect("nothing waits here");
            let answer = connection.respond(call_id, result.clone());
            assert!(connection.respond(call_id, result).is_empty(), "answered twice");
            assert!(answer.is_empty() || answer[0] == 5);
            false
        }
        Action::Cancel(_) | Action::Orphan(_) => false,
        Action::Disconnect(_) => true,
    }
}

/// A stub of one of the declared interfaces: what is read is written and read again to the same.
pub(crate) fn stubs(data: &[u8]) {
    let Some((choice, stub)) = data.split_first() else { return };
    let syntax = TransferSyntax::ALL[usize::from(choice & 1)];
    match choice >> 1 {
        0 => again::<ShareEnumRequest>(stub, syntax),
        1 => again::<ShareEnumAnswer>(stub, syntax),
        2 => again::<ShareInfoRequest>(stub, syntax),
        3 => again::<ShareInfoAnswer>(stub, syntax),
        4 => again::<ServerInfoAnswer>(stub, syntax),
        5 => again::<TimeOfDayAnswer>(stub, syntax),
        6 => again::<WorkstationInfoAnswer>(stub, syntax),
        7 => again::<InterfaceIdsAnswer>(stub, syntax),
        _ => again::<StatisticsAnswer>(stub, syntax),
    }
}

fn again<P: Parameters + PartialEq + std::fmt::Debug>(stub: &[u8], syntax: TransferSyntax) {
    let Ok(parameters) = P::from_stub(stub, syntax) else { return };
    let written = parameters.to_stub(syntax);
    assert_eq!(P::from_stub(&written, syntax).as_ref(), Ok(&parameters));
    let other = TransferSyntax::ALL[usize::from(syntax == TransferSyntax::Ndr20)];
    assert_eq!(P::from_stub(&parameters.to_stub(other), other), Ok(parameters));
}

/// The endpoint mapper, and with it a tower: an operation's number and its stub.
pub(crate) fn mapper(data: &[u8]) {
    if let Some(tower) = Tower::decode(data) {
        assert_eq!(Tower::decode(&tower.encode()), Some(tower));
    }
    let Some((opnum, stub)) = data.split_first() else { return };
    let config = config(Limits::default());
    let mut connection = Connection::new(config.clone());
    connection.receive(&bind(dcerpc_rs::epm::EPMAPPER, NDR20));
    for chunk in [stub, &[]] {
        let body = Request { alloc_hint: 0, context_id: 0, opnum: u16::from(*opnum), object: None, stub: chunk }.encode();
        let Ok(pdu) = encode(PacketType::Request, flags::WHOLE, 2, &body, None) else { return };
        for action in connection.receive(&pdu) {
            act(&mut connection, action, &config);
        }
    }
}

/// A client whose server says whatever it likes: the client's calls end, one way or the other.
pub(crate) fn client(data: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime of one thread");
    runtime.block_on(async {
        let (near, mut far) = tokio::io::duplex(256 * 1024);
        let answers = data.to_vec();
        let server = tokio::spawn(async move {
            _ = tokio::io::AsyncWriteExt::write_all(&mut far, &answers).await;
            // What the client says is not read; the end of the stream is.
            drop(far);
        });
        if let Ok(client) = Client::bind(near, SRVSVC, ClientConfig::default()).await {
            let call = client.begin::<ShareInfoRequest, ShareInfoAnswer>(16, &ShareInfoRequest::default());
            _ = call.await;
        }
        _ = server.await;
    });
}

/// A whole bind of one interface.
pub(crate) fn bind(interface: SyntaxId, transfer: SyntaxId) -> Vec<u8> {
    let context = ContextElement { context_id: 0, abstract_syntax: interface, transfer_syntaxes: vec![transfer] };
    let bind = Bind { max_xmit_frag: 5840, max_recv_frag: 5840, assoc_group_id: 0, contexts: vec![context] };
    encode(PacketType::Bind, flags::WHOLE | flags::CONC_MPX, 1, &bind.encode(), None).expect("a short bind")
}

/// Inputs that lead far into [`connection`], for whoever begins without a corpus.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let request = |opnum, stub: &[u8]| {
        let body = Request { alloc_hint: 0, context_id: 0, opnum, object: None, stub }.encode();
        encode(PacketType::Request, flags::WHOLE, 2, &body, None).expect("a short request")
    };
    let seed = |parts: &[Vec<u8>]| [vec![255], parts.concat()].concat();
    vec![
        seed(&[bind(MGMT, NDR20), request(0, &[])]),
        seed(&[bind(SRVSVC, NDR64), request(15, &ShareEnumRequest::default().to_stub(TransferSyntax::Ndr64))]),
        seed(&[bind(SRVSVC, NDR20), request(16, &ShareInfoRequest::default().to_stub(TransferSyntax::Ndr20))]),
    ]
}

struct OneShare;

impl ShareProvider for OneShare {
    fn server(&self) -> ServerIdentity {
        ServerIdentity { name: "FS1".into(), domain: "D".into(), comment: String::new(), version: (10, 0) }
    }

    fn shares(&self, _caller: Option<&Identity>) -> Vec<ShareInfo> {
        vec![ShareInfo { name: "share".into(), ..ShareInfo::default() }]
    }
}

fn config(limits: Limits) -> ConnectionConfig {
    let map = EndpointMap::new();
    map.insert(Endpoint { interface: SRVSVC, place: Place::Port(49_152), annotation: "shares".into() });
    let interfaces = dcerpc_rs::InterfaceSet::from(EndpointMapper::new(map)).with(Arc::new(Srvsvc::new(Arc::new(OneShare))));
    ConnectionConfig {
        interfaces: managed(interfaces),
        security: None,
        groups: AssociationGroups::new(),
        limits: Arc::new(limits),
        secondary_address: "135".into(),
        peer: None,
        local: None,
        transport_identity: None,
    }
}
