//! The client: one TCP connection, one interface, many calls at once. A task owns the socket; calls are messages to it.

mod drive;
mod handshake;

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};

use crate::fault::Fault;
use crate::pdu::NakReason;
use crate::security::{AuthLevel, SecurityContext, SecurityError};
use crate::syntax::SyntaxId;

/// How long a connect with its bind may take.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of one response's stub.
const RESPONSE_BYTES_MAX: usize = 4 << 20;

/// Why a connect or a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The connection could not be made.
    #[error("cannot connect to {address}")]
    Connect {
        /// Where to.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Reading or writing failed while the bind was under way.
    #[error("connection failed during the bind")]
    Handshake(#[source] std::io::Error),
    /// Connect and bind took longer than [`CONNECT_TIMEOUT`].
    #[error("bind took too long")]
    Timeout,
    /// The connection ended while the call was under way.
    #[error("connection closed")]
    Closed,
    /// The server refused the bind.
    #[error("bind refused, reason {}", .0.0)]
    BindRefused(NakReason),
    /// The server does not serve the interface.
    #[error("interface refused, reason {0}")]
    InterfaceRefused(u16),
    /// The authentication failed on our side.
    #[error("authentication failed: {0}")]
    Security(#[from] SecurityError),
    /// The server broke the protocol.
    #[error("server broke the protocol: {0}")]
    Protocol(&'static str),
    /// The server answered with a fault.
    #[error("{0}")]
    Fault(Fault),
    /// The endpoint mapper knows no endpoint of the interface.
    #[error("the endpoint mapper knows no such interface")]
    NotRegistered,
}

/// How a client authenticates and protects its calls.
pub struct ClientSecurity {
    /// Which security package, see [`crate::security::auth_type`].
    pub auth_type: u8,
    /// Which level.
    pub level: AuthLevel,
    /// The initiating side of the package.
    pub context: Box<dyn SecurityContext>,
}

enum Command {
    Call { call_id: u32, opnum: u16, stub: Vec<u8>, answer: oneshot::Sender<Result<Vec<u8>, ClientError>> },
    Cancel { call_id: u32 },
    Orphan { call_id: u32 },
}

/// A bound connection. Cheap to share behind an `Arc`; dropping it closes the connection.
pub struct Client {
    commands: mpsc::UnboundedSender<Command>,
    next_call_id: std::sync::atomic::AtomicU32,
    association_group: u32,
}

impl Client {
    /// Connects, binds one interface and authenticates.
    pub async fn connect(address: SocketAddr, interface: SyntaxId, security: Option<ClientSecurity>) -> Result<Self, ClientError> {
        let connect = async {
            let stream = TcpStream::connect(address).await.map_err(|source| ClientError::Connect { address, source })?;
            Self::bind(stream, interface, security).await
        };
        tokio::time::timeout(CONNECT_TIMEOUT, connect).await.map_err(|_| ClientError::Timeout)?
    }

    /// Binds on a connection that exists already (a bound source address, a socket of a test).
    pub async fn bind(mut stream: TcpStream, interface: SyntaxId, security: Option<ClientSecurity>) -> Result<Self, ClientError> {
        _ = stream.set_nodelay(true);
        let bound = handshake::bind(&mut stream, interface, security).await?;
        let (commands, receiver) = mpsc::unbounded_channel();
        let association_group = bound.association_group;
        let next_call_id = bound.next_call_id.into();
        tokio::spawn(drive::connection(stream, bound, receiver));
        Ok(Self { commands, next_call_id, association_group })
    }

    /// The association group that the server gave us.
    pub fn association_group(&self) -> u32 {
        self.association_group
    }

    /// Executes one operation and waits for its answer.
    pub async fn call(&self, opnum: u16, stub: Vec<u8>) -> Result<Vec<u8>, ClientError> {
        self.start(opnum, stub).wait().await
    }

    /// Starts a call; others may be started beside it. Dropping it abandons it.
    pub fn start(&self, opnum: u16, stub: Vec<u8>) -> PendingCall {
        let (answer, receiver) = oneshot::channel();
        let call_id = self.next_call_id.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        // If the connection has ended, the answer's sender is dropped with the command and the call says Closed.
        _ = self.commands.send(Command::Call { call_id, opnum, stub, answer });
        PendingCall { call_id, commands: self.commands.clone(), receiver, finished: false }
    }

    /// True once the connection has ended.
    pub fn is_closed(&self) -> bool {
        self.commands.is_closed()
    }
}

/// A call under way.
pub struct PendingCall {
    call_id: u32,
    commands: mpsc::UnboundedSender<Command>,
    receiver: oneshot::Receiver<Result<Vec<u8>, ClientError>>,
    finished: bool,
}

impl PendingCall {
    /// Asks the server to cancel it; the answer is then usually [`Fault::CANCELLED`].
    pub fn cancel(&self) {
        _ = self.commands.send(Command::Cancel { call_id: self.call_id });
    }

    /// Waits for the answer.
    pub async fn wait(mut self) -> Result<Vec<u8>, ClientError> {
        let answer = (&mut self.receiver).await;
        self.finished = true;
        answer.unwrap_or(Err(ClientError::Closed))
    }
}

impl Drop for PendingCall {
    fn drop(&mut self) {
        if !self.finished {
            _ = self.commands.send(Command::Orphan { call_id: self.call_id });
        }
    }
}
