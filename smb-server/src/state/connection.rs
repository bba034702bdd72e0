//! Connection: one TCP connection of a client (MS-SMB2 3.3.1.7).

use std::{
    collections::BTreeMap,
    fmt,
    net::SocketAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use parking_lot::{Mutex, RwLock};
use persistence_model::SessionId;
use smb_auth::{CipherId, PreauthHash, SigningAlgorithm};
use smb_proto::message::negotiate::{Capabilities, SecurityMode};
use smb_types::{ClientGuid, Dialect, Guid};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{request::Request, sequence_window::SequenceWindow, session::Session};
use crate::{error::Disconnect, send::frame::Frame};

/// Names a connection within one life of the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// What NEGOTIATE has fixed.
#[derive(Debug, Clone)]
pub struct Negotiated {
    /// Connection.Dialect.
    pub dialect: Dialect,
    /// Connection.ClientGuid.
    pub client_guid: ClientGuid,
    /// Connection.ClientCapabilities.
    pub client_capabilities: Capabilities,
    /// Connection.ServerCapabilities: what was answered; every later check uses this.
    pub server_capabilities: Capabilities,
    /// Connection.ClientSecurityMode.
    pub client_security_mode: SecurityMode,
    /// Connection.ServerSecurityMode.
    pub server_security_mode: SecurityMode,
    /// The dialects as offered, for VALIDATE_NEGOTIATE_INFO.
    pub client_dialects: Vec<u16>,
    /// The server GUID as answered.
    pub server_guid: Guid,
    /// Connection.CipherId; None when encryption is not possible.
    pub cipher: Option<CipherId>,
    /// Connection.SigningAlgorithmId.
    pub signing: SigningAlgorithm,
    /// Connection.MaxTransactSize.
    pub transact_bytes_max: u32,
    /// Connection.MaxReadSize.
    pub read_bytes_max: u32,
    /// Connection.MaxWriteSize.
    pub write_bytes_max: u32,
    /// Connection.SupportsMultiCredit.
    pub supports_multi_credit: bool,
}

impl Negotiated {
    /// Tells whether a capability bit was answered.
    #[must_use]
    pub const fn has(&self, capability: Capabilities) -> bool {
        self.server_capabilities.contains(capability)
    }
}

/// The connection is gone; nothing can be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the connection is gone")]
pub struct Gone;

/// One connection.
pub struct Connection {
    /// Its name.
    pub connection_id: ConnectionId,
    /// Connection.ClientName.
    pub peer: SocketAddr,
    /// The address the client came to.
    pub local: SocketAddr,
    negotiated: OnceLock<Arc<Negotiated>>,
    /// Connection.PreauthIntegrityHashValue.
    pub(crate) preauth: Mutex<PreauthHash>,
    /// Connection.CommandSequenceWindow.
    pub(crate) window: Mutex<SequenceWindow>,
    sessions: RwLock<BTreeMap<SessionId, Arc<Session>>>,
    proved: AtomicBool,
    requests: Mutex<Requests>,
    next_async_id: AtomicU64,
    writer: mpsc::Sender<Frame>,
    /// Fires when the connection is to go or has gone.
    pub ended: CancellationToken,
}

/// Connection.RequestList and Connection.AsyncCommandList.
#[derive(Debug, Default)]
struct Requests {
    by_message_id: BTreeMap<u64, Arc<Request>>,
    by_async_id: BTreeMap<u64, Arc<Request>>,
}

impl Connection {
    /// A connection that has just been accepted; frames given to `writer` go to the socket in order.
    #[must_use]
    pub(crate) fn new(
        connection_id: ConnectionId,
        peer: SocketAddr,
        local: SocketAddr,
        credits_max: u32,
        writer: mpsc::Sender<Frame>,
        ended: CancellationToken,
    ) -> Self {
        Self {
            connection_id,
            peer,
            local,
            negotiated: OnceLock::new(),
            preauth: Mutex::new(PreauthHash::START),
            window: Mutex::new(SequenceWindow::new(credits_max)),
            sessions: RwLock::new(BTreeMap::new()),
            proved: AtomicBool::new(false),
            requests: Mutex::new(Requests::default()),
            next_async_id: AtomicU64::new(1),
            writer,
            ended,
        }
    }

    /// What was negotiated; None before NEGOTIATE.
    #[must_use]
    pub fn negotiated(&self) -> Option<&Arc<Negotiated>> {
        self.negotiated.get()
    }

    /// Fixes what was negotiated.
    ///
    /// # Errors
    /// A second NEGOTIATE ends the connection.
    pub(crate) fn set_negotiated(&self, negotiated: Negotiated) -> Result<(), Disconnect> {
        self.negotiated.set(Arc::new(negotiated)).map_err(|_| Disconnect::because("a second NEGOTIATE"))
    }

    /// Connection.Dialect; None before NEGOTIATE.
    #[must_use]
    pub fn dialect(&self) -> Option<Dialect> {
        self.negotiated().map(|negotiated| negotiated.dialect)
    }

    /// Connection.ClientGuid; zero before NEGOTIATE and for 2.0.2.
    #[must_use]
    pub fn client_guid(&self) -> ClientGuid {
        self.negotiated().map_or(Guid::ZERO, |negotiated| negotiated.client_guid)
    }

    /// Queues a frame for the socket.
    ///
    /// # Errors
    /// [`Gone`] when the connection has ended.
    pub async fn send(&self, frame: Frame) -> Result<(), Gone> {
        tokio::select! {
            biased;
            () = self.ended.cancelled() => Err(Gone),
            sent = self.writer.send(frame) => sent.map_err(|_| Gone),
        }
    }

    /// Ends the connection.
    pub fn disconnect(&self, why: Disconnect) {
        if !self.ended.is_cancelled() {
            tracing::debug!(connection = self.connection_id.0, because = why.because, "disconnect");
            self.ended.cancel();
        }
    }

    /// A session that has a channel, or authenticates, on this connection.
    #[must_use]
    pub fn session(&self, session_id: SessionId) -> Option<Arc<Session>> {
        self.sessions.read().get(&session_id).cloned()
    }

    /// Connection.SessionTable.
    #[must_use]
    pub fn sessions(&self) -> Vec<Arc<Session>> {
        self.sessions.read().values().cloned().collect()
    }

    /// Number of sessions.
    #[must_use]
    pub fn session_count(&self) -> usize {
        self.sessions.read().len()
    }

    /// Tells whether a user has proved himself on this connection. Until then nothing encrypted is taken: nobody's keys are everybody's.
    #[must_use]
    pub fn is_proved(&self) -> bool {
        self.proved.load(Ordering::Acquire)
    }

    /// A user has proved himself.
    pub(crate) fn set_proved(&self) {
        self.proved.store(true, Ordering::Release);
    }

    /// Enters a session.
    pub(crate) fn add_session(&self, session: Arc<Session>) {
        self.sessions.write().insert(session.session_id, session);
    }

    /// Removes a session.
    pub(crate) fn remove_session(&self, session_id: SessionId) -> Option<Arc<Session>> {
        self.sessions.write().remove(&session_id)
    }

    /// Enters a request; CANCEL finds it from now on.
    pub(crate) fn add_request(&self, request: &Arc<Request>) {
        self.requests.lock().by_message_id.insert(request.message_id, Arc::clone(request));
    }

    /// Gives a request an AsyncId; None when `limit` requests are asynchronous already.
    pub(crate) fn make_async(&self, request: &Arc<Request>, limit: usize) -> Option<u64> {
        let mut requests = self.requests.lock();
        if requests.by_async_id.len() >= limit {
            return None;
        }
        let id = self.next_async_id.fetch_add(1, Ordering::Relaxed);
        request.set_async_id(id);
        requests.by_async_id.insert(id, Arc::clone(request));
        Some(id)
    }

    /// Removes a request that has been answered.
    pub(crate) fn remove_request(&self, request: &Request) {
        let mut requests = self.requests.lock();
        requests.by_message_id.remove(&request.message_id);
        if let Some(id) = request.async_id() {
            requests.by_async_id.remove(&id);
        }
    }

    /// Finds the target of a CANCEL.
    #[must_use]
    pub fn find_request(&self, async_id: Option<u64>, message_id: u64) -> Option<Arc<Request>> {
        let requests = self.requests.lock();
        match async_id {
            Some(id) => requests.by_async_id.get(&id).cloned(),
            None => requests.by_message_id.get(&message_id).cloned(),
        }
    }

    /// Requests under way.
    #[must_use]
    pub fn requests(&self) -> Vec<Arc<Request>> {
        self.requests.lock().by_message_id.values().cloned().collect()
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("connection_id", &self.connection_id).field("dialect", &self.dialect()).finish_non_exhaustive()
    }
}
