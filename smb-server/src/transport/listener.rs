//! Accepts connections and runs each: a reader, a writer, a watch over unauthenticated ones, and the farewell.

use std::{net::SocketAddr, sync::Arc, time::Duration};

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
    send::writer::{self, QUEUE_FRAMES_MAX},
    state::{Connection, Server},
    store::StoreExt as _,
    timer,
};

/// Pause after a failed accept: the usual cause is a shortage of descriptors, which passes.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Accepts connections until `stop` fires; then closes those it accepted and waits for their end.
pub async fn listen(server: Arc<Server>, listener: TcpListener, stop: CancellationToken) {
    let tracker = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
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
        tracker.spawn(serve(Arc::clone(&server), reader, writer, peer, local, stop.child_token()));
    }
    // Whoever comes from here on is refused, and does not wait for those that are being dealt with.
    drop(listener);
    tracker.close();
    tracker.wait().await;
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
        tracing::warn!(limit = server.config.connections_max, "too many connections");
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
    loss::connection_lost(&server, &connection).await;
    server.remove_connection(connection.connection_id);
    metrics::gauge!(names::CONNECTIONS_OPEN).decrement(1.0);
    watch.abort();
    // The writer ends by itself: its token has fired.
    let _ = writer.await;
}
