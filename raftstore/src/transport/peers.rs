//! The calling side: one lasting connection per peer and lane, shared by all requests, made when it is needed.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::framing::{self, OPENING_BYTES_MAX};
use super::gate::Gate;
use super::tls::Credentials;
use super::traffic::Counters;
use crate::environment::Network;
use crate::error::CallError;
use crate::faults::{Faults, Passed, Point};
use crate::pki;
use crate::status::Probe;
use crate::wire::{Opening, OpeningReply, Request, Response};

/// A connection is given up when requests wait and nothing has arrived for so long.
const SILENCE_MAX: Duration = Duration::from_secs(3);
/// While requests wait, a sign of life is asked for after so much silence: a host that lost power closes no connection.
const ASK_PAUSE: Duration = Duration::from_secs(1);
/// Number of a question whose answer is only a sign of life.
const ASK_ID: u64 = u64::MAX;
/// Pause before a failed connection is tried again.
const RECONNECT_PAUSE: Duration = Duration::from_millis(10);
/// Longest wait for a connection, whatever the request allows.
const CONNECT_MAX: Duration = Duration::from_secs(2);
/// Longest wait of a probe.
const PROBE_MAX: Duration = Duration::from_millis(200);
/// Frames that wait for the writer of a connection at most.
const QUEUE_FRAMES_MAX: usize = 4096;

/// Separate connections, so that one kind of traffic does not wait behind another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lane {
    /// Append, vote, heartbeat.
    Raft,
    /// Snapshots.
    Bulk,
    /// Proposals, reads, calls.
    Requests,
}

/// Everybody whom this node can call.
pub(crate) struct Peers {
    own_id: u64,
    cluster: Uuid,
    network: Arc<dyn Network>,
    security: Arc<Credentials>,
    gate: Arc<Gate>,
    faults: Faults,
    frame_bytes_max: usize,
    addresses: RwLock<BTreeMap<u64, String>>,
    links: Mutex<BTreeMap<(u64, Lane), Arc<Link>>>,
    /// What was sent, of both sides.
    pub(crate) counters: Arc<Counters>,
    stop: CancellationToken,
}

#[derive(Default)]
struct Link {
    state: tokio::sync::Mutex<LinkState>,
}

#[derive(Default)]
struct LinkState {
    connection: Option<Arc<Connection>>,
    failed: Option<(Instant, CallError)>,
}

struct Connection {
    address: String,
    /// The version that both sides speak.
    version: u16,
    frames: mpsc::Sender<Vec<u8>>,
    shared: Arc<Shared>,
}

struct Shared {
    next_id: AtomicU64,
    waiting: Mutex<BTreeMap<u64, oneshot::Sender<Response>>>,
    received: Mutex<Instant>,
    closed: CancellationToken,
}

impl Peers {
    pub(crate) fn new(
        own_id: u64,
        cluster: Uuid,
        network: Arc<dyn Network>,
        (security, gate): (Arc<Credentials>, Arc<Gate>),
        faults: Faults,
        frame_bytes_max: usize,
        stop: CancellationToken,
    ) -> Arc<Self> {
        let (addresses, links, counters) = (RwLock::default(), Mutex::default(), Arc::default());
        Arc::new(Self { own_id, cluster, network, security, gate, faults, frame_bytes_max, addresses, links, counters, stop })
    }

    /// Takes note of where a node is reached.
    pub(crate) fn set_address(&self, node: u64, address: &str) {
        if self.addresses.read().get(&node).is_none_or(|known| known != address) {
            self.addresses.write().insert(node, address.to_owned());
        }
    }

    /// Sends a request and waits for its response.
    pub(crate) async fn request(
        self: &Arc<Self>,
        node: u64,
        lane: Lane,
        request: &Request,
        timeout: Duration,
    ) -> Result<Response, CallError> {
        let answer = self.send(node, lane, request, timeout).await?;
        self.answer(answer).await
    }

    /// Waits for an answer.
    pub(crate) async fn answer(&self, answer: Answer) -> Result<Response, CallError> {
        let (node, deadline) = (answer.node, answer.deadline);
        let response = answer.wait().await?;
        if self.faults.is_cut(node, self.own_id) {
            return Err(silence(node, deadline).await);
        }
        Ok(response)
    }

