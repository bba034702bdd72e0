//! The task that owns a client's socket: requests out, fragments in, answers to whom they belong.

use std::collections::BTreeMap;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};

use super::alter::{Altering, Next};
use super::handshake::Bound;
use super::{ClientError, Command, RESPONSE_BYTES_MAX, Target};
use crate::fault::Fault;
use crate::pdu::{FaultBody, Frame, HEADER_BYTES, PacketType, Request, Response, encode, flags, frame_length};

const REQUEST_STUB_OFFSET: usize = 24;

struct Waiting {
    answer: oneshot::Sender<Result<Vec<u8>, ClientError>>,
    stub: Vec<u8>,
    /// The security context that the request went with.
    security: Option<u32>,
}

struct Driver {
    bound: Bound,
    waiting: BTreeMap<u32, Waiting>,
    altering: BTreeMap<u32, Altering>,
    output: BytesMut,
    input: BytesMut,
}

pub(super) async fn connection<T>(stream: T, bound: Bound, mut commands: mpsc::UnboundedReceiver<Command>)
where
    T: AsyncRead + AsyncWrite + Unpin + Send,
{
    let mut driver = Driver { bound, waiting: BTreeMap::new(), altering: BTreeMap::new(), output: BytesMut::new(), input: BytesMut::new() };
    let (mut reader, mut writer) = tokio::io::split(stream);
    loop {
        tokio::select! {
            written = writer.write(&driver.output), if !driver.output.is_empty() => match written {
                Ok(count) if count > 0 => driver.output.advance(count),
                Ok(_) | Err(_) => break,
            },
            command = commands.recv() => match command {
                Some(command) => if driver.command(command).is_err() { break },
                None => break,
            },
            count = reader.read_buf(&mut driver.input) => match count {
                Ok(count) if count > 0 => if let Err(because) = driver.receive() {
                    tracing::debug!(because, "closing the connection to the server");
                    break;
                },
                Ok(_) | Err(_) => break,
            },
        }
    }
}

impl Driver {
    fn command(&mut self, command: Command) -> Result<(), ()> {
        match command {
            Command::Call { call_id, target, opnum, stub, answer } => {
                self.request(call_id, target, opnum, &stub)?;
                self.waiting.insert(call_id, Waiting { answer, stub: Vec::new(), security: target.security });
            }
            Command::Alter(order) => {
                let security_id = self.bound.protection.keys().next_back().map_or(1, |last| last + 1);
                if let Some((altering, call_id, pdu)) = Altering::start(order, security_id, self.bound.header_signing) {
                    self.altering.insert(call_id, altering);
                    self.output.extend_from_slice(&pdu);
                }
            }
            Command::Cancel { call_id } if self.waiting.contains_key(&call_id) => self.abandon(PacketType::CoCancel, call_id)?,
            Command::Orphan { call_id } if self.waiting.remove(&call_id).is_some() => {
                self.abandon(PacketType::Orphaned, call_id)?;
            }
            Command::Cancel { .. } | Command::Orphan { .. } => {}
        }
        Ok(())
    }

    fn abandon(&mut self, packet_type: PacketType, call_id: u32) -> Result<(), ()> {
        let pdu = encode(packet_type, flags::WHOLE, call_id, &[], None).map_err(|_| ())?;
        self.output.extend_from_slice(&pdu);
        Ok(())
    }

