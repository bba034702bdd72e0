//! The server's side of one connection as a sans-io state machine: bytes in, [`Action`]s out. It decides about binds,
//! security legs, reassembly and faults. It runs no call, owns no socket and reads no clock.

mod contexts;
mod negotiate;
mod request;
mod respond;
mod run;
mod verification;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::BytesMut;
use uuid::Uuid;

use crate::association::{Association, AssociationGroups, Membership};
use crate::budget::Reservation;
use crate::fault::Fault;
use crate::few::Few;
use crate::interface::{Interface, InterfaceSet};
use crate::limits::{FRAGMENT_BYTES_MIN, Limits};
use crate::pdu::{Frame, FrameError, HEADER_BYTES, PacketType, encode, flags, frame_length};
use crate::security::{AuthLevel, Identity, Protection, SecurityProvider};
use crate::syntax::TransferSyntax;

pub use run::{CallResult, run};

/// What a connection is made with.
#[derive(Clone)]
pub struct ConnectionConfig {
    /// What may be bound.
    pub interfaces: InterfaceSet,
    /// Who authenticates; without it only unauthenticated binds succeed.
    pub security: Option<Arc<dyn SecurityProvider>>,
    /// The server's association groups.
    pub groups: Arc<AssociationGroups>,
    /// The limits.
    pub limits: Arc<Limits>,
    /// What bind_ack says: the port as text, or `\PIPE\name`.
    pub secondary_address: Arc<str>,
    /// The client's address, if the transport has one.
    pub peer: Option<SocketAddr>,
    /// Our address, if the transport has one.
    pub local: Option<SocketAddr>,
    /// Who the transport says the client is (an SMB session); used for calls without security of their own.
    pub transport_identity: Option<Arc<Identity>>,
}

/// A request that is complete.
pub struct IncomingCall {
    /// Its number on the connection; goes back with the answer.
    pub call_id: u32,
    /// Who serves it.
    pub interface: Arc<dyn Interface>,
    /// Which operation.
    pub opnum: u16,
    /// In which syntax its stub is, and its answer's.
    pub transfer: TransferSyntax,
    /// The stub, decrypted, whole.
    pub stub: Vec<u8>,
    /// The object it names.
    pub object: Option<Uuid>,
    /// How it was protected.
    pub auth_level: AuthLevel,
    /// Who calls.
    pub identity: Option<Arc<Identity>>,
    /// The association group.
    pub association: Arc<Association>,
    /// Its part of the server's memory, as long as it is under way.
    pub(crate) reservation: Reservation,
}

/// What the driver has to do, in order.
pub enum Action {
    /// Send these bytes.
    Send(Vec<u8>),
    /// Execute this call (with [`run`]) and answer through [`Connection::respond`].
    Call(IncomingCall),
    /// The client wants this call cancelled: answer it with [`Fault::CANCELLED`] unless it is finished already.
    Cancel(u32),
    /// The client does not want an answer any more: drop the call.
    Orphan(u32),
    /// Send what is waiting, then close.
    Disconnect(&'static str),
}

enum SecurityState {
    Negotiating,
    Established(Arc<Identity>),
    Failed(Fault),
}

struct Security {
    protection: Protection,
    state: SecurityState,
}

/// An interface that was bound, and how its stubs travel.
struct Presentation {
    interface: Arc<dyn Interface>,
    transfer: TransferSyntax,
}

/// What an unanswered call's answer is made with.
struct Unanswered {
    context_id: u16,
    /// The security context that its request came with.
    security: Option<u32>,
}

/// The server's side of one connection.
pub struct Connection {
    config: ConnectionConfig,
    input: BytesMut,
    membership: Option<Membership>,
    contexts: Few<u16, Presentation>,
    /// By the number that their trailers carry.
    security: Few<u32, Security>,
    /// The one of the bind: what PDUs without a trailer are judged by.
    security_default: Option<u32>,
    header_signing: bool,
    concurrent: bool,
    /// What we send at most; we take what the limits allow.
    fragment_bytes_max: usize,
    partial: Option<request::Partial>,
    /// A call that was refused before its last fragment: its rest is dropped.
    discarded: Option<u32>,
    active: Few<u32, Unanswered>,
    closed: bool,
}

impl Connection {
    /// A connection that has not bound anything.
    pub fn new(config: ConnectionConfig) -> Self {
        let fragment_bytes_max = usize::from(config.limits.fragment_bytes.max(FRAGMENT_BYTES_MIN));
        Self {
            config,
            input: BytesMut::new(),
            membership: None,
            contexts: Few::new(),
            security: Few::new(),
            security_default: None,
            header_signing: false,
            concurrent: false,
            fragment_bytes_max,
            partial: None,
            discarded: None,
            active: Few::new(),
            closed: false,
        }
    }

    /// What it was made with.
    pub fn config(&self) -> &ConnectionConfig {
        &self.config
    }

    /// True once bound and, if it authenticates, authenticated.
    pub fn is_established(&self) -> bool {
        let default = self.security_default.and_then(|id| self.security.get(&id));
        let negotiating = default.is_some_and(|security| matches!(security.state, SecurityState::Negotiating));
        self.membership.is_some() && !negotiating
    }

    /// True if nothing would be lost with this connection: nobody has authenticated on it, no call is unanswered, and its
    /// association has no handle.
    pub fn is_idle(&self) -> bool {
        let authenticated = self.security.values().any(|security| matches!(security.state, SecurityState::Established(_)));
        let handles = self.membership.as_ref().map_or(0, |membership| membership.association.handles());
        !authenticated && self.active.is_empty() && handles == 0
    }