    /// Sends a request and gives the answer to wait for. Whoever sends one after the other has them arrive in this order, while the
    /// connection lasts.
    pub(crate) async fn send(self: &Arc<Self>, node: u64, lane: Lane, request: &Request, timeout: Duration) -> Result<Answer, CallError> {
        let deadline = Instant::now() + timeout;
        let passed = self.faults.reach(self.own_id, Point::RequestBeforeSend).await;
        if passed == Passed::Failed {
            return Err(CallError::Unreachable { node, because: "a fault on purpose".to_owned() });
        }
        if passed == Passed::Lost || self.faults.is_cut(self.own_id, node) {
            return Err(silence(node, deadline).await);
        }
        let address = self.addresses.read().get(&node).cloned().ok_or(CallError::UnknownNode { node })?;
        let link = self.links.lock().entry((node, lane)).or_default().clone();
        let connection = match link.ready(&address) {
            Some(connection) => connection,
            None => self.connect(link, node, lane, address, deadline).await?,
        };
        connection.send(node, request, self.frame_bytes_max, deadline, passed == Passed::Twice).await
    }

    /// In a task of its own: whoever wants the same connection waits for it, and must not wait for a request that nobody goes on with.
    async fn connect(
        self: &Arc<Self>,
        link: Arc<Link>,
        node: u64,
        lane: Lane,
        address: String,
        deadline: Instant,
    ) -> Result<Arc<Connection>, CallError> {
        let unreachable = |because: &str| CallError::Unreachable { node, because: because.to_owned() };
        let peers = Arc::clone(self);
        let connecting = tokio::spawn(async move {
            tokio::select! {
                connection = link.connection(&peers, node, lane, address) => Some(connection),
                () = peers.stop.cancelled() => None,
            }
        });
        match timeout_at(deadline, connecting).await {
            Ok(Ok(Some(connection))) => connection,
            Ok(Ok(None) | Err(_)) => Err(unreachable("this node stops")),
            Err(_) => Err(unreachable("connecting took too long")),
        }
    }

    /// Looks whether a node's port accepts connections.
    pub(crate) async fn probe(&self, node: u64) -> Probe {
        if self.faults.is_cut(self.own_id, node) || self.faults.is_cut(node, self.own_id) {
            return Probe::Silent;
        }
        let Some(address) = self.addresses.read().get(&node).cloned() else { return Probe::Silent };
        let connect = async {
            loop {
                match self.network.connect(address.clone()).await {
                    Ok(_) => return Probe::Alive,
                    Err(err) if err.kind() == io::ErrorKind::ConnectionRefused => return Probe::Refused,
                    // A reset is a port in the middle of closing: look again.
                    Err(_) => tokio::time::sleep(RECONNECT_PAUSE / 4).await,
                }
            }
        };
        tokio::time::timeout(PROBE_MAX, connect).await.unwrap_or(Probe::Silent)
    }

    /// Says whether a process with the certificate of `node` answers at an address.
    pub(crate) async fn is_served_by(&self, node: u64, address: &str, timeout: Duration) -> bool {
        let greeted = tokio::time::timeout(timeout, Connection::open(self, node, Lane::Requests, address.to_owned())).await;
        matches!(greeted, Ok(Ok(_)))
    }

    /// Closes every connection.
    pub(crate) fn close(&self) {
        self.stop.cancel();
        self.links.lock().clear();
    }
}

impl Link {
    /// The connection, if there is one and nobody is busy with it.
    fn ready(&self, address: &str) -> Option<Arc<Connection>> {
        let state = self.state.try_lock().ok()?;
        state.connection.as_ref().filter(|connection| connection.is_to(address)).cloned()
    }

    async fn connection(&self, peers: &Peers, node: u64, lane: Lane, address: String) -> Result<Arc<Connection>, CallError> {
        let mut state = self.state.lock().await;
        if let Some(connection) = state.connection.as_ref().filter(|connection| connection.is_to(&address)) {
            return Ok(connection.clone());
        }
        state.connection = None;
        if let Some((when, err)) = &state.failed
            && when.elapsed() < RECONNECT_PAUSE
        {
            return Err(err.clone());
        }
        let connected = tokio::time::timeout(CONNECT_MAX, Connection::open(peers, node, lane, address)).await;
        let connected = connected.unwrap_or_else(|_| Err(CallError::Unreachable { node, because: "connecting took too long".to_owned() }));
        match connected {
            Ok(connection) => {
                let connection = Arc::new(connection);
                *state = LinkState { connection: Some(connection.clone()), failed: None };
                Ok(connection)
            }
            Err(err) => {
                state.failed = Some((Instant::now(), err.clone()));
                Err(err)
            }
        }
    }
}

