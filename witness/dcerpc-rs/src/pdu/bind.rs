//! Bodies of bind, alter_context and their answers.

use super::wire::{DecodeError, Wire};
use crate::syntax::{NO_SYNTAX, SyntaxId};

/// One presentation context that a client proposes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContextElement {
    /// The client's number for it.
    pub context_id: u16,
    /// The interface.
    pub abstract_syntax: SyntaxId,
    /// How stubs may be encoded.
    pub transfer_syntaxes: Vec<SyntaxId>,
}

/// Body of bind and alter_context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    /// The largest fragment the client sends.
    pub max_xmit_frag: u16,
    /// The largest fragment the client takes.
    pub max_recv_frag: u16,
    /// The association group to join, 0 for a new one.
    pub assoc_group_id: u32,
    /// What it wants to talk.
    pub contexts: Vec<ContextElement>,
}

impl Bind {
    /// Reads the body behind the common header.
    pub fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        let mut wire = Wire::new(body);
        let max_xmit_frag = wire.u16()?;
        let max_recv_frag = wire.u16()?;
        let assoc_group_id = wire.u32()?;
        let count = wire.u8()?;
        wire.take(3)?;
        let mut contexts = Vec::new();
        for _ in 0..count {
            let context_id = wire.u16()?;
            let transfer_count = wire.u8()?;
            wire.u8()?;
            let abstract_syntax = wire.syntax()?;
            let transfer_syntaxes = (0..transfer_count).map(|_| wire.syntax()).collect::<Result<_, _>>()?;
            contexts.push(ContextElement { context_id, abstract_syntax, transfer_syntaxes });
        }
        Ok(Self { max_xmit_frag, max_recv_frag, assoc_group_id, contexts })
    }

    /// Writes the body.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(&self.max_xmit_frag.to_le_bytes());
        out.extend_from_slice(&self.max_recv_frag.to_le_bytes());
        out.extend_from_slice(&self.assoc_group_id.to_le_bytes());
        out.extend_from_slice(&[u8::try_from(self.contexts.len()).unwrap_or(u8::MAX), 0, 0, 0]);
        for context in self.contexts.iter().take(usize::from(u8::MAX)) {
            out.extend_from_slice(&context.context_id.to_le_bytes());
            out.extend_from_slice(&[u8::try_from(context.transfer_syntaxes.len()).unwrap_or(u8::MAX), 0]);
            out.extend_from_slice(&context.abstract_syntax.to_bytes());
            for syntax in context.transfer_syntaxes.iter().take(usize::from(u8::MAX)) {
                out.extend_from_slice(&syntax.to_bytes());
            }
        }
        out
    }
}

/// Outcome of one presentation context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names of the protocol")]
pub enum ResultCode {
    Acceptance,
    UserRejection,
    ProviderRejection,
    /// Answer to a bind-time feature element.
    NegotiateAck,
}

/// Reasons of a provider rejection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reason(pub u16);

impl Reason {
    /// No reason, or none needed.
    pub const NONE: Self = Self(0);
    /// The interface is not served.
    pub const ABSTRACT_SYNTAX: Self = Self(1);
    /// None of the transfer syntaxes is spoken.
    pub const TRANSFER_SYNTAXES: Self = Self(2);
    /// Too many contexts.
    pub const LOCAL_LIMIT: Self = Self(3);
}

/// The answer for one presentation context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContextResult {
    /// Accepted or not.
    pub result: ResultCode,
    /// Why not; or the supported feature bits.
    pub reason: Reason,
    /// The chosen transfer syntax; none if refused.
    pub transfer_syntax: SyntaxId,
}

impl ContextResult {
    /// Accepted with this transfer syntax.
    pub fn accepted(transfer_syntax: SyntaxId) -> Self {
        Self { result: ResultCode::Acceptance, reason: Reason::NONE, transfer_syntax }
    }

    /// Refused for this reason.
    pub fn refused(reason: Reason) -> Self {
        Self { result: ResultCode::ProviderRejection, reason, transfer_syntax: NO_SYNTAX }
    }

    /// Answer to the bind-time feature element.
    pub fn features(bits: u16) -> Self {
        Self { result: ResultCode::NegotiateAck, reason: Reason(bits), transfer_syntax: NO_SYNTAX }
    }
}

/// Body of bind_ack and alter_context_resp.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindAck {
    /// The largest fragment the server sends.
    pub max_xmit_frag: u16,
    /// The largest fragment the server takes.
    pub max_recv_frag: u16,
    /// The association group of the connection.
    pub assoc_group_id: u32,
    /// Port or pipe as text; empty (length 0) in alter_context_resp.
    pub secondary_address: String,
    /// One per proposed context, in order.
    pub results: Vec<ContextResult>,
}

