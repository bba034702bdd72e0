//! Listeners of the admin API: TLS on its port, and a Unix socket in the data directory.
//!
//! Limits the number of connections, the time for handshake and request head, and the time a client
//! may leave an answer unread. Passes each request on with its [`Peer`]. Knows no routes.

pub mod socket;
pub mod tls;
mod write_timeout;

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::caller::Peer;
use crate::rate_limit::PerMinute;
use socket::Socket;
use write_timeout::WriteTimeout;

/// Network connections.
const CONNECTIONS_MAX: usize = 256;
/// Network connections per client address.
const CONNECTIONS_OF_ADDRESS_MAX: usize = 64;
/// Socket connections, counted separately from network connections.
const SOCKET_CONNECTIONS_MAX: usize = 128;
/// Timeout for the TLS handshake.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// Timeout for a request head, and for the next request of a kept connection.
const HEAD_MAX: Duration = Duration::from_secs(15);
/// Longest request head, bytes.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// Timeout for a client that reads nothing of an answer.
const STALL_MAX: Duration = Duration::from_secs(60);
/// Pause after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Log lines about rejected connections per minute.
const LINES_PER_MINUTE: u32 = 10;
/// Bytes and time to read of a plain-text request before it is refused.
const PLAIN: (usize, Duration) = (8 << 10, Duration::from_secs(2));
/// First byte of a TLS handshake record.
const TLS_HANDSHAKE: u8 = 22;
/// Answer to plain-text HTTP.
const PLAIN_ANSWER: &str = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n\
                            This port speaks HTTPS only: write https:// and verify the certificate with the cluster's authority.\n";

/// The bound listeners.
pub struct Listeners {
    /// The admin port.
    pub(crate) network: TcpListener,
    /// TLS of the admin port.
    pub(crate) acceptor: TlsAcceptor,
    /// The Unix socket.
    pub(crate) socket: Socket,
}

/// Serves until cancelled; returns when all connections have ended.
pub async fn serve(listeners: Listeners, app: Router, stop: CancellationToken) {
    let tasks = TaskTracker::new();
    let Listeners { network, acceptor, socket } = listeners;
    let server = Server { app, stop: stop.clone(), tasks: tasks.clone() };
    tokio::join!(server.accept_network(network, acceptor), server.accept_socket(&socket));
    // Removes the socket file before connections drain: commands see that the node stops.
    drop(socket);
    tasks.close();
    tasks.wait().await;
}

struct Server {
    app: Router,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Server {
    async fn accept_network(&self, listener: TcpListener, acceptor: TlsAcceptor) {
        let slots = Arc::new(ConnectionSlots::default());
        let mut lines = PerMinute::new(LINES_PER_MINUTE);
        loop {
            let Some(accepted) = self.stop.run_until_cancelled(listener.accept()).await else { return };
            let (stream, address) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    accept_failed(&error, &mut lines).await;
                    continue;
                }
            };
            let Some(slot) = slots.take(address.ip()) else {
                if let Some(left_out) = lines.take(Instant::now()) {
                    tracing::warn!(%address, left_out, "admin API: connection rejected, too many are open");
                }
                continue;
            };
            let (app, stop, acceptor) = (self.app.clone(), self.stop.clone(), acceptor.clone());
            self.tasks.spawn(async move {
                match tokio::time::timeout(HANDSHAKE_MAX, secure(stream, acceptor)).await {
                    Ok(Ok(Some(stream))) => serve_connection(stream, Peer::Network(address), app, stop).await,
                    Ok(Ok(None)) => tracing::debug!(%address, "admin API: peer does not speak TLS"),
                    Ok(Err(error)) => tracing::debug!(%address, %error, "admin API: TLS handshake failed"),
                    Err(_) => tracing::debug!(%address, "admin API: TLS handshake timed out"),
                }
                drop(slot);
            });
        }
    }

    async fn accept_socket(&self, socket: &Socket) {
        let slots = Arc::new(Semaphore::new(SOCKET_CONNECTIONS_MAX));
        let mut lines = PerMinute::new(LINES_PER_MINUTE);
        loop {
            let next = async {
                let slot: Option<OwnedSemaphorePermit> = Arc::clone(&slots).acquire_owned().await.ok();
                (slot, socket.listener.accept().await)
            };
            let Some((slot, accepted)) = self.stop.run_until_cancelled(next).await else { return };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    accept_failed(&error, &mut lines).await;
                    continue;
                }
            };
            let peer = match stream.peer_cred() {
                Ok(who) => Peer::Socket { uid: who.uid(), pid: who.pid() },
                Err(error) => {
                    tracing::warn!(%error, "admin API: socket connection rejected, its credentials cannot be read");
                    continue;
                }
            };
            let (app, stop) = (self.app.clone(), self.stop.clone());
            self.tasks.spawn(async move {
                serve_connection(stream, peer, app, stop).await;
                drop(slot);
            });
        }
    }
}