    fn request(&mut self, call_id: u32, target: Target, opnum: u16, stub: &[u8]) -> Result<(), ()> {
        let protection = target.security.and_then(|id| self.bound.protection.get_mut(&id));
        let mut protection = protection.filter(|protection| protection.protects());
        let overhead = protection.as_ref().map_or(0, |protection| protection.overhead());
        let room = self.bound.fragment_bytes.saturating_sub(REQUEST_STUB_OFFSET + overhead) / 16 * 16;
        let mut rest = stub;
        let mut pfc_flags = flags::FIRST;
        loop {
            let (chunk, after) = rest.split_at(rest.len().min(room.max(16)));
            if after.is_empty() {
                pfc_flags |= flags::LAST;
            }
            let alloc_hint = u32::try_from(rest.len()).map_err(|_| ())?;
            let body = Request { alloc_hint, context_id: target.context_id, opnum, object: None, stub: chunk }.encode();
            let pdu = match &mut protection {
                None => encode(PacketType::Request, pfc_flags, call_id, &body, None).map_err(|_| ())?,
                Some(protection) => {
                    protection.protect(PacketType::Request, pfc_flags, call_id, &body, REQUEST_STUB_OFFSET).map_err(|_| ())?
                }
            };
            self.output.extend_from_slice(&pdu);
            if after.is_empty() {
                return Ok(());
            }
            rest = after;
            pfc_flags = 0;
        }
    }

    fn receive(&mut self) -> Result<(), &'static str> {
        while let Some(length) = frame_length(&self.input) {
            if length < HEADER_BYTES {
                return Err("PDU is shorter than its header");
            }
            if self.input.len() < length {
                break;
            }
            let frame = Frame::parse(self.input.split_to(length).to_vec()).map_err(|_| "PDU is malformed")?;
            self.handle(frame)?;
        }
        Ok(())
    }

    fn handle(&mut self, mut frame: Frame) -> Result<(), &'static str> {
        let call_id = frame.header.call_id;
        match frame.header.packet_type {
            PacketType::Response => {
                self.unprotect(&mut frame)?;
                let response = Response::decode(frame.body()).map_err(|_| "response is malformed")?;
                let Some(waiting) = self.waiting.get_mut(&call_id) else { return Ok(()) };
                if waiting.stub.len() + response.stub.len() > RESPONSE_BYTES_MAX {
                    return Err("response is too long");
                }
                waiting.stub.extend_from_slice(response.stub);
                if frame.header.flags & flags::LAST != 0 {
                    let waiting = self.waiting.remove(&call_id).expect("found above");
                    _ = waiting.answer.send(Ok(waiting.stub));
                }
                Ok(())
            }
            PacketType::AlterContextResponse | PacketType::Fault if self.altering.contains_key(&call_id) => {
                let altering = self.altering.remove(&call_id).expect("found above");
                self.altered(altering.answered(&frame));
                Ok(())
            }
            PacketType::Fault => {
                // Servers send faults unsigned too; a signed one takes a sequence number.
                if frame.auth.is_some() {
                    self.unprotect(&mut frame)?;
                }
                let fault = FaultBody::decode(frame.body()).map_err(|_| "fault is malformed")?;
                if let Some(waiting) = self.waiting.remove(&call_id) {
                    _ = waiting.answer.send(Err(ClientError::Fault(fault.status)));
                }
                Ok(())
            }
            PacketType::Shutdown => Err("server shuts down"),
            _ => Err("a server does not send this PDU now"),
        }
    }

    fn altered(&mut self, next: Next) {
        match next {
            Next::Ask(altering, call_id, pdu) => {
                self.altering.insert(call_id, altering);
                self.output.extend_from_slice(&pdu);
            }
            Next::Finished(protection, last) => {
                self.bound.protection.extend(protection.map(|protection| (protection.context_id, protection)));
                self.output.extend_from_slice(&last.unwrap_or_default());
            }
        }
    }

    /// An answer must come as its call went: with the trailer of its security context, or without one.
    fn unprotect(&mut self, frame: &mut Frame) -> Result<(), &'static str> {
        let id = match self.waiting.get(&frame.header.call_id) {
            Some(waiting) => waiting.security,
            // Nobody waits for it any more, but it has taken a sequence number.
            None => frame.auth.map(|trailer| trailer.context_id),
        };
        let Some(protection) = id.and_then(|id| self.bound.protection.get_mut(&id)) else { return Ok(()) };
        protection.unprotect(frame).map_err(|fault| match fault {
            Fault::SECURITY_PACKAGE => "signature of an answer does not verify",
            _ => "answer is not protected as agreed",
        })
    }
}
