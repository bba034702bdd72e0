//! The backup as a stream: written while it is read, so that it needs no room on the node.

use std::{
    collections::BTreeMap,
    io::{self, BufWriter, Write},
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    body::Body,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use futures::stream;
use tokio::sync::mpsc::{self, error::TrySendError};

use super::{Admin, Problem};

/// Chunks between the disk and the network.
const CHUNKS_MAX: usize = 8;
/// How long a reader may read nothing.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// Pause before a full queue is tried again.
const PAUSE: Duration = Duration::from_millis(2);
/// Bytes of a chunk.
const CHUNK_BYTES: usize = 256 << 10;

/// Gives what is written to the stream, and waits while nobody reads.
struct Chunks(mpsc::Sender<io::Result<Bytes>>);

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut chunk = Ok(Bytes::copy_from_slice(bytes));
        let began = Instant::now();
        // A view of the state is held meanwhile: not for somebody who has stopped reading.
        while began.elapsed() < SILENCE_MAX {
            chunk = match self.0.try_send(chunk) {
                Ok(()) => return Ok(bytes.len()),
                Err(TrySendError::Full(chunk)) => chunk,
                Err(TrySendError::Closed(_)) => break,
            };
            std::thread::sleep(PAUSE);
        }
        Err(io::Error::new(io::ErrorKind::BrokenPipe, "nobody reads the backup any more"))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// GET /api/v1/backup. A backup that fails in the middle ends the connection without the file's end: its reader notices.
pub(super) async fn stream(State(admin): State<Arc<Admin>>) -> Result<Response, Problem> {
    let config = toml::to_string_pretty(&*admin.config).unwrap_or_default();
    let notes =
        BTreeMap::from([("program".to_owned(), env!("CARGO_PKG_VERSION").to_owned()), ("configuration of this node".to_owned(), config)]);
    let (chunks, mut queue) = mpsc::channel(CHUNKS_MAX);
    let failed = chunks.clone();
    let store = admin.store.clone();
    tokio::spawn(async move {
        let out = BufWriter::with_capacity(CHUNK_BYTES, Chunks(chunks));
        match store.backup(notes, out).await {
            Ok((_, head, size)) => tracing::info!(index = head.index, entries = size.entries, bytes = size.bytes, "a backup was taken"),
            Err(error) => {
                tracing::warn!(%error, "a backup was not finished");
                // Whoever waits for it may have gone.
                let _ = failed.send(Err(io::Error::other(error.to_string()))).await;
            }
        }
    });
    // What fails before the first byte can still be said.
    let first = queue.recv().await;
    if let Some(Err(error)) = &first {
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, format!("the backup was not made: {error}")));
    }
    let rest = stream::unfold((first, queue), |(first, mut queue)| async move {
        let next = match first {
            Some(chunk) => Some(chunk),
            None => queue.recv().await,
        };
        next.map(|chunk| (chunk, (None, queue)))
    });
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], Body::from_stream(rest)).into_response())
}
