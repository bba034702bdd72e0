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
    origin: Origin,
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
        let first = frame.header.flags & flags::FIRST != 0;
        match (first, self.partial.take()) {
            (true, None) => self.first_fragment(frame, actions),
            (_, Some(partial)) => self.next_fragment(partial, frame, actions),
            (false, None) => self.lone_fragment(&mut frame, actions),
        }
    }

    /// A fragment without a first one is late if its call was refused meanwhile, and otherwise an error.
    // MS-RPCE 3.3.3.5
    fn lone_fragment(&mut self, frame: &mut Frame, actions: &mut Vec<Action>) {
        let call_id = frame.header.call_id;
        let is_late = self.discarded == Some(call_id);
        // windows: a connection with one call at a time does not look at what it is a fragment of.
        let context_id = if self.concurrent { context_id_of(frame) } else { 0 };
        if !is_late && !self.concurrent {
            return self.protocol_error(call_id, 0, "a request has no first fragment", actions);
        }
        if !is_late && !self.contexts.contains_key(&context_id) {
            return actions.push(Action::Send(respond::fault(call_id, 0, Fault::UNKNOWN_INTERFACE, true)));
        }
        // The signature counts even if the fragment does not.
        if let Err(status) = self.check_protection(frame) {
            let fault = respond::fault(call_id, context_id, status, false);
            return self.fatal(fault, "fragment is not protected as agreed", actions);
        }
        if !is_late {
            return self.protocol_error(call_id, context_id, "a request has no first fragment", actions);
        }
        if frame.header.flags & flags::LAST != 0 {
            self.discarded = None;
        }
    }

    fn first_fragment(&mut self, mut frame: Frame, actions: &mut Vec<Action>) {
        let call_id = frame.header.call_id;
        let context_id = context_id_of(&frame);
        if self.is_authenticating(&frame) {
            // windows: nothing of the request is looked at.
            let fault = respond::fault(call_id, 0, Fault::PROTOCOL_ERROR, true);
            return self.fatal(fault, "request during the authentication", actions);
        }
        let origin = match self.check_protection(&mut frame) {
            Ok(origin) => origin,
            Err(status) => {
                let fault = respond::fault(call_id, context_id, status, false);
                return self.fatal(fault, "request is not protected as agreed", actions);
            }
        };
        let has_object = frame.header.flags & flags::OBJECT_UUID != 0;
        let Ok(request) = Request::decode(frame.body(), has_object) else {
            return self.protocol_error(call_id, 0, "request is malformed", actions);
        };
        if let Some(partial) = self.begin(call_id, &request, origin, actions) {
            self.append(partial, &request, frame.header.flags, actions);
        }
    }

    fn next_fragment(&mut self, partial: Partial, mut frame: Frame, actions: &mut Vec<Action>) {
        let call_id = frame.header.call_id;
        if call_id != partial.call_id {
            // windows: blamed on the new call if calls may run beside each other, on the unfinished one otherwise.
            let (call_id, context_id) = if self.concurrent { (call_id, 0) } else { (partial.call_id, partial.context_id) };
            return self.protocol_error(call_id, context_id, "two requests are mixed", actions);
        }
        let checked = match partial.origin.security.and_then(|id| self.security.get_mut(&id)) {
            Some(security) => security.protection.unprotect_next(&mut frame),
            None if frame.auth.is_some() => Err(Fault::ACCESS_DENIED),
            None => Ok(()),
        };
        if let Err(status) = checked {
            let fault = respond::fault(call_id, partial.context_id, status, false);
            return self.fatal(fault, "fragment is not protected as the first one was", actions);
        }
        if frame.header.flags & flags::FIRST != 0 {
            return self.protocol_error(call_id, partial.context_id, "a request has two first fragments", actions);
        }
        let has_object = frame.header.flags & flags::OBJECT_UUID != 0;
        let Ok(request) = Request::decode(frame.body(), has_object) else {
            return self.protocol_error(call_id, partial.context_id, "request is malformed", actions);
        };
        self.append(partial, &request, frame.header.flags, actions);
    }

    /// Decides at the first fragment whether there is room for a call.
    fn begin(&mut self, call_id: u32, request: &Request<'_>, origin: Origin, actions: &mut Vec<Action>) -> Option<Partial> {
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
        Some(Partial { call_id, context_id, opnum, object, origin, fragments: 0, stub: Vec::new(), reservation })
    }

    /// Adds a fragment, unless it is one too many; with the last one the call begins.
    fn append(&mut self, mut partial: Partial, request: &Request<'_>, pfc_flags: u8, actions: &mut Vec<Action>) {
        let Partial { call_id, context_id, .. } = partial;
        let limits = &self.config.limits;
        partial.fragments += 1;
        if partial.stub.len() + request.stub.len() > limits.stub_bytes_max || partial.fragments > limits.fragments_max {
            let fault = respond::fault(call_id, context_id, Fault::ACCESS_DENIED, true);
            return self.fatal(fault, "request is too long", actions);
        }
        // Who has not authenticated cannot take the memory that the others need.
        let share = if partial.origin.auth_level == AuthLevel::None { 2 } else { 1 };
        if !partial.reservation.grow(request.stub.len(), limits.stub_bytes_total_max / share) {
            self.discarded = (pfc_flags & flags::LAST == 0).then_some(call_id);
            return actions.push(Action::Send(respond::fault(call_id, context_id, Fault::OUT_OF_RESOURCES, true)));
        }
        partial.stub.extend_from_slice(request.stub);
        if pfc_flags & flags::LAST == 0 {
            self.partial = Some(partial);
        } else {
            self.dispatch(partial, actions);
        }
    }

    fn dispatch(&mut self, partial: Partial, actions: &mut Vec<Action>) {
        let Partial { call_id, context_id, opnum, object, origin, mut stub, reservation, .. } = partial;
        let mut refuse = |status| actions.push(Action::Send(respond::fault(call_id, context_id, status, true)));
        if self.active.len() >= self.config.limits.calls_max {
            return refuse(Fault::TOO_BUSY);
        }
        let Some(presentation) = self.contexts.get(&context_id) else {
            return actions.push(Action::Send(respond::fault(call_id, 0, Fault::UNKNOWN_INTERFACE, true)));
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
        self.active.insert(call_id, Unanswered { context_id, security: origin.security });
        actions.push(Action::Call(call));
    }

    /// True if the security context of a request is not finished yet.
    fn is_authenticating(&self, frame: &Frame) -> bool {
        let id = frame.auth.map(|trailer| trailer.context_id).or(self.security_default);
        let security = id.and_then(|id| self.security.get(&id));
        security.is_some_and(|security| matches!(security.state, SecurityState::Negotiating))
    }

    /// A PDU with a trailer is judged by the security context that it names, one without by that of the bind.
    fn check_protection(&mut self, frame: &mut Frame) -> Result<Origin, Fault> {
        if !frame.is_trailer_aligned() {
            return Err(Fault::PROTOCOL_ERROR);
        }
        let Some(id) = frame.auth.map(|trailer| trailer.context_id).or(self.security_default) else {
            let identity = self.config.transport_identity.clone();
            return Ok(Origin { auth_level: AuthLevel::None, identity, security: None });
        };
        let security = self.security.get_mut(&id).ok_or(Fault::ACCESS_DENIED)?;
        match &security.state {
            SecurityState::Negotiating => Err(Fault::PROTOCOL_ERROR),
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

/// The presentation context that a request names, before its protection was checked. It is never encrypted.
fn context_id_of(frame: &Frame) -> u16 {
    Request::decode(frame.body(), false).map_or(0, |request| request.context_id)
}
