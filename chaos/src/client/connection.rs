//! One SMB connection: framing, message ids, credits, signatures, encryption, and who waits for which answer.
//!
//! Knows nothing of what the messages ask for, nor of what to do when the connection goes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use smb_auth::{NonceSequence, Role, SealingKey, SigningKey, sealing::TRANSFORM_HEADER_LENGTH};
use smb_proto::frame::{self, MessageKind, PREFIX_SIZE};
use smb_proto::header::{HeaderFlags, UNSOLICITED_MESSAGE_ID};
use smb_proto::message::oplock_break::OplockBreakResponse;
use smb_proto::{Command, Header};
use smb_types::NtStatus;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::error::ClientError;

/// How long a TCP connection may take to be made.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);
/// Credits that we like to hold.
const CREDITS_WANTED: u16 = 256;
/// Bytes that one credit pays for.
const CREDIT_BYTES: usize = 65_536;

/// What a session adds to its connection.
#[derive(Debug)]
pub(super) struct Security {
    pub(super) session_id: u64,
    pub(super) signing: SigningKey,
    pub(super) sealing: Option<Sealing>,
    pub(super) encrypt_all: bool,
}

/// Keys of an encrypting session.
#[derive(Debug)]
pub(super) struct Sealing {
    pub(super) outgoing: SealingKey,
    pub(super) incoming: SealingKey,
    pub(super) nonces: NonceSequence,
}

/// What the header of a request says beyond its command.
#[derive(Clone, Copy, Debug, Default)]
pub struct Call {
    /// SessionId, where the connection has no session yet (during a logon).
    pub session_id: Option<u64>,
    /// TreeId.
    pub tree_id: u32,
    /// SMB2_FLAGS_REPLAY_OPERATION.
    pub replay: bool,
    /// ChannelSequence.
    pub channel_sequence: u16,
    /// Bytes sent or wanted, for the credit charge.
    pub payload_bytes: usize,
    /// Encrypt this request, because its share wants it.
    pub encrypt: bool,
}

/// A whole response.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Its header.
    pub header: Header,
    /// Its bytes from the header on.
    pub message: Bytes,
    /// The request's bytes from the header on; kept for NEGOTIATE and SESSION_SETUP only.
    pub sent: Bytes,
}

impl Reply {
    /// Its status.
    #[must_use]
    pub const fn status(&self) -> NtStatus {
        self.header.status()
    }

    /// Itself, if the server agreed.
    pub fn succeeded(self, what: &'static str) -> Result<Self, ClientError> {
        match self.status() {
            NtStatus::SUCCESS => Ok(self),
            status => Err(ClientError::Status { what, status }),
        }
    }
}

struct Pending {
    answer: oneshot::Sender<Reply>,
    sent: Bytes,
    async_id: Option<u64>,
}

struct Table {
    next_message_id: u64,
    credits: u32,
    pending: BTreeMap<u64, Pending>,
    closed: bool,
}

struct Inner {
    peer: SocketAddr,
    /// Taken out when the connection ends, so that the socket is closed however many still hold the connection.
    writer: tokio::sync::Mutex<Option<OwnedWriteHalf>>,
    table: Mutex<Table>,
    credits_came: Notify,
    security: OnceLock<Security>,
    closed: CancellationToken,
    request_limit: Duration,
}

/// A connection that is shared by everything that uses it; it closes when told to, or when the server does.
#[derive(Clone)]
pub struct Connection {
    inner: Arc<Inner>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Connection({})", self.inner.peer)
    }
}

impl Connection {
    /// Connects; breaks that the server sends are handed to the receiver. `request_limit` is how long a silent server is believed in.
    pub async fn connect(
        address: SocketAddr,
        request_limit: Duration,
    ) -> Result<(Self, mpsc::UnboundedReceiver<OplockBreakResponse>), ClientError> {
        let failed = |source| ClientError::Connect { address: address.to_string(), source };
        let stream = tokio::time::timeout(CONNECT_LIMIT, TcpStream::connect(address))
            .await
            .map_err(|_| failed(std::io::ErrorKind::TimedOut.into()))?
            .map_err(failed)?;
        Self::over(stream, request_limit).map_err(failed)
    }

