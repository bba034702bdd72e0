//! bind, alter_context and auth3: presentation contexts, fragment sizes, association groups and security legs.

use std::sync::Arc;

use super::contexts::are_contradictory;
use super::{Action, Connection, Security, SecurityState, respond};
use crate::fault::Fault;
use crate::limits::FRAGMENT_BYTES_MIN;
use crate::pdu::{AuthTrailer, Bind, BindAck, BindNak, Frame, NakReason, PacketType, encode, flags};
use crate::security::{AuthLevel, Protection, Step};

/// RPC_C_AUTHN_LEVEL_CALL.
const LEVEL_CALL: u8 = 3;

enum Leg {
    /// Nothing about security in this PDU.
    None,
    /// Answer with this trailer and token.
    Reply(AuthTrailer, Vec<u8>),
}

impl Connection {
    pub(super) fn handle_bind(&mut self, frame: &Frame, actions: &mut Vec<Action>) {
        let call_id = frame.header.call_id;
        if self.membership.is_some() {
            return self.bind_nak(call_id, NakReason::NOT_SPECIFIED, "bound twice", actions);
        }
        let bind = match Bind::decode(frame.body()) {
            Ok(bind) if !bind.contexts.is_empty() => bind,
            // windows: Server 2022 and later give this reason.
            Ok(_) | Err(_) => return self.bind_nak(call_id, NakReason::PROTOCOL_VERSION, "bind is malformed", actions),
        };
        if are_contradictory(&bind.contexts) {
            return self.bind_nak(call_id, NakReason::NOT_SPECIFIED, "presentation contexts make no sense", actions);
        }
        let fragment_bytes = self.agreed_fragment(&bind);
        let peer = self.peer_ip();
        let Some(membership) = self.config.groups.join(bind.assoc_group_id, peer, &self.config.limits) else {
            return self.bind_nak(call_id, NakReason::NOT_SPECIFIED, "association group cannot be joined", actions);
        };
        self.security_default = frame.auth.map(|trailer| trailer.context_id);
        let leg = match self.security_leg(frame) {
            Ok(leg) => leg,
            Err(reason) => return self.bind_nak(call_id, reason, "authentication failed", actions),
        };
        let assoc_group_id = membership.association.id();
        self.membership = Some(membership);
        self.fragment_bytes_max = usize::from(fragment_bytes);
        self.concurrent = frame.header.flags & flags::CONC_MPX != 0;
        let ack = BindAck {
            max_xmit_frag: fragment_bytes,
            max_recv_frag: fragment_bytes,
            assoc_group_id,
            secondary_address: self.config.secondary_address.to_string(),
            results: self.negotiate_contexts(&bind.contexts),
        };
        self.acknowledge(PacketType::BindAck, frame, &ack, leg, actions);
    }

    pub(super) fn handle_alter_context(&mut self, frame: &Frame, actions: &mut Vec<Action>) {
        let call_id = frame.header.call_id;
        let Some(assoc_group_id) = self.membership.as_ref().map(|membership| membership.association.id()) else {
            return self.protocol_error(call_id, 0, "alter_context before bind", actions);
        };
        let bind = Bind::decode(frame.body()).ok().filter(|bind| !bind.contexts.is_empty() && !are_contradictory(&bind.contexts));
        let Some(bind) = bind.filter(|bind| !self.redefines_contexts(&bind.contexts)) else {
            let fault = respond::fault(call_id, 0, Fault::PROTOCOL_ERROR, true);
            return self.fatal(fault, "alter_context makes no sense", actions);
        };
        let leg = match self.security_leg(frame) {
            Ok(leg) => leg,
            Err(NakReason::LOCAL_LIMIT | NakReason::NOT_SPECIFIED) => {
                let fault = respond::fault(call_id, 0, Fault::PROTOCOL_ERROR, true);
                return self.fatal(fault, "security context cannot be made", actions);
            }
            Err(_) => return self.fatal(respond::fault(call_id, 0, Fault::ACCESS_DENIED, true), "authentication failed", actions),
        };
        let fragment_bytes = u16::try_from(self.fragment_bytes_max).expect("agreed as 16 bits");
        let ack = BindAck {
            max_xmit_frag: fragment_bytes,
            max_recv_frag: fragment_bytes,
            assoc_group_id,
            secondary_address: String::new(),
            results: self.negotiate_contexts(&bind.contexts),
        };
        self.acknowledge(PacketType::AlterContextResponse, frame, &ack, leg, actions);
    }

    // MS-RPCE 3.3.1.5.2.1: auth3 is never answered; a failure shows at the first request.
    pub(super) fn handle_auth3(&mut self, frame: &Frame, actions: &mut Vec<Action>) {
        let trailer = frame.auth;
        let Some(security) = trailer.and_then(|trailer| self.security.get_mut(&trailer.context_id)) else {
            return self.disconnect("auth3 without a bind that authenticates", actions);
        };
        if !matches!(security.state, SecurityState::Negotiating) {
            return self.disconnect("auth3 after the authentication", actions);
        }
        let matches = trailer.is_some_and(|trailer| security.protection.matches(&trailer));
        security.state = match security.protection.context.step(frame.token()) {
            Ok(Step::Done { identity, .. }) if matches => SecurityState::Established(Arc::new(identity)),
            Ok(_) => SecurityState::Failed(Fault::SECURITY_PACKAGE),
            Err(error) => {
                tracing::debug!(%error, peer = ?self.config.peer, "auth3 refused");
                SecurityState::Failed(Fault::ACCESS_DENIED)
            }
        };
    }