async fn accept_failed(error: &io::Error, lines: &mut PerMinute) {
    if lines.take(Instant::now()).is_some() {
        tracing::warn!(%error, "admin API: accept failed, trying again");
    }
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

/// Completes the TLS handshake; `None` if the peer does not speak TLS.
async fn secure(mut stream: TcpStream, acceptor: TlsAcceptor) -> io::Result<Option<tokio_rustls::server::TlsStream<TcpStream>>> {
    stream.set_nodelay(true)?;
    let mut first = [0];
    if stream.peek(&mut first).await? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if first[0] == TLS_HANDSHAKE {
        return acceptor.accept(stream).await.map(Some);
    }
    if first[0].is_ascii_uppercase() {
        refuse_plain(&mut stream).await?;
    }
    Ok(None)
}

/// Answers plain-text HTTP. Reads the head first: closing a connection with unread data resets it and
/// discards the answer.
async fn refuse_plain(stream: &mut TcpStream) -> io::Result<()> {
    let (bytes_max, time_max) = PLAIN;
    let mut head = Vec::new();
    let read = async {
        while head.len() < bytes_max && !head.ends_with(b"\r\n\r\n") {
            if stream.read_buf(&mut head).await? == 0 {
                break;
            }
        }
        io::Result::Ok(())
    };
    // An incomplete head is answered too.
    drop(tokio::time::timeout(time_max, read).await);
    stream.write_all(PLAIN_ANSWER.as_bytes()).await?;
    stream.shutdown().await
}

/// Serves the requests of one connection.
async fn serve_connection(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, peer: Peer, app: Router, stop: CancellationToken) {
    let service = TowerToHyperService::new(app.layer(Extension(peer.clone())));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(WriteTimeout::new(stream, STALL_MAX)), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(?peer, %error, "admin API: connection failed");
    }
}

/// Open network connections per client address.
#[derive(Default)]
struct ConnectionSlots(Mutex<BTreeMap<IpAddr, usize>>);

struct Slot {
    slots: Arc<ConnectionSlots>,
    address: IpAddr,
}

impl ConnectionSlots {
    fn take(self: &Arc<Self>, address: IpAddr) -> Option<Slot> {
        let address = address.to_canonical();
        let mut taken = self.0.lock();
        let own = taken.get(&address).copied().unwrap_or_default();
        if own >= CONNECTIONS_OF_ADDRESS_MAX || taken.values().sum::<usize>() >= CONNECTIONS_MAX {
            return None;
        }
        taken.insert(address, own + 1);
        Some(Slot { slots: Arc::clone(self), address })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.slots.0.lock();
        match taken.get_mut(&self.address) {
            Some(own) if *own > 1 => *own -= 1,
            _ => drop(taken.remove(&self.address)),
        }
    }
}

/// The address with IPv4-mapped IPv6 as IPv4.
pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_cannot_take_all_slots() {
        let slots = Arc::new(ConnectionSlots::default());
        let of = |last: u8| IpAddr::from([192, 0, 2, last]);
        let mut held: Vec<Slot> = (0..CONNECTIONS_OF_ADDRESS_MAX).map(|_| slots.take(of(1)).unwrap()).collect();
        assert!(slots.take(of(1)).is_none());
        assert!(slots.take("::ffff:192.0.2.1".parse().unwrap()).is_none(), "the same address, IPv4-mapped");
        held.pop();
        held.push(slots.take(of(1)).unwrap());
        let others = (2..=u8::MAX).map_while(|last| slots.take(of(last)));
        let others: Vec<Slot> = others.collect();
        assert_eq!(held.len() + others.len(), CONNECTIONS_MAX);
        assert!(slots.take(of(255)).is_none(), "there is a limit for all");
        drop((held, others));
        assert!(slots.0.lock().is_empty());
        assert!(slots.take(of(255)).is_some());
    }

    /// The answer of a server with one route.
    async fn said(request: &[u8], stop: &CancellationToken) -> String {
        let app = Router::new().route("/", axum::routing::get(|Extension(peer): Extension<Peer>| async move { format!("{peer:?}") }));
        let (ours, mut theirs) = tokio::io::duplex(1 << 16);
        let served = tokio::spawn(serve_connection(ours, Peer::Socket { uid: 7, pid: None }, app, stop.clone()));
        theirs.write_all(request).await.unwrap();
        let mut answer = String::new();
        theirs.read_to_string(&mut answer).await.unwrap();
        served.await.unwrap();
        answer
    }

    #[tokio::test(start_paused = true)]
    async fn an_unfinished_head_times_out() {
        let (stop, from) = (CancellationToken::new(), tokio::time::Instant::now());
        for begun in ["", "GET", "GET / HTTP/1.1\r\nhost: x\r\n"] {
            said(begun.as_bytes(), &stop).await;
        }
        assert!((3 * HEAD_MAX..4 * HEAD_MAX).contains(&from.elapsed()), "{:?}", from.elapsed());
        let answer = said(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", &stop).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("uid: 7"), "{answer}");
        assert!(from.elapsed() >= 4 * HEAD_MAX, "a kept connection times out too");
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_above_the_limit_is_refused() {
        let long = format!("GET / HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "y".repeat(HEAD_BYTES_MAX));
        assert!(said(long.as_bytes(), &CancellationToken::new()).await.starts_with("HTTP/1.1 431"));
    }
}
