//! Answers: responses in fragments, each protected by itself, and faults.

use super::{Connection, SecurityState, Unanswered};
use crate::fault::Fault;
use crate::pdu::{FaultBody, PacketType, Response, encode, flags};

const RESPONSE_STUB_OFFSET: usize = 24;

/// A fault PDU. Faults go out unsigned, as Samba's do: clients read their status before they look at a trailer, and
/// nobody gains more from a forged one than from a reset connection.
pub(super) fn fault(call_id: u32, context_id: u16, status: Fault, did_not_execute: bool) -> Vec<u8> {
    let pfc_flags = flags::WHOLE | if did_not_execute { flags::DID_NOT_EXECUTE } else { 0 };
    encode(PacketType::Fault, pfc_flags, call_id, &FaultBody { context_id, status }.encode(), None).expect("a fault has 32 bytes")
}

impl Connection {
    /// The bytes that answer a call; all fragments of one response are contiguous. Empty if nobody waits for it any
    /// more. The bytes must be sent in the order of these calls, because they are numbered.
    pub fn respond(&mut self, call_id: u32, result: Result<Vec<u8>, Fault>) -> Vec<u8> {
        let Some(Unanswered { context_id, security }) = self.active.remove(&call_id) else { return Vec::new() };
        if self.closed {
            return Vec::new();
        }
        match result {
            Ok(stub) => match self.response(call_id, context_id, security, &stub) {
                Ok(bytes) => bytes,
                Err(status) => fault(call_id, context_id, status, false),
            },
            Err(status) => fault(call_id, context_id, status, status == Fault::OPNUM_OUT_OF_RANGE),
        }
    }

    /// How many calls are unanswered.
    pub fn calls_active(&self) -> usize {
        self.active.len()
    }

    fn response(&mut self, call_id: u32, context_id: u16, security: Option<u32>, stub: &[u8]) -> Result<Vec<u8>, Fault> {
        let mut protection = match security.and_then(|id| self.security.get_mut(&id)) {
            Some(security) if matches!(security.state, SecurityState::Established(_)) && security.protection.protects() => {
                Some(&mut security.protection)
            }
            _ => None,
        };
        let overhead = protection.as_ref().map_or(0, |protection| protection.overhead());
        let boundary = if overhead > 0 { 16 } else { 8 };
        let room = self.fragment_bytes_max.saturating_sub(RESPONSE_STUB_OFFSET + overhead) / boundary * boundary;
        if room == 0 {
            return Err(Fault::OUT_OF_RESOURCES);
        }
        let mut out = Vec::with_capacity(stub.len() + RESPONSE_STUB_OFFSET + overhead + boundary);
        let mut rest = stub;
        let mut position_flags = flags::FIRST;
        loop {
            let (chunk, after) = rest.split_at(rest.len().min(room));
            if after.is_empty() {
                position_flags |= flags::LAST;
            }
            let alloc_hint = u32::try_from(rest.len()).map_err(|_| Fault::OUT_OF_RESOURCES)?;
            // windows: only the lower byte comes back, which every client ignores.
            let body = Response { alloc_hint, context_id: context_id & 0xFF, stub: chunk }.encode();
            let pdu = match &mut protection {
                None => encode(PacketType::Response, position_flags, call_id, &body, None).map_err(|_| Fault::OUT_OF_RESOURCES)?,
                Some(protection) => protection
                    .protect(PacketType::Response, position_flags, call_id, &body, RESPONSE_STUB_OFFSET)
                    .map_err(|_| Fault::SECURITY_PACKAGE)?,
            };
            out.extend_from_slice(&pdu);
            if after.is_empty() {
                return Ok(out);
            }
            rest = after;
            position_flags = 0;
        }
    }
}
