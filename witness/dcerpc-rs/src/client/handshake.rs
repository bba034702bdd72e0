//! The client's bind: one interface in the transfer syntaxes that it offers, and as many security legs as the package
//! wants.

use std::collections::BTreeMap;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{ClientConfig, ClientError, ClientSecurity, Target};
use crate::limits::{FRAGMENT_BYTES_MIN, FRAGMENT_BYTES_TCP};
use crate::pdu::{
    AuthTrailer, Bind, BindAck, BindNak, ContextElement, DecodeError, FaultBody, Frame, HEADER_BYTES, PacketType, ResultCode, encode,
    flags, frame_length,
};
use crate::security::{Protection, Step, auth_type};
use crate::syntax::{SyntaxId, TransferSyntax};

/// Legs after which a package that still wants more is given up.
pub(super) const LEGS_MAX: usize = 8;
/// The number of the first security context.
const SECURITY_ID: u32 = 1;
/// Asks for several security contexts on one connection.
const SECURITY_CONTEXT_MULTIPLEXING: u64 = 1;

/// What the bind left behind.
pub(super) struct Bound {
    /// By the number that their trailers carry.
    pub(super) protection: BTreeMap<u32, Protection>,
    pub(super) header_signing: bool,
    pub(super) fragment_bytes: usize,
    pub(super) association_group: u32,
    pub(super) next_call_id: u32,
    pub(super) next_context_id: u32,
}

/// The initiating side of a security context, before its first leg.
pub(super) fn protection_of(security: ClientSecurity, context_id: u32) -> Protection {
    Protection {
        auth_type: security.auth_type,
        level: security.level,
        level_byte: security.level as u8,
        context_id,
        header_signing: false,
        context: security.context,
    }
}

pub(super) async fn bind<T>(stream: &mut T, interface: SyntaxId, config: ClientConfig) -> Result<(Bound, Target), ClientError>
where
    T: AsyncRead + AsyncWrite + Unpin + Send,
{
    let mut call_id = 1;
    let mut protection = config.security.map(|security| protection_of(security, SECURITY_ID));
    let body = Bind {
        max_xmit_frag: FRAGMENT_BYTES_TCP,
        max_recv_frag: FRAGMENT_BYTES_TCP,
        assoc_group_id: config.association_group,
        contexts: elements(interface, &config.transfer),
    };
    let first = match &mut protection {
        None => None,
        Some(protection) => Some(protection.context.step(&[])?),
    };
    let first_token = first.as_ref().map(token_of);
    let pfc_flags = flags::WHOLE | flags::CONC_MPX | if protection.is_some() { flags::SUPPORT_HEADER_SIGN } else { 0 };
    send(stream, PacketType::Bind, pfc_flags, call_id, &body.encode(), trailer_of(&protection), first_token).await?;
    let answer = receive(stream).await?;
    let ack = acknowledged(&answer, PacketType::BindAck)?;
    let header_signing = answer.header.flags & flags::SUPPORT_HEADER_SIGN != 0;
    if let Some(protection) = &mut protection {
        protection.header_signing = header_signing;
    }
    let (context_id, transfer) = accepted(&ack, &config.transfer)?;
    if ack.max_recv_frag < FRAGMENT_BYTES_MIN {
        return Err(ClientError::Protocol("fragment size is too small"));
    }
    if !matches!(first, None | Some(Step::Done { .. })) {
        finish_security(stream, &body, &mut call_id, &mut protection, answer).await?;
    }
    let bound = Bound {
        fragment_bytes: usize::from(ack.max_recv_frag.min(FRAGMENT_BYTES_TCP)),
        association_group: ack.assoc_group_id,
        next_call_id: call_id + 1,
        next_context_id: u32::try_from(body.contexts.len()).expect("a few contexts"),
        header_signing,
        protection: protection.into_iter().map(|protection| (protection.context_id, protection)).collect(),
    };
    let security = bound.protection.keys().next().copied();
    Ok((bound, Target { context_id, transfer, security }))
}

/// One presentation context per transfer syntax, and the bind-time features behind them.
fn elements(interface: SyntaxId, transfer: &[TransferSyntax]) -> Vec<ContextElement> {
    let offered = transfer.iter().map(|transfer| transfer.id());
    let syntaxes = offered.chain([SyntaxId::of_features(SECURITY_CONTEXT_MULTIPLEXING)]);
    let element = |(context_id, syntax)| ContextElement { context_id, abstract_syntax: interface, transfer_syntaxes: vec![syntax] };
    (0..).zip(syntaxes).map(element).collect()
}

