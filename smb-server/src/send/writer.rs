//! The task that writes a connection's frames: what has queued up goes out in one vectored write.

use std::io::{self, IoSlice};

use tokio::{
    io::{AsyncWrite, AsyncWriteExt as _},
    sync::mpsc,
};
use tokio_util::sync::CancellationToken;

use super::frame::Frame;

/// Frames that wait for the socket; a full queue holds up the handlers of this connection only.
pub(crate) const QUEUE_FRAMES_MAX: usize = 256;
/// Frames of one write.
const BATCH_FRAMES_MAX: usize = 64;

/// Writes until the connection ends. Frames queued before the end are still written.
pub(crate) async fn run<W: AsyncWrite + Unpin>(mut socket: W, mut queue: mpsc::Receiver<Frame>, ended: CancellationToken) {
    // It grows as it is needed: most connections send one answer at a time, and then nothing for hours.
    let mut batch = Vec::new();
    loop {
        let received = tokio::select! {
            biased;
            received = queue.recv_many(&mut batch, BATCH_FRAMES_MAX) => received,
            () = ended.cancelled() => 0,
        };
        if received == 0 {
            break;
        }
        let written = tokio::select! {
            biased;
            written = write_all(&mut socket, &batch) => written,
            () = ended.cancelled() => break,
        };
        if written.is_err() {
            break;
        }
        metrics::counter!(crate::metrics::BYTES_OUT).increment(batch.iter().map(|frame| frame.len() as u64).sum());
        batch.clear();
    }
    ended.cancel();
    // The peer is told, or has gone already: either way nothing more can be done for it.
    let _ = socket.shutdown().await;
}

async fn write_all<W: AsyncWrite + Unpin>(socket: &mut W, batch: &[Frame]) -> io::Result<()> {
    let mut slices: Vec<IoSlice<'_>> = batch.iter().flat_map(Frame::slices).map(IoSlice::new).collect();
    let mut rest = &mut slices[..];
    while !rest.is_empty() {
        let written = socket.write_vectored(rest).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        IoSlice::advance_slices(&mut rest, written);
    }
    Ok(())
}