    /// True while a request is there in part. Who reads the clock closes a connection that stays so for too long
    /// ([`Limits::request_timeout`]).
    pub fn is_assembling(&self) -> bool {
        self.partial.is_some()
    }

    /// Forgets what there is of it; the connection must not be used for requests afterwards.
    pub fn abandon_request(&mut self) {
        self.partial = None;
    }

    /// The numbers of the calls that are unanswered.
    pub fn unanswered(&self) -> impl Iterator<Item = u32> {
        self.active.keys()
    }

    /// Says the last word of a server that goes away; nothing is received or answered afterwards. Empty if the
    /// connection is not bound, or closed already.
    pub fn shutdown(&mut self) -> Vec<u8> {
        let said = self.membership.is_some() && !self.closed;
        self.closed = true;
        self.input.clear();
        self.partial = None;
        if said { encode(PacketType::Shutdown, flags::WHOLE, 0, &[], None).expect("a shutdown has 16 bytes") } else { Vec::new() }
    }

    /// Takes bytes from the transport, in any portions.
    pub fn receive(&mut self, bytes: &[u8]) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.closed {
            return actions;
        }
        self.input.extend_from_slice(bytes);
        while !self.closed {
            if self.input.first().is_some_and(|version| *version != 5) {
                self.disconnect("protocol version is not 5", &mut actions);
                break;
            }
            let Some(length) = frame_length(&self.input) else { break };
            if length < HEADER_BYTES {
                self.disconnect("frag_length is shorter than the header", &mut actions);
                break;
            }
            if length > usize::from(self.config.limits.fragment_bytes.max(FRAGMENT_BYTES_MIN)) && !self.may_be_long() {
                let call_id = u32::from_le_bytes(self.input[12..16].try_into().expect("the header is complete"));
                self.protocol_error(call_id, 0, "fragment is longer than agreed", &mut actions);
                break;
            }
            if self.input.len() < length {
                break;
            }
            let frame = self.input.split_to(length).to_vec();
            match Frame::parse(frame) {
                Ok(frame) => self.handle(frame, &mut actions),
                Err(error) => self.refuse_frame(error, &mut actions),
            }
        }
        if self.input.is_empty() {
            self.input = BytesMut::new();
        }
        actions
    }

    // Only PDUs with security tokens may be longer than a fragment.
    fn may_be_long(&self) -> bool {
        let long = [PacketType::Bind as u8, PacketType::AlterContext as u8, PacketType::Auth3 as u8];
        self.input.get(2).is_some_and(|packet_type| long.contains(packet_type))
    }

    fn handle(&mut self, frame: Frame, actions: &mut Vec<Action>) {
        match frame.header.packet_type {
            PacketType::Bind => self.handle_bind(&frame, actions),
            PacketType::AlterContext => self.handle_alter_context(&frame, actions),
            PacketType::Auth3 => self.handle_auth3(&frame, actions),
            PacketType::Request => self.handle_request(frame, actions),
            PacketType::CoCancel | PacketType::Orphaned => self.handle_abandon(frame, actions),
            PacketType::Response
            | PacketType::Fault
            | PacketType::BindAck
            | PacketType::BindNak
            | PacketType::AlterContextResponse
            | PacketType::Shutdown => self.disconnect("a client does not send this PDU", actions),
        }
    }

    fn handle_abandon(&mut self, mut frame: Frame, actions: &mut Vec<Action>) {
        // A signed cancel takes a sequence number, so it has to be checked; an unsigned one can do no more than a
        // closed connection can.
        if let Some(trailer) = frame.auth {
            let security = self.security.get_mut(&trailer.context_id);
            if security.is_none_or(|security| security.protection.unprotect(&mut frame).is_err()) {
                return self.disconnect("signature of a cancel does not verify", actions);
            }
        }
        // windows: a request that is still being received is received to its end, and answered.
        let call_id = frame.header.call_id;
        if !self.active.contains_key(&call_id) {
            return;
        }
        if frame.header.packet_type == PacketType::Orphaned {
            self.active.remove(&call_id);
            actions.push(Action::Orphan(call_id));
        } else {
            actions.push(Action::Cancel(call_id));
        }
    }

    fn refuse_frame(&mut self, error: FrameError, actions: &mut Vec<Action>) {
        tracing::debug!(%error, peer = ?self.config.peer, "PDU refused");
        if self.membership.is_none() {
            // windows: bytes that make no sense are a version that is not served.
            let reason = match error {
                FrameError::Version | FrameError::Malformed(_) => crate::pdu::NakReason::PROTOCOL_VERSION,
                FrameError::DataRepresentation | FrameError::PacketType(_) => crate::pdu::NakReason::NOT_SPECIFIED,
            };
            self.bind_nak(0, reason, "the first PDU is malformed", actions);
        } else {
            self.disconnect("PDU is malformed", actions);
        }
    }

    fn disconnect(&mut self, because: &'static str, actions: &mut Vec<Action>) {
        self.closed = true;
        self.input.clear();
        self.partial = None;
        actions.push(Action::Disconnect(because));
    }

    /// A fault that says that the peer broke the protocol, then the end.
    fn protocol_error(&mut self, call_id: u32, context_id: u16, because: &'static str, actions: &mut Vec<Action>) {
        self.fatal(respond::fault(call_id, context_id, Fault::PROTOCOL_ERROR, false), because, actions);
    }

    /// The last PDU of a connection.
    fn fatal(&mut self, pdu: Vec<u8>, because: &'static str, actions: &mut Vec<Action>) {
        actions.push(Action::Send(pdu));
        self.disconnect(because, actions);
    }

    fn peer_ip(&self) -> Option<IpAddr> {
        self.config.peer.map(|peer| peer.ip())
    }
}

#[cfg(test)]
mod security_tests;
#[cfg(test)]
mod tests;
