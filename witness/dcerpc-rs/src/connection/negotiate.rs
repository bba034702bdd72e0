//! bind, alter_context and auth3: presentation contexts, fragment sizes, association groups and security legs.

use std::sync::Arc;

use super::{Action, Connection, Presentation, Security, SecurityState, respond};
use crate::fault::Fault;
use crate::limits::FRAGMENT_BYTES_MIN;
use crate::pdu::{AuthTrailer, Bind, BindAck, BindNak, ContextElement, ContextResult, Frame, NakReason, PacketType, Reason, encode, flags};
use crate::security::{AuthLevel, Protection, Step};
use crate::syntax::TransferSyntax;

/// Bind-time feature: several security contexts on one connection.
// MS-RPCE 2.2.2.14
const SECURITY_CONTEXT_MULTIPLEXING: u16 = 1;
/// Bind-time feature: an orphaned call does not end its connection.
const KEEP_CONNECTION_ON_ORPHAN: u16 = 2;
/// The features that we have.
const FEATURES: u16 = SECURITY_CONTEXT_MULTIPLEXING | KEEP_CONNECTION_ON_ORPHAN;

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
        let Ok(bind) = Bind::decode(frame.body()) else {
            return self.bind_nak(call_id, NakReason::NOT_SPECIFIED, "bind is malformed", actions);
        };
        let Some(fragment_bytes) = self.agreed_fragment(&bind) else {
            return self.bind_nak(call_id, NakReason::NOT_SPECIFIED, "fragment size is too small", actions);
        };
        let peer = self.peer_ip();
        let Some(membership) = self.config.groups.join(bind.assoc_group_id, peer, &self.config.limits) else {
            return self.bind_nak(call_id, NakReason::NOT_SPECIFIED, "association group cannot be joined", actions);
        };
        self.note_features(&bind.contexts);
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
            secondary_address: self.config.secondary_address.clone(),
            results: self.negotiate_contexts(&bind.contexts),
        };
        self.acknowledge(PacketType::BindAck, frame, &ack, leg, actions);
    }

    pub(super) fn handle_alter_context(&mut self, frame: &Frame, actions: &mut Vec<Action>) {
        let call_id = frame.header.call_id;
        let Some(assoc_group_id) = self.membership.as_ref().map(|membership| membership.association.id()) else {
            return self.protocol_error(call_id, 0, "alter_context before bind", actions);
        };
        let Ok(bind) = Bind::decode(frame.body()) else {
            return self.protocol_error(call_id, 0, "alter_context is malformed", actions);
        };
        let leg = match self.security_leg(frame) {
            Ok(leg) => leg,
            Err(_) => {
                actions.push(Action::Send(respond::fault(call_id, 0, Fault::ACCESS_DENIED, false)));
                return self.disconnect("authentication failed", actions);
            }
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

    fn agreed_fragment(&self, bind: &Bind) -> Option<u16> {
        let ours = self.config.limits.fragment_bytes.max(FRAGMENT_BYTES_MIN);
        // A client may leave a value zero, meaning that it does not care.
        let theirs = |value: u16| if value == 0 { ours } else { value };
        let agreed = ours.min(theirs(bind.max_xmit_frag)).min(theirs(bind.max_recv_frag)) & !7;
        (agreed >= FRAGMENT_BYTES_MIN).then_some(agreed)
    }

    // MS-RPCE 3.3.1.5.6: one result per element, in order; one transfer syntax of each is chosen.
    fn negotiate_contexts(&mut self, elements: &[ContextElement]) -> Vec<ContextResult> {
        elements.iter().map(|element| self.negotiate_context(element, elements)).collect()
    }

    fn negotiate_context(&mut self, element: &ContextElement, all: &[ContextElement]) -> ContextResult {
        if let Some(features) = features_of(element) {
            return ContextResult::features(features & FEATURES);
        }
        let Some(interface) = self.config.interfaces.find(&element.abstract_syntax) else {
            return ContextResult::refused(Reason::ABSTRACT_SYNTAX);
        };
        let preferred = Some(self.config.interfaces.preferred()).filter(|preferred| interface.speaks(*preferred));
        let offers = |element: &ContextElement, transfer: TransferSyntax| element.transfer_syntaxes.contains(&transfer.id());
        let spoken = TransferSyntax::ALL.into_iter().filter(|transfer| interface.speaks(*transfer) && offers(element, *transfer));
        let chosen = spoken.max_by_key(|transfer| Some(*transfer) == preferred);
        // Windows offers the syntaxes of one interface as several contexts and wants one of them accepted.
        let is_offered_elsewhere =
            |transfer: TransferSyntax| all.iter().any(|other| other.abstract_syntax == element.abstract_syntax && offers(other, transfer));
        let Some(transfer) =
            chosen.filter(|chosen| preferred.is_none_or(|preferred| *chosen == preferred || !is_offered_elsewhere(preferred)))
        else {
            return ContextResult::refused(Reason::TRANSFER_SYNTAXES);
        };
        if let Some(known) = self.contexts.get(&element.context_id) {
            let same = known.interface.syntax() == interface.syntax() && offers(element, known.transfer);
            return if same { ContextResult::accepted(known.transfer.id()) } else { ContextResult::refused(Reason::NONE) };
        }
        if self.contexts.len() >= self.config.limits.contexts_max {
            return ContextResult::refused(Reason::LOCAL_LIMIT);
        }
        self.contexts.insert(element.context_id, Presentation { interface, transfer });
        ContextResult::accepted(transfer.id())
    }

    /// Must come before the security leg: whether a second security context is allowed is said in the bind.
    fn note_features(&mut self, elements: &[ContextElement]) {
        let features = elements.iter().filter_map(features_of).fold(0, |all, features| all | features);
        self.security_multiplexing = features & SECURITY_CONTEXT_MULTIPLEXING != 0;
    }

    fn security_leg(&mut self, frame: &Frame) -> Result<Leg, NakReason> {
        let Some(trailer) = frame.auth else { return Ok(Leg::None) };
        let level = AuthLevel::from_u8(trailer.auth_level).ok_or(NakReason::AUTHENTICATION_TYPE)?;
        if level == AuthLevel::None {
            return Ok(Leg::None);
        }
        let id = trailer.context_id;
        if !self.security.contains_key(&id) {
            let count = self.security.len();
            if count > 0 && (!self.security_multiplexing || count >= self.config.limits.security_contexts_max) {
                return Err(NakReason::LOCAL_LIMIT);
            }
            let context = self.new_acceptor(&trailer).ok_or(NakReason::AUTHENTICATION_TYPE)?;
            if count == 0 {
                // Header signing is on if the first authenticated PDU asks for it; our answer then says so too.
                self.header_signing = frame.header.flags & flags::SUPPORT_HEADER_SIGN != 0;
                self.security_default = Some(id);
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

    fn new_acceptor(&self, trailer: &AuthTrailer) -> Option<Box<dyn crate::security::SecurityContext>> {
        self.config.security.as_ref()?.acceptor(trailer.auth_type, self.peer_ip())
    }

    fn acknowledge(&mut self, packet_type: PacketType, frame: &Frame, ack: &BindAck, leg: Leg, actions: &mut Vec<Action>) {
        let mut pfc_flags = flags::WHOLE;
        if self.concurrent {
            pfc_flags |= flags::CONC_MPX;
        }
        if frame.header.flags & flags::SUPPORT_HEADER_SIGN != 0 && (self.header_signing || self.security.is_empty()) {
            pfc_flags |= flags::SUPPORT_HEADER_SIGN;
        }
        let auth = match &leg {
            Leg::Reply(trailer, token) if !token.is_empty() => Some((*trailer, token.as_slice())),
            Leg::Reply(..) | Leg::None => None,
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

/// The bind-time features that this element asks for, if it is not about an interface.
// MS-RPCE 3.3.1.5.3
fn features_of(element: &ContextElement) -> Option<u16> {
    let bits = element.transfer_syntaxes.iter().find_map(|syntax| syntax.bind_time_features())?;
    Some(u16::try_from(bits & u64::from(u16::MAX)).expect("masked to 16 bits"))
}