    /// Speaks over a TCP connection that is there already.
    pub fn over(stream: TcpStream, request_limit: Duration) -> std::io::Result<(Self, mpsc::UnboundedReceiver<OplockBreakResponse>)> {
        stream.set_nodelay(true)?;
        let address = stream.peer_addr()?;
        let (reader, writer) = stream.into_split();
        let inner = Arc::new(Inner {
            peer: address,
            writer: tokio::sync::Mutex::new(Some(writer)),
            // MS-SMB2 3.2.5.1: a new connection owns one credit.
            table: Mutex::new(Table { next_message_id: 0, credits: 1, pending: BTreeMap::new(), closed: false }),
            credits_came: Notify::new(),
            security: OnceLock::new(),
            closed: CancellationToken::new(),
            request_limit,
        });
        let (breaks, receiver) = mpsc::unbounded_channel();
        let connection = Self { inner };
        tokio::spawn(connection.clone().read_all(reader, breaks));
        Ok((connection, receiver))
    }

    /// The server's address.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.inner.peer
    }

    /// Tells whether it has ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.inner.closed.is_cancelled()
    }

    /// Waits until it has ended.
    pub async fn closed(&self) {
        self.inner.closed.cancelled().await;
    }

    /// Ends it: whoever waits for an answer hears `Lost`.
    pub fn sever(&self) {
        let mut table = self.table();
        table.closed = true;
        table.pending.clear();
        drop(table);
        self.inner.closed.cancel();
        self.inner.credits_came.notify_waiters();
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.inner.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything from now on is signed, or encrypted, with these keys.
    pub(super) fn secure(&self, security: Security) -> Result<(), ClientError> {
        self.inner.security.set(security).map_err(|_| ClientError::Protocol("second session on a connection"))
    }

    /// Sends a request and waits for its final answer, whatever its status.
    pub async fn call(&self, command: Command, call: Call, body: impl FnOnce(&mut Vec<u8>)) -> Result<Reply, ClientError> {
        let charge = u16::try_from(call.payload_bytes.saturating_sub(1) / CREDIT_BYTES + 1).unwrap_or(u16::MAX);
        let first = self.acquire(charge).await?;
        let (answer, receiver) = oneshot::channel();
        let frame = self.encode(command, &call, charge, first, body)?;
        let keep = matches!(command, Command::Negotiate | Command::SessionSetup);
        let sent = if keep { Bytes::copy_from_slice(frame.get(PREFIX_SIZE..).unwrap_or_default()) } else { Bytes::new() };
        {
            let mut table = self.table();
            if table.closed {
                return Err(ClientError::Lost);
            }
            table.pending.insert(first, Pending { answer, sent, async_id: None });
        }
        self.send(&frame).await?;
        self.wait(first, receiver).await
    }

    /// Sends a request and waits for no answer; `body` may spoil what it appends, which is signed or encrypted afterwards.
    pub async fn post(&self, command: Command, call: Call, body: impl FnOnce(&mut Vec<u8>)) -> Result<(), ClientError> {
        let first = self.acquire(1).await?;
        let frame = self.encode(command, &call, 1, first, body)?;
        self.send(&frame).await
    }

    /// Waits for an answer; a server that stays silent too long without having said PENDING is given up.
    async fn wait(&self, message_id: u64, mut receiver: oneshot::Receiver<Reply>) -> Result<Reply, ClientError> {
        loop {
            match tokio::time::timeout(self.inner.request_limit, &mut receiver).await {
                Ok(answer) => return answer.map_err(|_| ClientError::Lost),
                Err(_) => {
                    let is_async = self.table().pending.get(&message_id).is_some_and(|p| p.async_id.is_some());
                    if !is_async {
                        tracing::debug!(peer = %self.inner.peer, message_id, "no answer in time: connection is given up");
                        self.sever();
                        return Err(ClientError::Lost);
                    }
                }
            }
        }
    }

    /// Waits for credits and takes `charge` message ids; returns the first.
    async fn acquire(&self, charge: u16) -> Result<u64, ClientError> {
        loop {
            let came = self.inner.credits_came.notified();
            {
                let mut table = self.table();
                if table.closed {
                    return Err(ClientError::Lost);
                }
                if table.credits >= u32::from(charge) {
                    table.credits -= u32::from(charge);
                    let first = table.next_message_id;
                    table.next_message_id += u64::from(charge);
                    return Ok(first);
                }
            }
            if tokio::time::timeout(self.inner.request_limit, came).await.is_err() {
                self.sever();
                return Err(ClientError::Lost);
            }
        }
    }

    /// Builds the frame: prefix, room for the transform header if needed, header, body; signed or encrypted.
    fn encode(
        &self,
        command: Command,
        call: &Call,
        charge: u16,
        message_id: u64,
        body: impl FnOnce(&mut Vec<u8>),
    ) -> Result<Vec<u8>, ClientError> {
        let security = self.inner.security.get();
        let mut header = Header::request(command, message_id);
        header.credit_charge = charge;
        header.credits = charge.max(CREDITS_WANTED.saturating_sub(u16::try_from(self.table().credits).unwrap_or(u16::MAX)));
        header.session_id = call.session_id.or(security.map(|s| s.session_id)).unwrap_or(0);
        header.set_tree_id(call.tree_id);
        header.set_channel_sequence(call.channel_sequence);
        if call.replay {
            header.flags |= HeaderFlags::REPLAY_OPERATION;
        }
        let sealing = security.filter(|s| s.encrypt_all || call.encrypt).and_then(|s| s.sealing.as_ref().map(|x| (s, x)));
        let signing = security.filter(|_| sealing.is_none());
        if signing.is_some() {
            header.flags |= HeaderFlags::SIGNED;
        }
        let start = PREFIX_SIZE + if sealing.is_some() { TRANSFORM_HEADER_LENGTH } else { 0 };
        let mut out = Vec::with_capacity(start + 256 + call.payload_bytes);
        out.resize(start, 0);
        // The bodies' encoders count from the header, so they write into a buffer of their own start.
        header.encode(&mut out);
        body(&mut out);
        if let Some(s) = signing {
            s.signing.sign(&mut out[start..], Role::Client);
        }
        if let Some((s, x)) = sealing {
            let nonce = x.nonces.draw().map_err(|_| ClientError::Protocol("nonces are used up"))?;
            x.outgoing
                .encrypt(&mut out[PREFIX_SIZE..], s.session_id, nonce)
                .map_err(|_| ClientError::Protocol("message is too long to encrypt"))?;
        }
        let prefix = frame::prefix(out.len() - PREFIX_SIZE).ok_or(ClientError::Protocol("message is too long"))?;
        out[..PREFIX_SIZE].copy_from_slice(&prefix);
        Ok(out)
    }

    async fn send(&self, frame: &[u8]) -> Result<(), ClientError> {
        let mut writer = self.inner.writer.lock().await;
        let sent = match writer.as_mut() {
            Some(half) => tokio::select! {
                sent = half.write_all(frame) => sent.is_ok(),
                () = self.inner.closed.cancelled() => false,
            },
            None => false,
        };
        drop(writer);
        if sent {
            Ok(())
        } else {
            self.sever();
            Err(ClientError::Lost)
        }
    }

    /// Sends a frame as it is, for tests of a server's manners.
    pub async fn send_raw(&self, frame: &[u8]) -> Result<(), ClientError> {
        self.send(frame).await
    }

    async fn read_all(self, mut reader: OwnedReadHalf, breaks: mpsc::UnboundedSender<OplockBreakResponse>) {
        loop {
            let message = tokio::select! {
                message = read_message(&mut reader) => message,
                () = self.inner.closed.cancelled() => break,
            };
            let Some(message) = message else { break };
            if let Err(error) = self.receive(message, &breaks) {
                tracing::warn!(peer = %self.inner.peer, %error, "connection is given up");
                break;
            }
        }
        self.sever();
        drop(reader);
        self.inner.writer.lock().await.take();
    }

    /// Takes one message apart and hands each answer to whoever waits for it.
    fn receive(&self, mut message: BytesMut, breaks: &mpsc::UnboundedSender<OplockBreakResponse>) -> Result<(), ClientError> {
        let encrypted = match MessageKind::of(&message)? {
            MessageKind::Plain => false,
            MessageKind::Encrypted => {
                let sealing = self.inner.security.get().and_then(|s| s.sealing.as_ref());
                let sealing = sealing.ok_or(ClientError::Protocol("encrypted message without a key"))?;
                sealing.incoming.decrypt(&mut message).map_err(|_| ClientError::Protocol("message does not decrypt"))?;
                message = message.split_off(TRANSFORM_HEADER_LENGTH);
                true
            }
            MessageKind::Compressed | MessageKind::Smb1 => return Err(ClientError::Protocol("message of a kind never asked for")),
        };
        for element in frame::split(&message.freeze())? {
            let header = element.header;
            if header.message_id == UNSOLICITED_MESSAGE_ID {
                // The receiver may be gone: a client that holds no oplock does not listen.
                _ = breaks.send(OplockBreakResponse::decode(&element.bytes)?);
                continue;
            }
            self.check_signature(&header, &element.bytes, encrypted)?;
            let mut table = self.table();
            table.credits = table.credits.saturating_add(u32::from(header.credits));
            if header.status() == NtStatus::PENDING && header.async_id().is_some() {
                if let Some(p) = table.pending.get_mut(&header.message_id) {
                    p.async_id = header.async_id();
                }
            } else if let Some(p) = table.pending.remove(&header.message_id) {
                // Nobody may be waiting any more.
                _ = p.answer.send(Reply { header, message: element.bytes, sent: p.sent });
            }
            drop(table);
            self.inner.credits_came.notify_waiters();
        }
        Ok(())
    }

    // MS-SMB2 3.2.5.1.3: what is signed must verify; what is not may only be an interim answer or bad news about the session itself.
    fn check_signature(&self, header: &Header, message: &[u8], encrypted: bool) -> Result<(), ClientError> {
        let Some(security) = self.inner.security.get() else { return Ok(()) };
        if encrypted || header.status() == NtStatus::PENDING {
            return Ok(());
        }
        if header.is_signed() {
            if security.signing.verify_shared(message, Role::Server) {
                return Ok(());
            }
            return Err(ClientError::Protocol("signature does not verify"));
        }
        if header.status().is_error() { Ok(()) } else { Err(ClientError::Protocol("unsigned answer to a signed request")) }
    }
}

/// Severs its connection unless it is disarmed: for steps that may be given up half way.
#[derive(Debug)]
pub(super) struct SeverOnDrop(Option<Connection>);

impl SeverOnDrop {
    pub(super) fn new(connection: &Connection) -> Self {
        Self(Some(connection.clone()))
    }

    pub(super) fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for SeverOnDrop {
    fn drop(&mut self) {
        if let Some(connection) = &self.0 {
            connection.sever();
        }
    }
}

async fn read_message(reader: &mut OwnedReadHalf) -> Option<BytesMut> {
    let mut prefix = [0; PREFIX_SIZE];
    reader.read_exact(&mut prefix).await.ok()?;
    let length = frame::prefix_length(prefix).ok()?;
    let mut message = BytesMut::zeroed(length);
    reader.read_exact(&mut message).await.ok()?;
    Some(message)
}