impl BindAck {
    /// Reads the body behind the common header.
    pub fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        let mut wire = Wire::new(body);
        let max_xmit_frag = wire.u16()?;
        let max_recv_frag = wire.u16()?;
        let assoc_group_id = wire.u32()?;
        let address_bytes = usize::from(wire.u16()?);
        let address = wire.take(address_bytes)?;
        let address = address.strip_suffix(&[0]).unwrap_or(address);
        let secondary_address = String::from_utf8_lossy(address).into_owned();
        wire.align(4)?;
        let count = wire.u8()?;
        wire.take(3)?;
        let mut results = Vec::new();
        for _ in 0..count {
            let result = match wire.u16()? {
                0 => ResultCode::Acceptance,
                1 => ResultCode::UserRejection,
                2 => ResultCode::ProviderRejection,
                3 => ResultCode::NegotiateAck,
                _ => return Err(DecodeError("unknown result of a presentation context")),
            };
            results.push(ContextResult { result, reason: Reason(wire.u16()?), transfer_syntax: wire.syntax()? });
        }
        Ok(Self { max_xmit_frag, max_recv_frag, assoc_group_id, secondary_address, results })
    }

    /// Writes the body.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(&self.max_xmit_frag.to_le_bytes());
        out.extend_from_slice(&self.max_recv_frag.to_le_bytes());
        out.extend_from_slice(&self.assoc_group_id.to_le_bytes());
        if self.secondary_address.is_empty() {
            out.extend_from_slice(&[0, 0]);
        } else {
            let length = u16::try_from(self.secondary_address.len() + 1).unwrap_or(u16::MAX);
            out.extend_from_slice(&length.to_le_bytes());
            out.extend_from_slice(&self.secondary_address.as_bytes()[..usize::from(length) - 1]);
            out.push(0);
        }
        // The body starts at offset 16 of the PDU, so alignment within the body is alignment within the PDU.
        out.resize(out.len().next_multiple_of(4), 0);
        out.extend_from_slice(&[u8::try_from(self.results.len()).unwrap_or(u8::MAX), 0, 0, 0]);
        for result in self.results.iter().take(usize::from(u8::MAX)) {
            let code: u16 = match result.result {
                ResultCode::Acceptance => 0,
                ResultCode::UserRejection => 1,
                ResultCode::ProviderRejection => 2,
                ResultCode::NegotiateAck => 3,
            };
            out.extend_from_slice(&code.to_le_bytes());
            out.extend_from_slice(&result.reason.0.to_le_bytes());
            out.extend_from_slice(&result.transfer_syntax.to_bytes());
        }
        out
    }
}

/// Why a bind was refused altogether.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NakReason(pub u16);

impl NakReason {
    /// No particular reason.
    pub const NOT_SPECIFIED: Self = Self(0);
    /// Too busy.
    pub const CONGESTION: Self = Self(1);
    /// Too many of something.
    pub const LOCAL_LIMIT: Self = Self(2);
    /// The protocol version is not served.
    pub const PROTOCOL_VERSION: Self = Self(4);
    /// The security package is not served.
    pub const AUTHENTICATION_TYPE: Self = Self(8);
    /// The authentication failed.
    pub const INVALID_CHECKSUM: Self = Self(9);
}

/// Body of bind_nak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BindNak {
    /// Why.
    pub reason: NakReason,
}

impl BindNak {
    /// Reads the body; the list of versions is of no use to anybody.
    pub fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        Ok(Self { reason: NakReason(Wire::new(body).u16()?) })
    }

    /// Writes the body: the reason and the one version that we speak.
    pub fn encode(&self) -> Vec<u8> {
        let [low, high] = self.reason.0.to_le_bytes();
        vec![low, high, 1, 5, 0, 0, 0, 0]
    }
}

#[cfg(test)]
mod tests {
    use uuid::uuid;

    use super::super::{Frame, PacketType, encode, flags};
    use super::*;
    use crate::syntax::NDR20;

    fn unhex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
    }

    #[test]
    fn bind_golden_bytes() {
        let golden = unhex(
            "05000B03 10000000 48000000 01000000 D016D016 00000000 01000000 00000100 0883AFE11F5DC91191A408002B14A0FA
             03000000 045D888AEB1CC9119FE808002B104860 02000000",
        );
        let frame = Frame::parse(golden.clone()).unwrap();
        let bind = Bind::decode(frame.body()).unwrap();
        assert_eq!(bind.max_xmit_frag, 5840);
        assert_eq!(bind.contexts[0].abstract_syntax.uuid, uuid!("e1af8308-5d1f-11c9-91a4-08002b14a0fa"));
        assert_eq!(bind.contexts[0].transfer_syntaxes, [NDR20]);
        assert_eq!(encode(PacketType::Bind, flags::WHOLE, 1, &bind.encode(), None).unwrap(), golden);
    }

    #[test]
    fn bind_ack_golden_bytes() {
        let golden = unhex(
            "05000C03 10000000 3C000000 01000000 D016D016 34120000 0400 31333500 0000 01000000 0000 0000
             045D888AEB1CC9119FE808002B104860 02000000",
        );
        let frame = Frame::parse(golden.clone()).unwrap();
        let ack = BindAck::decode(frame.body()).unwrap();
        assert_eq!(ack.secondary_address, "135");
        assert_eq!(ack.assoc_group_id, 0x1234);
        assert_eq!(ack.results, [ContextResult::accepted(NDR20)]);
        assert_eq!(encode(PacketType::BindAck, flags::WHOLE, 1, &ack.encode(), None).unwrap(), golden);
    }

    #[test]
    fn truncated_bodies_are_refused() {
        let ack = BindAck {
            max_xmit_frag: 5840,
            max_recv_frag: 5840,
            assoc_group_id: 1,
            secondary_address: String::new(),
            results: vec![ContextResult::features(0)],
        };
        let bytes = ack.encode();
        assert_eq!(BindAck::decode(&bytes).unwrap(), ack);
        for length in 0..bytes.len() {
            assert!(BindAck::decode(&bytes[..length]).is_err(), "{length}");
        }
    }
}
