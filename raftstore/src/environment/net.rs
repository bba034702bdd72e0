//! The network as the store needs it: streams to addresses, a port to listen on.
//!
//! The operating system's network is open to everybody, so the store speaks TLS on it and believes certificates. A simulated one
//! connects nothing but the nodes of the simulation, and says so: there the store speaks plainly and believes what a peer says of itself.

use std::fmt::Debug;
use std::io;
use std::net::SocketAddr;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

/// Both directions of a connection.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A connection.
pub type Stream = Box<dyn Duplex>;

/// A place to connect to and to listen on.
pub trait Network: Debug + Send + Sync + 'static {
    /// Connects to `host:port`. `ConnectionRefused`: the host is there and no process listens. An address that does not answer never ends.
    fn connect(&self, address: String) -> BoxFuture<'static, io::Result<Stream>>;
    /// Listens. Port 0 means any.
    fn listen(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Listener>>>;
    /// Nobody can be on this network but the nodes themselves: no TLS, no certificates.
    fn is_trusted(&self) -> bool {
        false
    }
}

/// A port that is listened on, until it is dropped.
pub trait Listener: Send + Sync + 'static {
    /// Waits for the next connection.
    fn accept(&self) -> BoxFuture<'_, io::Result<Stream>>;
    /// Where it listens.
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

/// The operating system's TCP.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemNetwork;

impl Network for SystemNetwork {
    fn connect(&self, address: String) -> BoxFuture<'static, io::Result<Stream>> {
        async move { without_delay(TcpStream::connect(address).await?) }.boxed()
    }

    fn listen(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Listener>>> {
        async move { Ok(Box::new(TcpListener::bind(address).await?) as Box<dyn Listener>) }.boxed()
    }
}

impl Listener for TcpListener {
    fn accept(&self) -> BoxFuture<'_, io::Result<Stream>> {
        async move { without_delay(Self::accept(self).await?.0) }.boxed()
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Self::local_addr(self)
    }
}

fn without_delay(stream: TcpStream) -> io::Result<Stream> {
    stream.set_nodelay(true)?;
    Ok(Box::new(stream))
}
