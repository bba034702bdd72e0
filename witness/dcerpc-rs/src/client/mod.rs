//! The client: one connection (TCP, or any stream of bytes such as a pipe), one interface or several, many calls at
//! once. A task owns the stream; calls are messages to it.

mod alter;
mod call;
mod drive;
mod handshake;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};

use crate::fault::Fault;
use crate::ndr::{NdrError, Parameters};
use crate::pdu::NakReason;
use crate::security::{AuthLevel, SecurityContext, SecurityError};
use crate::syntax::{SyntaxId, TransferSyntax};

pub use call::{PendingCall, TypedCall};

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
    /// The answer's stub makes no sense.
    #[error("answer is malformed: {0}")]
    Malformed(#[from] NdrError),
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

/// What a client asks for in its bind.
pub struct ClientConfig {
    /// How it authenticates; not at all if `None`.
    pub security: Option<ClientSecurity>,
    /// The transfer syntaxes that it offers, each as a presentation context of its own as Windows does. If the server
    /// takes several of them the last one is used.
    pub transfer: Vec<TransferSyntax>,
    /// The association group to join, 0 for a new one.
    pub association_group: u32,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self { security: None, transfer: vec![TransferSyntax::Ndr20], association_group: 0 }
    }
}

enum Command {
    Call { call_id: u32, target: Target, opnum: u16, stub: Vec<u8>, answer: oneshot::Sender<Result<Vec<u8>, ClientError>> },
    Alter(alter::Order),
    Cancel { call_id: u32 },
    Orphan { call_id: u32 },
}

/// What a client's calls are made with: the presentation context, its syntax, and the security context if there is one.
#[derive(Clone, Copy, Debug)]
struct Target {
    context_id: u16,
    transfer: TransferSyntax,
    security: Option<u32>,
}

/// One interface of a bound connection. Cheap to share behind an `Arc`; the connection closes when the last client (see
/// [`Self::alter`]) and the last call of it are dropped.
pub struct Client {
    commands: mpsc::UnboundedSender<Command>,
    next_call_id: Arc<AtomicU32>,
    next_context_id: Arc<AtomicU32>,
    association_group: u32,
    target: Target,
}

impl Client {
    /// Connects, binds one interface in NDR 2.0 and authenticates.
    pub async fn connect(address: SocketAddr, interface: SyntaxId, security: Option<ClientSecurity>) -> Result<Self, ClientError> {
        Self::connect_with(address, interface, ClientConfig { security, ..ClientConfig::default() }).await
    }

    /// Connects and binds one interface as the configuration says.
    pub async fn connect_with(address: SocketAddr, interface: SyntaxId, config: ClientConfig) -> Result<Self, ClientError> {
        let connect = async {
            let stream = TcpStream::connect(address).await.map_err(|source| ClientError::Connect { address, source })?;
            _ = stream.set_nodelay(true);
            Self::bind(stream, interface, config).await
        };
        tokio::time::timeout(CONNECT_TIMEOUT, connect).await.map_err(|_| ClientError::Timeout)?
    }

    /// Binds on a stream that exists already: a connection from a source address of its own, a pipe, a socket of a test.
    pub async fn bind<T>(mut stream: T, interface: SyntaxId, config: ClientConfig) -> Result<Self, ClientError>
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (bound, target) = handshake::bind(&mut stream, interface, config).await?;
        let (commands, receiver) = mpsc::unbounded_channel();
        let association_group = bound.association_group;
        let next_call_id = Arc::new(bound.next_call_id.into());
        let next_context_id = Arc::new(bound.next_context_id.into());
        tokio::spawn(drive::connection(stream, bound, receiver));
        Ok(Self { commands, next_call_id, next_context_id, association_group, target })
    }

    /// Binds one more interface on the same connection (alter_context), with the security of this client or, if one is
    /// given, with a security context of its own beside it. Other calls go on meanwhile.
    pub async fn alter(&self, interface: SyntaxId, security: Option<ClientSecurity>) -> Result<Self, ClientError> {
        let (answer, receiver) = oneshot::channel();
        let number = self.next_context_id.fetch_add(1, Ordering::Relaxed);
        let context_id = u16::try_from(number).map_err(|_| ClientError::Protocol("too many contexts on one connection"))?;
        let target = Target { context_id, ..self.target };
        _ = self.commands.send(Command::Alter(alter::Order {
            interface,
            target,
            security,
            call_ids: Arc::clone(&self.next_call_id),
            answer,
        }));
        let target = receiver.await.unwrap_or(Err(ClientError::Closed))?;
        Ok(Self {
            commands: self.commands.clone(),
            next_call_id: Arc::clone(&self.next_call_id),
            next_context_id: Arc::clone(&self.next_context_id),
            association_group: self.association_group,
            target,
        })
    }

    /// The association group that the server gave us.
    pub fn association_group(&self) -> u32 {
        self.association_group
    }

    /// The transfer syntax that the server chose for the interface.
    pub fn transfer(&self) -> TransferSyntax {
        self.target.transfer
    }

    /// Executes one operation and waits for its answer; both stubs in the syntax of [`Self::transfer`].
    pub async fn call(&self, opnum: u16, stub: Vec<u8>) -> Result<Vec<u8>, ClientError> {
        self.start(opnum, stub).wait().await
    }

    /// Starts a call; others may be started beside it. Dropping it abandons it.
    pub fn start(&self, opnum: u16, stub: Vec<u8>) -> PendingCall {
        let (answer, receiver) = oneshot::channel();
        let call_id = self.next_call_id.fetch_add(1, Ordering::Relaxed);
        // If the connection has ended, the answer's sender is dropped with the command and the call says Closed.
        _ = self.commands.send(Command::Call { call_id, target: self.target, opnum, stub, answer });
        PendingCall::new(call_id, self.commands.clone(), receiver)
    }

    /// Starts a call with declared parameters.
    pub fn begin<Q: Parameters, A: Parameters>(&self, opnum: u16, request: &Q) -> TypedCall<A> {
        let transfer = self.target.transfer;
        TypedCall::new(self.start(opnum, request.to_stub(transfer)), transfer)
    }

    /// True once the connection has ended.
    pub fn is_closed(&self) -> bool {
        self.commands.is_closed()
    }
}
