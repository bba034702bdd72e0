//! The client's bind: one context, NDR 2.0, and as many security legs as the package wants.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{ClientError, ClientSecurity};
use crate::limits::{FRAGMENT_BYTES_MIN, FRAGMENT_BYTES_TCP};
use crate::pdu::{
    AuthTrailer, Bind, BindAck, BindNak, ContextElement, DecodeError, FaultBody, Frame, HEADER_BYTES, PacketType, ResultCode, encode,
    flags, frame_length,
};
use crate::security::{Protection, Step, auth_type};
use crate::syntax::{NDR20, SyntaxId};

/// Legs after which a package that still wants more is given up.
const LEGS_MAX: usize = 8;

/// What the bind left behind.
pub(super) struct Bound {
    pub(super) protection: Option<Protection>,
    pub(super) fragment_bytes: usize,
    pub(super) association_group: u32,
    pub(super) next_call_id: u32,
}

pub(super) async fn bind(stream: &mut TcpStream, interface: SyntaxId, security: Option<ClientSecurity>) -> Result<Bound, ClientError> {
    let mut call_id = 1;
    let mut protection = security.map(|security| Protection {
        auth_type: security.auth_type,
        level: security.level,
        level_byte: security.level as u8,
        context_id: 1,
        header_signing: false,
        context: security.context,
    });
    let element = ContextElement { context_id: 0, abstract_syntax: interface, transfer_syntaxes: vec![NDR20] };
    let body = Bind { max_xmit_frag: FRAGMENT_BYTES_TCP, max_recv_frag: FRAGMENT_BYTES_TCP, assoc_group_id: 0, contexts: vec![element] };
    let first = match &mut protection {
        None => None,
        Some(protection) => Some(protection.context.step(&[])?),
    };
    let first_token = first.as_ref().map(token_of);
    let pfc_flags = flags::WHOLE | flags::CONC_MPX | if protection.is_some() { flags::SUPPORT_HEADER_SIGN } else { 0 };
    send(stream, PacketType::Bind, pfc_flags, call_id, &body.encode(), trailer_of(&protection), first_token).await?;
    let answer = receive(stream).await?;
    let ack = acknowledged(&answer, PacketType::BindAck)?;
    if let Some(protection) = &mut protection {
        protection.header_signing = answer.header.flags & flags::SUPPORT_HEADER_SIGN != 0;
    }
    let result = ack.results.first().ok_or(ClientError::Protocol("bind_ack has no result"))?;
    if result.result != ResultCode::Acceptance || result.transfer_syntax != NDR20 {
        return Err(ClientError::InterfaceRefused(result.reason.0));
    }
    if ack.max_recv_frag < FRAGMENT_BYTES_MIN {
        return Err(ClientError::Protocol("fragment size is too small"));
    }
    if !matches!(first, None | Some(Step::Done { .. })) {
        finish_security(stream, &body, &mut call_id, &mut protection, answer).await?;
    }
    Ok(Bound {
        protection,
        fragment_bytes: usize::from(ack.max_recv_frag.min(FRAGMENT_BYTES_TCP)),
        association_group: ack.assoc_group_id,
        next_call_id: call_id + 1,
    })
}

async fn finish_security(
    stream: &mut TcpStream,
    body: &Bind,
    call_id: &mut u32,
    protection: &mut Option<Protection>,
    mut answer: Frame,
) -> Result<(), ClientError> {
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

fn token_of(step: &Step) -> Vec<u8> {
    match step {
        Step::Continue(token) | Step::Done { token, .. } => token.clone(),
    }
}

/// Taken before the first await: a security context may be sent between threads, but not shared.
fn trailer_of(protection: &Option<Protection>) -> Option<AuthTrailer> {
    protection.as_ref().map(Protection::trailer)
}

async fn send(
    stream: &mut TcpStream,
    packet_type: PacketType,
    pfc_flags: u8,
    call_id: u32,
    body: &[u8],
    trailer: Option<AuthTrailer>,
    token: Option<Vec<u8>>,
) -> Result<(), ClientError> {
    let auth = trailer.zip(token.as_deref());
    let pdu = encode(packet_type, pfc_flags, call_id, body, auth).map_err(|DecodeError(because)| ClientError::Protocol(because))?;
    stream.write_all(&pdu).await.map_err(ClientError::Handshake)
}

async fn receive(stream: &mut TcpStream) -> Result<Frame, ClientError> {
    let mut pdu = vec![0; HEADER_BYTES];
    stream.read_exact(&mut pdu).await.map_err(ClientError::Handshake)?;
    let length = frame_length(&pdu).filter(|length| *length >= HEADER_BYTES).ok_or(ClientError::Protocol("PDU is too short"))?;
    pdu.resize(length, 0);
    stream.read_exact(&mut pdu[HEADER_BYTES..]).await.map_err(ClientError::Handshake)?;
    Frame::parse(pdu).map_err(|_| ClientError::Protocol("PDU is malformed"))
}

fn acknowledged(frame: &Frame, wanted: PacketType) -> Result<BindAck, ClientError> {
    let malformed = |_| ClientError::Protocol("answer to a bind is malformed");
    match frame.header.packet_type {
        PacketType::BindNak => Err(ClientError::BindRefused(BindNak::decode(frame.body()).map_err(malformed)?.reason)),
        PacketType::Fault => Err(ClientError::Fault(FaultBody::decode(frame.body()).map_err(malformed)?.status)),
        packet_type if packet_type == wanted => BindAck::decode(frame.body()).map_err(malformed),
        _ => Err(ClientError::Protocol("unexpected answer to a bind")),
    }
}
