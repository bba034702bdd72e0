//! Requests: security check, reassembly, limits, and the presentation context's interface.

use std::sync::Arc;

use uuid::Uuid;

use super::{Action, Connection, IncomingCall, SecurityState, respond, verification};
use crate::fault::Fault;
use crate::pdu::{Frame, Request, flags};
use crate::security::{AuthLevel, Identity};

/// A request of which some fragments are still missing.
pub(super) struct Partial {
    pub(super) call_id: u32,
    context_id: u16,
    opnum: u16,
    object: Option<Uuid>,
    stub: Vec<u8>,
}

impl Connection {
    pub(super) fn handle_request(&mut self, mut frame: Frame, actions: &mut Vec<Action>) {
        let call_id = frame.header.call_id;
        if self.membership.is_none() {
            return self.protocol_error(call_id, 0, "request before bind", actions);
        }
        let (auth_level, identity) = match self.check_protection(&mut frame) {
            Ok(checked) => checked,
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
        let mut partial = match (first, self.partial.take()) {
            (true, None) => {
                if !self.admit(call_id, &request, actions) {
                    return;
                }
                let Request { context_id, opnum, object, .. } = request;
                Partial { call_id, context_id, opnum, object, stub: Vec::new() }
            }
            (false, Some(partial)) => partial,
            (true, Some(_)) => return self.protocol_error(call_id, request.context_id, "two requests are mixed", actions),
            // MS-RPCE 3.3.3.5: rests of a call that is finished or was cancelled meanwhile come late; drop them.
            (false, None) => return,
        };
        if partial.call_id != call_id || partial.context_id != request.context_id || partial.opnum != request.opnum {
            return self.protocol_error(call_id, request.context_id, "fragments contradict each other", actions);
        }
        if partial.stub.len() + request.stub.len() > self.config.limits.stub_bytes_max {
            actions.push(Action::Send(respond::fault(call_id, request.context_id, Fault::ACCESS_DENIED, true)));
            return self.disconnect("request is too long", actions);
        }
        partial.stub.extend_from_slice(request.stub);
        if frame.header.flags & flags::LAST == 0 {
            self.partial = Some(partial);
            return;
        }
        self.dispatch(partial, auth_level, identity, actions);
    }

    /// Decides at the first fragment whether there is room for a call.
    fn admit(&mut self, call_id: u32, request: &Request<'_>, actions: &mut Vec<Action>) -> bool {
        if self.active.contains_key(&call_id) {
            self.protocol_error(call_id, request.context_id, "call_id is in use", actions);
            return false;
        }
        if !self.concurrent && !self.active.is_empty() {
            self.protocol_error(call_id, request.context_id, "several calls without concurrent multiplexing", actions);
            return false;
        }
        true
    }

    fn dispatch(&mut self, partial: Partial, auth_level: AuthLevel, identity: Option<Arc<Identity>>, actions: &mut Vec<Action>) {
        let Partial { call_id, context_id, opnum, object, mut stub } = partial;
        let mut refuse = |status| actions.push(Action::Send(respond::fault(call_id, context_id, status, true)));
        if self.active.len() >= self.config.limits.calls_max {
            return refuse(Fault::TOO_BUSY);
        }
        let Some(interface) = self.contexts.get(&context_id) else {
            return refuse(Fault::UNKNOWN_INTERFACE);
        };
        match verification::check(&stub, call_id, context_id, opnum, &interface.syntax()) {
            Ok(length) => stub.truncate(length),
            Err(status) => return refuse(status),
        }
        let association = &self.membership.as_ref().expect("checked before the first fragment").association;
        let call = IncomingCall {
            call_id,
            interface: Arc::clone(interface),
            opnum,
            stub,
            object,
            auth_level,
            identity,
            association: Arc::clone(association),
        };
        self.active.insert(call_id, context_id);
        actions.push(Action::Call(call));
    }

    fn check_protection(&mut self, frame: &mut Frame) -> Result<(AuthLevel, Option<Arc<Identity>>), Fault> {
        let Some(security) = &mut self.security else {
            return match frame.auth {
                None => Ok((AuthLevel::None, self.config.transport_identity.clone())),
                Some(_) => Err(Fault::SECURITY_PACKAGE),
            };
        };
        match &security.state {
            SecurityState::Negotiating => Err(Fault::SECURITY_PACKAGE),
            SecurityState::Failed(status) => Err(*status),
            SecurityState::Established(identity) => {
                let identity = Arc::clone(identity);
                if let Err(status) = security.protection.unprotect(frame) {
                    security.state = SecurityState::Failed(status);
                    return Err(status);
                }
                Ok((security.protection.level, Some(identity)))
            }
        }
    }
}
