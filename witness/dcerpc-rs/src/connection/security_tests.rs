//! Several security contexts on one connection, with a made-up package whose signatures are counted and keyed.

use std::collections::BTreeMap;

use futures::FutureExt;

use super::*;
use crate::interface::{CallContext, CallFuture};
use crate::pdu::{AuthTrailer, Bind, BindAck, ContextElement, FaultBody, Request, Response};
use crate::security::{SecurityContext, SecurityError, Step};
use crate::syntax::{NDR20, SyntaxId};

const ECHO: SyntaxId = SyntaxId::new(Uuid::from_u128(7), 1, 0);

struct Echo;

impl Interface for Echo {
    fn syntax(&self) -> SyntaxId {
        ECHO
    }

    fn call(&self, _opnum: u16, stub: Vec<u8>, _context: CallContext) -> CallFuture {
        std::future::ready(Ok(stub)).boxed()
    }
}

/// Either side: logs on in two legs as whom the token names; a signature is a key, a number and the length.
struct Toy {
    key: u8,
    legs: u8,
    sent: u8,
    received: u8,
}

impl Toy {
    fn new() -> Self {
        Self { key: 0, legs: 0, sent: 0, received: 0 }
    }

    fn signature(&self, number: u8, message: &[u8]) -> Vec<u8> {
        vec![self.key, number, u8::try_from(message.len() % 251).unwrap(), 0xAA]
    }
}

impl SecurityContext for Toy {
    fn step(&mut self, token: &[u8]) -> Result<Step, SecurityError> {
        let [key] = token else { return Err(SecurityError("one byte".into())) };
        self.legs += 1;
        if self.legs == 1 {
            return Ok(Step::Continue(vec![*key]));
        }
        self.key = *key;
        Ok(Step::Done { token: vec![], identity: Identity { user: key.to_string(), ..Identity::default() } })
    }

    fn signature_bytes(&self, _sealed: bool) -> usize {
        4
    }

    fn sign(&mut self, message: &[u8]) -> Result<Vec<u8>, SecurityError> {
        self.sent += 1;
        Ok(self.signature(self.sent, message))
    }

    fn verify(&mut self, message: &[u8], signature: &[u8]) -> Result<(), SecurityError> {
        self.received += 1;
        if self.signature(self.received, message) == signature { Ok(()) } else { Err(SecurityError("wrong".into())) }
    }

    fn seal(&mut self, message: &mut [u8], _sealed: std::ops::Range<usize>) -> Result<Vec<u8>, SecurityError> {
        self.sign(message)
    }

    fn unseal(&mut self, message: &mut [u8], _sealed: std::ops::Range<usize>, signature: &[u8]) -> Result<(), SecurityError> {
        self.verify(message, signature)
    }
}

struct Toys;

impl SecurityProvider for Toys {
    fn acceptor(&self, auth_type: u8, _first_token: &[u8], _peer: Option<IpAddr>) -> Option<Box<dyn SecurityContext>> {
        (auth_type == 10).then(|| Box::new(Toy::new()) as Box<dyn SecurityContext>)
    }
}

/// A client by hand: its connection and its security contexts by their number.
struct Client {
    server: Connection,
    contexts: BTreeMap<u32, Protection>,
    last_call: u32,
}

fn bind_body() -> Vec<u8> {
    let element = ContextElement { context_id: 0, abstract_syntax: ECHO, transfer_syntaxes: vec![NDR20] };
    Bind { max_xmit_frag: 5840, max_recv_frag: 5840, assoc_group_id: 0, contexts: vec![element] }.encode()
}

fn frame_of(actions: &[Action]) -> Frame {
    let Some(Action::Send(bytes)) = actions.first() else { panic!("nothing is sent") };
    Frame::parse(bytes.clone()).unwrap()
}

