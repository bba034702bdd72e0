//! The network of a simulated node: turmoil's TCP between hosts that nobody else can reach, so it is plain and trusted.
//!
//! turmoil delivers nothing to a host without software, not even a refusal. The kernel of a real machine refuses connections when the
//! process is gone, and the cluster takes that for a death certificate: the world is asked, because it knows how the process ended.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use raftstore::environment::Network;
use raftstore::environment::net::{Listener, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use turmoil::net::{TcpListener, TcpStream};

use super::world::{End, Life, Shared};

/// Where every node listens.
pub(super) const PORT: u16 = 7400;
/// How long a refusal takes.
const REFUSAL: Duration = Duration::from_millis(1);

/// The name of a node's host.
pub(super) fn host_name(node: u64) -> String {
    format!("node{node}")
}

/// The address of a node.
pub(super) fn address(node: u64) -> String {
    format!("{}:{PORT}", host_name(node))
}

fn node_of(address: &str) -> Option<u64> {
    address.strip_prefix("node")?.strip_suffix(&format!(":{PORT}"))?.parse().ok()
}

/// The network, for one process.
#[derive(Clone, Debug)]
pub(super) struct SimulatedNetwork {
    /// What knows how processes ended.
    pub(super) shared: Shared,
    /// The node.
    pub(super) node: u64,
    /// Its process.
    pub(super) life: Arc<Life>,
}

impl Network for SimulatedNetwork {
    fn connect(&self, address: String) -> BoxFuture<'static, io::Result<Stream>> {
        let network = self.clone();
        async move {
            if network.life.is_over() {
                return std::future::pending().await;
            }
            let refusal = node_of(&address).and_then(|to| network.shared.with(|world| world.refusal(network.node, to)));
            match refusal {
                Some(End::PowerLost) => return std::future::pending().await,
                Some(End::Killed) => {
                    tokio::time::sleep(REFUSAL).await;
                    return Err(io::ErrorKind::ConnectionRefused.into());
                }
                None => {}
            }
            let stream = TcpStream::connect(address).await?;
            Ok(Box::new(Guarded { stream, life: network.life }) as Stream)
        }
        .boxed()
    }

    fn listen(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Listener>>> {
        let life = self.life.clone();
        async move { Ok(Box::new(GuardedListener { listener: TcpListener::bind(address).await?, life }) as Box<dyn Listener>) }.boxed()
    }

    fn is_trusted(&self) -> bool {
        true
    }
}

struct GuardedListener {
    listener: TcpListener,
    life: Arc<Life>,
}

impl Listener for GuardedListener {
    fn accept(&self) -> BoxFuture<'_, io::Result<Stream>> {
        async move {
            let (stream, _) = self.listener.accept().await?;
            Ok(Box::new(Guarded { stream, life: self.life.clone() }) as Stream)
        }
        .boxed()
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that ends with its process, in the middle of a tick if it must be.
struct Guarded {
    stream: TcpStream,
    life: Arc<Life>,
}

impl Guarded {
    fn check(&self) -> io::Result<()> {
        if self.life.is_over() { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
    }
}

impl AsyncRead for Guarded {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
