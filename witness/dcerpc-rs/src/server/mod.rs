//! The TCP server: a listener, and a task per connection, in which its calls run beside each other. It decides nothing about the protocol;
//! that is [`crate::connection`].

mod admission;
mod drive;

use std::io;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::association::AssociationGroups;
use crate::connection::ConnectionConfig;
use crate::interface::InterfaceSet;
use crate::limits::Limits;
use crate::security::SecurityProvider;

use admission::{HalfOpen, HalfOpenPlace, Peers};

/// Pause after an accept that failed for want of a resource.
const ACCEPT_PAUSE: std::time::Duration = std::time::Duration::from_millis(50);
/// Pause between two log lines about failed accepts.
const ACCEPT_LINE_PAUSE: std::time::Duration = std::time::Duration::from_secs(15);

/// Serves interfaces on a listener until it is cancelled. Then every call under way is interrupted and answered, every
/// client is told (shutdown PDU), and it returns when every connection has ended and every context handle has been run
/// down: at the latest after twice [`Limits::shutdown_timeout`].
pub async fn serve(
    listener: TcpListener,
    interfaces: InterfaceSet,
    security: Option<Arc<dyn SecurityProvider>>,
    limits: Limits,
    cancel: CancellationToken,
) -> io::Result<()> {
    let port = listener.local_addr()?.port();
    let groups = AssociationGroups::new();
    let (half_open, limits_of_each) = (Arc::new(HalfOpen::default()), Arc::new(limits));
    let secondary_address: Arc<str> = port.to_string().into();
    let peers = Arc::new(Peers::default());
    let mut connections = JoinSet::new();
    let mut serial: u64 = 0;
    // One line for a shortage of descriptors that lasts, however often it is met.
    let (mut told, mut failed) = (None::<Instant>, 0_u64);
    loop {
        let accepted = tokio::select! {
            () = cancel.cancelled() => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = listener.accept(), if connections.len() < limits.connections_max => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                if told.is_none_or(|told| told.elapsed() >= ACCEPT_LINE_PAUSE) {
                    told = Some(Instant::now());
                    tracing::warn!(%error, failed, port, "accept failed, trying again: look at the process's open files");
                    failed = 0;
                }
                failed += 1;
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(seat) = peers.enter(peer.ip(), limits.connections_per_peer_max) else {
            tracing::debug!(%peer, "too many connections of one client");
            continue;
        };
        prepare(&stream);
        let config = ConnectionConfig {
            interfaces: interfaces.clone(),
            security: security.clone(),
            groups: Arc::clone(&groups),
            limits: Arc::clone(&limits_of_each),
            secondary_address: Arc::clone(&secondary_address),
            peer: Some(peer),
            local: stream.local_addr().ok(),
            transport_identity: None,
        };
        serial += 1;
        let place = half_open.enter(serial, limits.half_open_max, &cancel);
        connections.spawn(drive::connection(stream, config, place, seat));
    }
    while connections.join_next().await.is_some() {}
    Ok(())
}

/// A witness connection is silent for hours: the kernel has to notice that its peer is gone.
fn prepare(stream: &TcpStream) {
    use rustix::net::sockopt;
    let set = || -> rustix::io::Result<()> {
        sockopt::set_tcp_nodelay(stream, true)?;
        sockopt::set_socket_keepalive(stream, true)?;
        sockopt::set_tcp_keepidle(stream, std::time::Duration::from_secs(30))?;
        sockopt::set_tcp_keepintvl(stream, std::time::Duration::from_secs(10))?;
        sockopt::set_tcp_keepcnt(stream, 3)
    };
    if let Err(error) = set() {
        tracing::debug!(%error, "socket options are not set");
    }
}
