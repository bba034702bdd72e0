//! alter_context on a connection that is in use: one more interface, and with it one more security context if wanted.
//! Its legs go between the PDUs of the calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::oneshot;

use super::handshake::{LEGS_MAX, acknowledged, protection_of, token_of};
use super::{ClientError, ClientSecurity, Target};
use crate::limits::FRAGMENT_BYTES_TCP;
use crate::pdu::{AuthTrailer, Bind, ContextElement, Frame, PacketType, ResultCode, encode, flags};
use crate::security::{Protection, Step, auth_type};
use crate::syntax::SyntaxId;

/// What a client wants besides its first interface.
pub(super) struct Order {
    pub(super) interface: SyntaxId,
    /// As the calls shall be made; its security is replaced by a new one if that is ordered.
    pub(super) target: Target,
    pub(super) security: Option<ClientSecurity>,
    pub(super) call_ids: Arc<AtomicU32>,
    pub(super) answer: oneshot::Sender<Result<Target, ClientError>>,
}

/// An alter_context that waits for an answer.
pub(super) struct Altering {
    interface: SyntaxId,
    target: Target,
    protection: Option<Protection>,
    /// True once our side of the security context has nothing more to say.
    is_done: bool,
    legs: usize,
    call_ids: Arc<AtomicU32>,
    answer: oneshot::Sender<Result<Target, ClientError>>,
}

/// What follows from an answer.
pub(super) enum Next {
    /// Send this and wait on.
    Ask(Altering, u32, Vec<u8>),
    /// Finished: keep this security context, and send this first if there is something.
    Finished(Option<Protection>, Option<Vec<u8>>),
}

impl Altering {
    /// The first leg with its call_id and PDU; `None` if it failed before anything was sent.
    pub(super) fn start(order: Order, security_id: u32, header_signing: bool) -> Option<(Self, u32, Vec<u8>)> {
        let Order { interface, mut target, security, call_ids, answer } = order;
        let mut protection = security.map(|security| protection_of(security, security_id));
        let mut token = None;
        let mut is_done = true;
        if let Some(protection) = &mut protection {
            protection.header_signing = header_signing;
            target.security = Some(security_id);
            match protection.context.step(&[]) {
                Ok(step) => {
                    is_done = matches!(step, Step::Done { .. });
                    token = Some(token_of(&step));
                }
                Err(error) => {
                    _ = answer.send(Err(error.into()));
                    return None;
                }
            }
        }
        let altering = Self { interface, target, protection, is_done, legs: 0, call_ids, answer };
        let (call_id, pdu) = altering.leg(token);
        Some((altering, call_id, pdu))
    }

    fn leg(&self, token: Option<Vec<u8>>) -> (u32, Vec<u8>) {
        let call_id = self.call_ids.fetch_add(1, Ordering::Relaxed);
        let Target { context_id, transfer, .. } = self.target;
        let element = ContextElement { context_id, abstract_syntax: self.interface, transfer_syntaxes: vec![transfer.id()] };
        let fragment = FRAGMENT_BYTES_TCP;
        let body = Bind { max_xmit_frag: fragment, max_recv_frag: fragment, assoc_group_id: 0, contexts: vec![element] };
        let pdu = self.pdu(PacketType::AlterContext, call_id, &body.encode(), token);
        (call_id, pdu)
    }

    fn pdu(&self, packet_type: PacketType, call_id: u32, body: &[u8], token: Option<Vec<u8>>) -> Vec<u8> {
        let trailer: Option<AuthTrailer> = self.protection.as_ref().map(Protection::trailer);
        encode(packet_type, flags::WHOLE, call_id, body, trailer.zip(token.as_deref())).unwrap_or_default()
    }

    /// Takes the server's answer.
    pub(super) fn answered(mut self, frame: &Frame) -> Next {
        let result = acknowledged(frame, PacketType::AlterContextResponse).and_then(|ack| {
            let wanted = self.target.transfer.id();
            let result = ack.results.first().ok_or(ClientError::Protocol("alter_context_resp has no result"))?;
            let accepted = result.result == ResultCode::Acceptance && result.transfer_syntax == wanted;
            if accepted { Ok(()) } else { Err(ClientError::InterfaceRefused(result.reason.0)) }
        });
        if let Err(error) = result {
            return self.finish(Err(error), None);
        }
        let Some(protection) = self.protection.as_mut().filter(|_| !self.is_done) else {
            return self.finish(Ok(()), None);
        };
        self.legs += 1;
        let is_spnego = protection.auth_type == auth_type::SPNEGO;
        match protection.context.step(frame.token()) {
            Err(error) => self.finish(Err(error.into()), None),
            Ok(Step::Done { token, .. }) if token.is_empty() => self.finish(Ok(()), None),
            Ok(Step::Done { token, .. }) if !is_spnego => {
                // The last leg needs no answer: auth3, whose body is four bytes of padding.
                let call_id = self.call_ids.fetch_add(1, Ordering::Relaxed);
                let last = self.pdu(PacketType::Auth3, call_id, &[0; 4], Some(token));
                self.finish(Ok(()), Some(last))
            }
            Ok(_) if self.legs >= LEGS_MAX => self.finish(Err(ClientError::Protocol("authentication has no end")), None),
            Ok(step) => {
                self.is_done = matches!(step, Step::Done { .. });
                let (call_id, pdu) = self.leg(Some(token_of(&step)));
                Next::Ask(self, call_id, pdu)
            }
        }
    }

    fn finish(self, result: Result<(), ClientError>, last: Option<Vec<u8>>) -> Next {
        let protection = self.protection.filter(|_| result.is_ok());
        _ = self.answer.send(result.map(|()| self.target));
        Next::Finished(protection, last)
    }
}
