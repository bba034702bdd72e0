//! Requests: security check, reassembly, limits, and the presentation context's interface.

use std::sync::Arc;

use uuid::Uuid;

use super::verification::{self, Said};
use super::{Action, Connection, IncomingCall, SecurityState, Unanswered, respond};
use crate::budget::Reservation;
use crate::fault::Fault;
use crate::pdu::{Frame, Request, flags};
use crate::security::{AuthLevel, Identity};

/// A request of which some fragments are still missing.
pub(super) struct Partial {
    pub(super) call_id: u32,
    context_id: u16,
    opnum: u16,
    object: Option<Uuid>,
    security: Option<u32>,
    fragments: usize,
    stub: Vec<u8>,
    reservation: Reservation,
}

/// Who a fragment comes from, as its protection proves it.
struct Origin {
    auth_level: AuthLevel,
    identity: Option<Arc<Identity>>,
    security: Option<u32>,
}

impl Connection {
    pub(super) fn handle_request(&mut self, mut frame: Frame, actions: &mut Vec<Action>) {
        let call_id = frame.header.call_id;
        if self.membership.is_none() {
            return self.protocol_error(call_id, 0, "request before bind", actions);
        }
        let origin = match self.check_protection(&mut frame) {
            Ok(origin) => origin,
            Err(status) => {
                actions.push(Action::Send(respond::fault(call_id, 0, status, true)));
                return self.disconnect("request is not protected as agreed", actions);
            }
        };
        let has_object = frame.header.flags & flags::OBJECT_UUID != 0;
        let Ok(request) = Request::decode(frame.body(), has_object) else {
            return self.protocol_error(call_id, 0, "request is malformed", actions);
        };
        let first = frame.header.flags & flags::FIRST != 0;
        let partial = match (first, self.partial.take()) {
            (true, None) => match self.begin(call_id, &request, &origin, actions) {
                Some(partial) => partial,
                None => return,
            },
            (false, Some(partial)) => partial,
            (true, Some(_)) => return self.protocol_error(call_id, request.context_id, "two requests are mixed", actions),
            // MS-RPCE 3.3.3.5: rests of a call that is finished or was cancelled meanwhile come late; drop them.
            (false, None) => return,
        };
        let same_request = partial.call_id == call_id && partial.context_id == request.context_id && partial.opnum == request.opnum;
        if !same_request || partial.security != origin.security {
            return self.protocol_error(call_id, request.context_id, "fragments contradict each other", actions);
        }
        let last = frame.header.flags & flags::LAST != 0;
        match self.append(partial, &request, &origin, actions) {
            Some(partial) if last => self.dispatch(partial, origin, actions),
            partial => self.partial = partial,
        }
    }

    /// Decides at the first fragment whether there is room for a call.
    fn begin(&mut self, call_id: u32, request: &Request<'_>, origin: &Origin, actions: &mut Vec<Action>) -> Option<Partial> {
        if self.active.contains_key(&call_id) {
            self.protocol_error(call_id, request.context_id, "call_id is in use", actions);
            return None;
        }
        if !self.concurrent && !self.active.is_empty() {
            self.protocol_error(call_id, request.context_id, "several calls without concurrent multiplexing", actions);
            return None;
        }
        let &Request { context_id, opnum, object, .. } = request;
        let reservation = Reservation::new(&self.config.groups.stub_bytes);
        Some(Partial { call_id, context_id, opnum, object, security: origin.security, fragments: 0, stub: Vec::new(), reservation })
    }

    /// Adds a fragment, unless it is one too many.
    fn append(&mut self, mut partial: Partial, request: &Request<'_>, origin: &Origin, actions: &mut Vec<Action>) -> Option<Partial> {
        let Partial { call_id, context_id, .. } = partial;
        let limits = &self.config.limits;
        partial.fragments += 1;
        if partial.stub.len() + request.stub.len() > limits.stub_bytes_max || partial.fragments > limits.fragments_max {
            actions.push(Action::Send(respond::fault(call_id, context_id, Fault::ACCESS_DENIED, true)));
            self.disconnect("request is too long", actions);
            return None;
        }
        // Who has not authenticated cannot take the memory that the others need.
        let share = if origin.auth_level == AuthLevel::None { 2 } else { 1 };
        if !partial.reservation.grow(request.stub.len(), limits.stub_bytes_total_max / share) {
            // The rest of it will be dropped as it comes.
            actions.push(Action::Send(respond::fault(call_id, context_id, Fault::OUT_OF_RESOURCES, true)));
            return None;
        }
        partial.stub.extend_from_slice(request.stub);
        Some(partial)
    }

    fn dispatch(&mut self, partial: Partial, origin: Origin, actions: &mut Vec<Action>) {
        let Partial { call_id, context_id, opnum, object, security, mut stub, reservation, .. } = partial;
        let mut refuse = |status| actions.push(Action::Send(respond::fault(call_id, context_id, status, true)));
        if self.active.len() >= self.config.limits.calls_max {
            return refuse(Fault::TOO_BUSY);
        }
        let Some(presentation) = self.contexts.get(&context_id) else {
            return refuse(Fault::UNKNOWN_INTERFACE);
        };
        let transfer = presentation.transfer;
        let interface = &presentation.interface.syntax();
        match verification::check(&stub, &Said { call_id, context_id, opnum, interface, transfer }) {
            Ok(length) => stub.truncate(length),
            Err(status) => return refuse(status),
        }
        let association = &self.membership.as_ref().expect("checked before the first fragment").association;
        let call = IncomingCall {
            call_id,
            interface: Arc::clone(&presentation.interface),
            opnum,
            transfer,
            stub,
            object,
            auth_level: origin.auth_level,
            identity: origin.identity,
            association: Arc::clone(association),
            reservation,
        };
        self.active.insert(call_id, Unanswered { context_id, security });
        actions.push(Action::Call(call));
    }

    /// A PDU with a trailer is judged by the security context that it names, one without by the connection's first.
    fn check_protection(&mut self, frame: &mut Frame) -> Result<Origin, Fault> {
        let Some(id) = frame.auth.map(|trailer| trailer.context_id).or(self.security_default) else {
            let identity = self.config.transport_identity.clone();
            return Ok(Origin { auth_level: AuthLevel::None, identity, security: None });
        };
        let security = self.security.get_mut(&id).ok_or(Fault::SECURITY_PACKAGE)?;
        match &security.state {
            SecurityState::Negotiating => Err(Fault::SECURITY_PACKAGE),
            SecurityState::Failed(status) => Err(*status),
            SecurityState::Established(identity) => {
                let identity = Some(Arc::clone(identity));
                if let Err(status) = security.protection.unprotect(frame) {
                    security.state = SecurityState::Failed(status);
                    return Err(status);
                }
                Ok(Origin { auth_level: security.protection.level, identity, security: Some(id) })
            }
        }
    }
}