/// The last context that the server took: the client offers what it likes best last.
fn accepted(ack: &BindAck, transfer: &[TransferSyntax]) -> Result<(u16, TransferSyntax), ClientError> {
    let results = (0u16..).zip(transfer).zip(&ack.results);
    let taken =
        results.filter(|((_, transfer), result)| result.result == ResultCode::Acceptance && result.transfer_syntax == transfer.id());
    match (taken.last(), ack.results.first()) {
        (Some(((context_id, transfer), _)), _) => Ok((context_id, *transfer)),
        (None, Some(result)) => Err(ClientError::InterfaceRefused(result.reason.0)),
        (None, None) => Err(ClientError::Protocol("bind_ack has no result")),
    }
}

async fn finish_security<T>(
    stream: &mut T,
    body: &Bind,
    call_id: &mut u32,
    protection: &mut Option<Protection>,
    mut answer: Frame,
) -> Result<(), ClientError>
where
    T: AsyncRead + AsyncWrite + Unpin + Send,
{
    for _ in 0..LEGS_MAX {
        let Some(current) = protection.as_mut() else { return Ok(()) };
        let step = current.context.step(answer.token())?;
        let done = matches!(step, Step::Done { .. });
        let token = token_of(&step);
        if done && token.is_empty() {
            return Ok(());
        }
        *call_id += 1;
        if done && current.auth_type != auth_type::SPNEGO {
            // The last leg needs no answer: auth3, whose body is four bytes of padding.
            send(stream, PacketType::Auth3, flags::WHOLE, *call_id, &[0; 4], trailer_of(protection), Some(token)).await?;
            return Ok(());
        }
        send(stream, PacketType::AlterContext, flags::WHOLE, *call_id, &body.encode(), trailer_of(protection), Some(token)).await?;
        answer = receive(stream).await?;
        acknowledged(&answer, PacketType::AlterContextResponse)?;
        if done {
            return Ok(());
        }
    }
    Err(ClientError::Protocol("authentication has no end"))
}

pub(super) fn token_of(step: &Step) -> Vec<u8> {
    match step {
        Step::Continue(token) | Step::Done { token, .. } => token.clone(),
    }
}

/// Taken before the first await: a security context may be sent between threads, but not shared.
fn trailer_of(protection: &Option<Protection>) -> Option<AuthTrailer> {
    protection.as_ref().map(Protection::trailer)
}

async fn send<T: AsyncWrite + Unpin>(
    stream: &mut T,
    packet_type: PacketType,
    pfc_flags: u8,
    call_id: u32,
    body: &[u8],
    trailer: Option<AuthTrailer>,
    token: Option<Vec<u8>>,
) -> Result<(), ClientError> {
    let auth = trailer.zip(token.as_deref());
    let pdu = encode(packet_type, pfc_flags, call_id, body, auth).map_err(|DecodeError(because)| ClientError::Protocol(because))?;
    stream.write_all(&pdu).await.map_err(ClientError::Handshake)?;
    stream.flush().await.map_err(ClientError::Handshake)
}

async fn receive<T: AsyncRead + Unpin>(stream: &mut T) -> Result<Frame, ClientError> {
    let mut pdu = vec![0; HEADER_BYTES];
    stream.read_exact(&mut pdu).await.map_err(ClientError::Handshake)?;
    let length = frame_length(&pdu).filter(|length| *length >= HEADER_BYTES).ok_or(ClientError::Protocol("PDU is too short"))?;
    pdu.resize(length, 0);
    stream.read_exact(&mut pdu[HEADER_BYTES..]).await.map_err(ClientError::Handshake)?;
    Frame::parse(pdu).map_err(|_| ClientError::Protocol("PDU is malformed"))
}

pub(super) fn acknowledged(frame: &Frame, wanted: PacketType) -> Result<BindAck, ClientError> {
    let malformed = |_| ClientError::Protocol("answer to a bind is malformed");
    match frame.header.packet_type {
        PacketType::BindNak => Err(ClientError::BindRefused(BindNak::decode(frame.body()).map_err(malformed)?.reason)),
        PacketType::Fault => Err(ClientError::Fault(FaultBody::decode(frame.body()).map_err(malformed)?.status)),
        packet_type if packet_type == wanted => BindAck::decode(frame.body()).map_err(malformed),
        _ => Err(ClientError::Protocol("unexpected answer to a bind")),
    }
}