impl Connection {
    /// It leads to this address and has not broken.
    fn is_to(&self, address: &str) -> bool {
        self.address == address && !self.shared.closed.is_cancelled()
    }

    async fn open(peers: &Peers, node: u64, lane: Lane, address: String) -> Result<Self, CallError> {
        let unreachable = |because: String| CallError::Unreachable { node, because };
        match peers.faults.reach(peers.own_id, Point::Connect).await {
            Passed::On | Passed::Twice => {}
            Passed::Lost => std::future::pending().await,
            Passed::Failed => return Err(unreachable("a fault on purpose".to_owned())),
        }
        let stream = peers.network.connect(address.clone()).await.map_err(|err| match err.kind() {
            io::ErrorKind::ConnectionRefused => CallError::Refused { node },
            _ => unreachable(format!("{address}: {err}")),
        })?;
        let mut stream = peers.security.connect(pki::server_name(peers.cluster, node), stream).await.map_err(|err| {
            let because = format!("{address} is not node {node} of cluster {}, or the connection broke: {err}", peers.cluster);
            // Its certificate, or ours, is not what it should be: that does not go away by itself.
            if err.kind() == io::ErrorKind::InvalidData && peers.gate.turned_away_by(node, &because) {
                tracing::warn!(node, because, "somebody else answers at a member's address");
            }
            unreachable(because)
        })?;
        let (oldest, newest) = peers.gate.offer();
        let hello = Opening::Hello { oldest, newest, cluster: peers.cluster.as_u128(), from: peers.own_id, to: node };
        let opened = async {
            let frame = framing::frame(0, &hello, OPENING_BYTES_MAX).map_err(|_| io::Error::other("the opening is too long"))?;
            tokio::io::AsyncWriteExt::write_all(&mut stream, &frame).await?;
            tokio::io::AsyncWriteExt::flush(&mut stream).await?;
            let (_, envelope) = framing::read(&mut stream, OPENING_BYTES_MAX).await?;
            framing::decode::<OpeningReply>(&envelope)
        };
        let version = match opened.await.map_err(|err| unreachable(format!("{address}: {err}")))? {
            OpeningReply::Welcome { version } => version,
            OpeningReply::Refused(because) => {
                if peers.gate.turned_away_by(node, &because) {
                    tracing::warn!(node, because, "a member refuses this node");
                }
                return Err(CallError::Remote { node, because });
            }
            OpeningReply::Joined { .. } | OpeningReply::Admitted { .. } => {
                return Err(unreachable(format!("{address} gave an answer that does not fit")));
            }
        };
        peers.gate.agreed(node, version).map_err(unreachable)?;
        let (frames, queue) = mpsc::channel(QUEUE_FRAMES_MAX);
        let shared = Arc::new(Shared {
            next_id: AtomicU64::new(1),
            waiting: Mutex::default(),
            received: Mutex::new(Instant::now()),
            closed: peers.stop.child_token(),
        });
        let (input, output) = tokio::io::split(stream);
        let (serving, counters, bytes_max) = (shared.clone(), peers.counters.clone(), peers.frame_bytes_max);
        // Older peers do not know the question.
        let asks = if version >= Request::Standing.since() { Some(frames.clone()) } else { None };
        tokio::spawn(async move {
            tokio::select! {
                () = run(&serving, input, framing::write_all(output, queue, counters.of(lane)), bytes_max) => {}
                () = keep_awake(&serving, asks) => {}
            }
            serving.closed.cancel();
            serving.waiting.lock().clear();
        });
        Ok(Self { address, version, frames, shared })
    }