impl Client {
    /// Bound without security.
    fn new(limits: Limits) -> Self {
        let server = Connection::new(ConnectionConfig {
            interfaces: InterfaceSet::from(Echo),
            security: Some(Arc::new(Toys)),
            groups: AssociationGroups::new(),
            limits: Arc::new(limits),
            secondary_address: "1".into(),
            peer: None,
            local: None,
            transport_identity: None,
        });
        let mut client = Self { server, contexts: BTreeMap::new(), last_call: 1 };
        let ack = client.server.receive(&encode(PacketType::Bind, flags::WHOLE, 1, &bind_body(), None).unwrap());
        assert_eq!(frame_of(&ack).header.packet_type, PacketType::BindAck);
        client
    }

    /// One more security context; the last leg as auth3 or as alter_context.
    fn log_on(&mut self, id: u32, level: AuthLevel, auth3: bool, pfc_flags: u8) -> Frame {
        let trailer = AuthTrailer { auth_type: 10, auth_level: level as u8, pad_length: 0, context_id: id };
        let key = u8::try_from(id).unwrap();
        let leg = |kind, body: &[u8]| encode(kind, flags::WHOLE | pfc_flags, 9, body, Some((trailer, &[key]))).unwrap();
        let first = frame_of(&self.server.receive(&leg(PacketType::AlterContext, &bind_body())));
        if first.header.packet_type != PacketType::AlterContextResponse {
            return first;
        }
        assert_eq!(first.token(), [key]);
        let context = Box::new(Toy { key, ..Toy::new() });
        let header_signing = first.header.flags & flags::SUPPORT_HEADER_SIGN != 0;
        let protection = Protection { auth_type: 10, level, level_byte: level as u8, context_id: id, header_signing, context };
        self.contexts.insert(id, protection);
        if auth3 {
            assert!(self.server.receive(&leg(PacketType::Auth3, &[0; 4])).is_empty());
            return first;
        }
        let last = frame_of(&self.server.receive(&leg(PacketType::AlterContext, &bind_body())));
        assert_eq!(BindAck::decode(last.body()).unwrap().results.len(), 1);
        last
    }

    fn request(&mut self, id: Option<u32>, pfc_flags: u8, call_id: u32, stub: &[u8]) -> Vec<Action> {
        let body = Request { alloc_hint: 0, context_id: 0, opnum: 1, object: None, stub }.encode();
        let pdu = match id {
            Some(id) => self.contexts.get_mut(&id).unwrap().protect(PacketType::Request, pfc_flags, call_id, &body, 24).unwrap(),
            None => encode(PacketType::Request, pfc_flags, call_id, &body, None).unwrap(),
        };
        self.server.receive(&pdu)
    }

    /// A whole call: who it was for the server, after the answer was checked.
    fn call(&mut self, id: Option<u32>) -> Option<String> {
        self.last_call += 1;
        let call_id = self.last_call;
        let mut actions = self.request(id, flags::WHOLE, call_id, b"hello");
        let Action::Call(call) = actions.remove(0) else { panic!("no call") };
        let mut answer = Frame::parse(self.server.respond(call_id, Ok(call.stub))).unwrap();
        assert_eq!(answer.auth.map(|trailer| trailer.context_id), id, "the answer comes as the request went");
        if let Some(id) = id {
            self.contexts.get_mut(&id).unwrap().unprotect(&mut answer).unwrap();
        }
        assert_eq!(Response::decode(answer.body()).unwrap().stub, b"hello");
        call.identity.map(|identity| identity.user.clone())
    }
}

fn fault_of(actions: &[Action]) -> Fault {
    assert!(actions.iter().any(|action| matches!(action, Action::Disconnect(_))));
    FaultBody::decode(frame_of(actions).body()).unwrap().status
}

#[test]
fn several_contexts_work_beside_each_other_and_beside_none() {
    let mut client = Client::new(Limits::default());
    client.log_on(3, AuthLevel::Integrity, false, 0);
    client.log_on(8, AuthLevel::Packet, true, 0);
    for _ in 0..3 {
        assert_eq!(client.call(Some(8)).as_deref(), Some("8"));
        assert_eq!(client.call(None), None, "the bind was made without security");
        assert_eq!(client.call(Some(3)).as_deref(), Some("3"));
    }
}