    // windows: a smaller size than everybody must take counts as that size.
    fn agreed_fragment(&self, bind: &Bind) -> u16 {
        let sizes = [self.config.limits.fragment_bytes, bind.max_xmit_frag, bind.max_recv_frag];
        let agreed = sizes.into_iter().map(|size| size.max(FRAGMENT_BYTES_MIN)).min().expect("three sizes");
        agreed & !7
    }

    /// Headers are signed from the bind or alter_context on that asks for it, in every security context.
    // windows: also in those that were there before.
    fn note_header_signing(&mut self, frame: &Frame) {
        if frame.header.flags & flags::SUPPORT_HEADER_SIGN != 0 {
            self.header_signing = true;
            self.security.values_mut().for_each(|security| security.protection.header_signing = true);
        }
    }

    fn security_leg(&mut self, frame: &Frame) -> Result<Leg, NakReason> {
        self.note_header_signing(frame);
        let Some(trailer) = frame.auth else { return Ok(Leg::None) };
        if !frame.is_trailer_aligned() {
            return Err(NakReason::NOT_SPECIFIED);
        }
        let level = match AuthLevel::from_u8(trailer.auth_level) {
            Some(level) if level > AuthLevel::None => level,
            // Refused below, once it is known that the package is served.
            None if trailer.auth_level == LEVEL_CALL => AuthLevel::Packet,
            Some(_) | None => return Err(NakReason::NOT_SPECIFIED),
        };
        let id = trailer.context_id;
        if !self.security.contains_key(&id) {
            let count = self.security.len();
            // windows: a client that does not ask for the bind-time feature may have several all the same.
            if count >= self.config.limits.security_contexts_max {
                return Err(NakReason::LOCAL_LIMIT);
            }
            let context = self.new_acceptor(&trailer, frame.token()).ok_or(NakReason::AUTHENTICATION_TYPE)?;
            // windows: a level that travels only by mistake fails as a wrong signature does.
            if trailer.auth_level == LEVEL_CALL {
                return Err(NakReason::INVALID_CHECKSUM);
            }
            let protection = Protection {
                auth_type: trailer.auth_type,
                level,
                level_byte: trailer.auth_level,
                context_id: trailer.context_id,
                header_signing: self.header_signing,
                context,
            };
            self.security.insert(id, Security { protection, state: SecurityState::Negotiating });
        }
        let peer = self.config.peer;
        let security = self.security.get_mut(&id).expect("made above");
        if !security.protection.matches(&trailer) || !matches!(security.state, SecurityState::Negotiating) {
            return Err(NakReason::INVALID_CHECKSUM);
        }
        match security.protection.context.step(frame.token()) {
            Ok(Step::Continue(token)) => Ok(Leg::Reply(security.protection.trailer(), token)),
            Ok(Step::Done { token, identity }) => {
                security.state = SecurityState::Established(Arc::new(identity));
                Ok(Leg::Reply(security.protection.trailer(), token))
            }
            Err(error) => {
                tracing::debug!(%error, ?peer, "authentication refused");
                security.state = SecurityState::Failed(Fault::ACCESS_DENIED);
                Err(NakReason::INVALID_CHECKSUM)
            }
        }
    }

    fn new_acceptor(&self, trailer: &AuthTrailer, first_token: &[u8]) -> Option<Box<dyn crate::security::SecurityContext>> {
        self.config.security.as_ref()?.acceptor(trailer.auth_type, first_token, self.peer_ip())
    }

    fn acknowledge(&mut self, packet_type: PacketType, frame: &Frame, ack: &BindAck, leg: Leg, actions: &mut Vec<Action>) {
        let mut pfc_flags = flags::WHOLE;
        if self.concurrent {
            pfc_flags |= frame.header.flags & flags::CONC_MPX;
        }
        pfc_flags |= frame.header.flags & flags::SUPPORT_HEADER_SIGN;
        let auth = match &leg {
            // windows: the trailer is there even if the last leg leaves it without a token.
            Leg::Reply(trailer, token) => Some((*trailer, token.as_slice())),
            Leg::None => None,
        };
        match encode(packet_type, pfc_flags, frame.header.call_id, &ack.encode(), auth) {
            Ok(pdu) => actions.push(Action::Send(pdu)),
            Err(_) => self.disconnect("answer to a bind is too long", actions),
        }
    }

    pub(super) fn bind_nak(&mut self, call_id: u32, reason: NakReason, because: &'static str, actions: &mut Vec<Action>) {
        let pdu = encode(PacketType::BindNak, flags::WHOLE, call_id, &BindNak { reason }.encode(), None).expect("a bind_nak has 24 bytes");
        actions.push(Action::Send(pdu));
        self.disconnect(because, actions);
    }
}
