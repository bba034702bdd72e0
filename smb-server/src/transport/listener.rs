//! Accepts connections and runs each: a reader, a writer, a watch over unauthenticated ones, and the farewell.

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::FutureExt as _;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::mpsc,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::reader;
use crate::{
    error::Disconnect,
    loss, metrics as names,
    rate_limit::PerMinute,
    send::writer::{self, QUEUE_FRAMES_MAX},
    state::{Connection, Server},
    store::StoreExt as _,
    timer,
};

/// Pause after a failed accept: the usual cause is a shortage of descriptors, which passes.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Log lines about failed accepts per minute and listener.
const ACCEPT_LINES_PER_MINUTE: u32 = 4;
/// "Too many open files" of the process; the same number on every architecture of Linux.
const EMFILE: i32 = 24;
/// As above, of the system.
const ENFILE: i32 = 23;

/// Accepts connections until `stop` fires; then closes those it accepted and waits for their end.
pub async fn listen(server: Arc<Server>, listener: TcpListener, stop: CancellationToken) {
    let tracker = TaskTracker::new();
    let mut lines = PerMinute::new(ACCEPT_LINES_PER_MINUTE);
    loop {
        // A socket is counted until it is closed: what waits for that waits in the kernel's queue.
        let next = async {
            let place = Arc::clone(&server.sockets).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            () = stop.cancelled() => break,
            next = next => next,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                accept_failed(&server, &error, &mut lines);
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if server.store.with_state(|state| state.client_block(peer.ip()).is_some()) {
            // What comes again and again is not worth a line each time: the block itself was told.
            tracing::debug!(%peer, "a blocked client is turned away");
            continue;
        }
        let Ok(local) = stream.local_addr() else { continue };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY");
        }
        let (reader, writer) = stream.into_split();
        let serving = serve(Arc::clone(&server), reader, writer, peer, local, stop.child_token());
        // An asynchronous block would hold the future twice: there are ten thousand of them.
        tracker.spawn(serving.map(move |()| drop(place)));
    }
    // Whoever comes from here on is refused, and does not wait for those that are being dealt with.
    drop(listener);
    tracker.close();
    tracker.wait().await;
}

/// Says that a connection could not be accepted, not too often; where descriptors are short, makes room for the next one.
fn accept_failed(server: &Server, error: &io::Error, lines: &mut PerMinute) {
    let short = matches!(error.raw_os_error(), Some(EMFILE | ENFILE));
    if short {
        server.make_room();
    }
    let Some(left_out) = lines.take(Instant::now()) else { return };
    if short {
        tracing::warn!(%error, left_out, "no file descriptor for a new connection: raise the process's limit (LimitNOFILE) or lower smb.limits.connections");
    } else {
        tracing::warn!(%error, left_out, "a connection could not be accepted, trying again");
    }
}

/// Serves one connection over any stream until it ends. Returns when its opens have been dealt with.
pub async fn serve<R, W>(server: Arc<Server>, socket_in: R, socket_out: W, peer: SocketAddr, local: SocketAddr, ended: CancellationToken)
where
    R: AsyncRead + Unpin + Send,
    W: AsyncWrite + Unpin + Send + 'static,
{
    let (sender, queue) = mpsc::channel(QUEUE_FRAMES_MAX);
    let connection = Arc::new(Connection::new(server.next_connection_id(), peer, local, server.config.credits_max, sender, ended.clone()));
    if !server.add_connection(&connection) {
        return;
    }
    metrics::counter!(names::CONNECTIONS).increment(1);
    metrics::gauge!(names::CONNECTIONS_OPEN).increment(1.0);
    let writer = tokio::spawn(writer::run(socket_out, queue, ended.clone()));
    let watch = tokio::spawn(timer::unauthenticated::watch(Arc::clone(&server), Arc::clone(&connection)));
    let tasks = TaskTracker::new();
    let because = tokio::select! {
        because = reader::run(&server, &connection, socket_in, &tasks) => because,
        () = ended.cancelled() => Disconnect::because("ended"),
    };
    connection.disconnect(because);
    ended.cancel();
    tasks.close();
    // What is under way must have ended before its opens may go to anybody else.
    tasks.wait().await;
    Box::pin(loss::connection_lost(&server, &connection)).await;
    server.remove_connection(connection.connection_id);
    metrics::gauge!(names::CONNECTIONS_OPEN).decrement(1.0);
    watch.abort();
    // The writer ends by itself: its token has fired.
    let _ = writer.await;
}