#[test]
fn header_signing_can_come_later_and_is_for_all() {
    let mut client = Client::new(Limits::default());
    client.log_on(1, AuthLevel::Integrity, true, 0);
    client.call(Some(1));
    client.log_on(2, AuthLevel::Integrity, true, flags::SUPPORT_HEADER_SIGN);
    client.call(Some(2));
    client.contexts.get_mut(&1).unwrap().header_signing = true;
    client.call(Some(1));
    client.contexts.get_mut(&1).unwrap().header_signing = false;
    assert_eq!(fault_of(&client.request(Some(1), flags::WHOLE, 90, b"hello")), Fault::SECURITY_PACKAGE);
}

#[test]
fn contexts_are_limited_and_unknown_ones_refused() {
    let mut client = Client::new(Limits { security_contexts_max: 2, ..Limits::default() });
    client.log_on(1, AuthLevel::Integrity, true, 0);
    client.log_on(2, AuthLevel::Integrity, true, 0);
    let refused = client.log_on(3, AuthLevel::Integrity, true, 0);
    assert_eq!(FaultBody::decode(refused.body()).unwrap().status, Fault::PROTOCOL_ERROR);

    let mut client = Client::new(Limits::default());
    client.log_on(1, AuthLevel::Integrity, true, 0);
    let mut stranger = client.contexts.remove(&1).unwrap();
    stranger.context_id = 5;
    client.contexts.insert(5, stranger);
    assert_eq!(fault_of(&client.request(Some(5), flags::WHOLE, 90, b"")), Fault::ACCESS_DENIED);
}

#[test]
fn fragments_of_one_request_belong_to_the_context_of_the_first() {
    let log_on = || {
        let mut client = Client::new(Limits::default());
        client.log_on(1, AuthLevel::Integrity, true, 0);
        client.log_on(2, AuthLevel::Integrity, true, 0);
        assert!(client.request(Some(1), flags::FIRST, 90, &[1; 16]).is_empty());
        client
    };
    let mut same = log_on();
    assert!(matches!(same.request(Some(1), flags::LAST, 90, &[2; 16])[..], [Action::Call(_)]));
    let mut other = log_on();
    assert_eq!(fault_of(&other.request(Some(2), flags::LAST, 90, &[2; 16])), Fault::SECURITY_PACKAGE);
    let mut none = log_on();
    assert_eq!(fault_of(&none.request(None, flags::LAST, 90, &[2; 16])), Fault::PROTOCOL_ERROR);
}

#[test]
fn a_request_during_the_authentication_is_an_error() {
    let mut client = Client::new(Limits::default());
    let trailer = AuthTrailer { auth_type: 10, auth_level: 5, pad_length: 0, context_id: 1 };
    let first = encode(PacketType::AlterContext, flags::WHOLE, 2, &bind_body(), Some((trailer, &[1]))).unwrap();
    client.server.receive(&first);
    assert!(client.server.is_established(), "the bind itself was finished");
    let protection = Protection {
        auth_type: 10,
        level: AuthLevel::Integrity,
        level_byte: 5,
        context_id: 1,
        header_signing: false,
        context: Box::new(Toy::new()),
    };
    client.contexts.insert(1, protection);
    assert_eq!(fault_of(&client.request(Some(1), flags::WHOLE, 3, b"")), Fault::PROTOCOL_ERROR);
}

#[test]
fn a_trailer_that_is_not_aligned_is_refused() {
    let mut client = Client::new(Limits::default());
    let trailer = AuthTrailer { auth_type: 10, auth_level: 5, pad_length: 0, context_id: 1 };
    let mut pdu = encode(PacketType::AlterContext, flags::WHOLE, 2, &[bind_body(), vec![0; 4]].concat(), Some((trailer, &[1]))).unwrap();
    // Two bytes of the padding are taken out.
    pdu.drain(60..62);
    let length = u16::try_from(pdu.len()).unwrap().to_le_bytes();
    pdu[8..10].copy_from_slice(&length);
    assert_eq!(fault_of(&client.server.receive(&pdu)), Fault::PROTOCOL_ERROR);
}