    async fn send(
        self: Arc<Self>,
        node: u64,
        request: &Request,
        bytes_max: usize,
        deadline: Instant,
        twice: bool,
    ) -> Result<Answer, CallError> {
        let Some(request) = request.for_version(self.version) else {
            let because = format!("it speaks version {} of the conversation, this needs {}", self.version, request.since());
            return Err(CallError::Remote { node, because });
        };
        let too_large = |err: framing::FrameTooLong| CallError::TooLarge { bytes: err.bytes, max: bytes_max };
        let id = self.shared.next_id.fetch_add(1, Ordering::Relaxed);
        let frame = framing::frame(id, &*request, bytes_max).map_err(too_large)?;
        let (tell, answer) = oneshot::channel();
        self.shared.waiting.lock().insert(id, tell);
        let answer = Answer { connection: self, id, answer, node, deadline };
        // Closing drops every waiting sender; one that was added after that must see it here.
        if answer.connection.shared.closed.is_cancelled() {
            return Err(CallError::Lost { node });
        }
        if twice {
            // A message that the network delivered twice. Nobody waits for this one's answer; a full queue loses it.
            let again = answer.connection.shared.next_id.fetch_add(1, Ordering::Relaxed);
            drop(answer.connection.frames.try_send(framing::frame(again, &*request, bytes_max).map_err(too_large)?));
        }
        match timeout_at(deadline, answer.connection.frames.send(frame)).await {
            Ok(Ok(())) => Ok(answer),
            Ok(Err(_)) => Err(CallError::Lost { node }),
            Err(_) => Err(answer.connection.timed_out(node)),
        }
    }

    fn timed_out(&self, node: u64) -> CallError {
        if self.shared.received.lock().elapsed() > SILENCE_MAX {
            self.shared.closed.cancel();
        }
        CallError::Timeout { node }
    }
}

/// The answer to a request that was sent.
pub(crate) struct Answer {
    connection: Arc<Connection>,
    id: u64,
    answer: oneshot::Receiver<Response>,
    node: u64,
    deadline: Instant,
}

impl Answer {
    /// Waits for it until the request's time is over.
    async fn wait(mut self) -> Result<Response, CallError> {
        match timeout_at(self.deadline, &mut self.answer).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(_)) => Err(CallError::Lost { node: self.node }),
            Err(_) => Err(self.connection.timed_out(self.node)),
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.connection.shared.waiting.lock().remove(&self.id);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.shared.closed.cancel();
    }
}

/// What becomes of a request that nobody hears: its time is over, or its connection is given up.
async fn silence(node: u64, deadline: Instant) -> CallError {
    let given_up = Instant::now() + SILENCE_MAX + ASK_PAUSE;
    tokio::time::sleep_until(deadline.min(given_up)).await;
    if deadline <= given_up { CallError::Timeout { node } } else { CallError::Lost { node } }
}

/// Returns when requests wait and the peer has given no sign of life for too long.
async fn keep_awake(shared: &Shared, asks: Option<mpsc::Sender<Vec<u8>>>) {
    let Some(frames) = asks else { return std::future::pending().await };
    let mut waiting_since = None;
    loop {
        tokio::time::sleep(ASK_PAUSE).await;
        if shared.waiting.lock().is_empty() {
            waiting_since = None;
            continue;
        }
        let since = *waiting_since.get_or_insert_with(Instant::now);
        let silent = shared.received.lock().max(since).elapsed();
        if silent > SILENCE_MAX {
            return;
        }
        if silent >= ASK_PAUSE / 2
            && let Ok(frame) = framing::frame(ASK_ID, &Request::Standing, OPENING_BYTES_MAX)
        {
            // A full queue is being written, or its peer is silent: that shows.
            drop(frames.try_send(frame));
        }
    }
}

/// Serves a connection until either side ends it.
async fn run(shared: &Shared, mut input: impl tokio::io::AsyncRead + Unpin, write: impl Future<Output = io::Result<()>>, bytes_max: usize) {
    let read = async {
        loop {
            let (id, envelope) = framing::read(&mut input, bytes_max).await?;
            *shared.received.lock() = Instant::now();
            let response = framing::decode::<Response>(&envelope)?;
            if let Some(tell) = shared.waiting.lock().remove(&id) {
                // Who waited may have given up in this moment.
                drop(tell.send(response));
            }
        }
    };
    let ended: io::Result<()> = tokio::select! {
        ended = read => ended,
        ended = write => ended,
        () = shared.closed.cancelled() => Ok(()),
    };
    if let Err(err) = ended {
        tracing::debug!(%err, "a connection to a peer ended");
    }
}
