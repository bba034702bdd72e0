//! Frames on a stream: length, request id, envelope. A frame that is too long or damaged ends its connection and nothing else.

use std::io;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use super::traffic::Counter;
use crate::codec::{self, Kind};

/// Bytes of a frame before its envelope: its length and its request id.
const HEAD_BYTES: usize = LENGTH_BYTES + size_of::<u64>();
const LENGTH_BYTES: usize = size_of::<u32>();
/// Frames written with one system call at most.
const WRITE_FRAMES_MAX: usize = 256;
/// A gathered write is closed when it holds this much.
const WRITE_BYTES: usize = 256 << 10;
/// Longest opening and answer to it: read before the peer is known.
pub(crate) const OPENING_BYTES_MAX: usize = 64 << 10;

/// Makes a frame.
pub(crate) fn frame<T: Serialize>(id: u64, value: &T, bytes_max: usize) -> Result<Vec<u8>, FrameTooLong> {
    let mut out = codec::encode_behind(HEAD_BYTES, Kind::Frame, value).map_err(|_| FrameTooLong { bytes: usize::MAX })?;
    let length = out.len() - LENGTH_BYTES;
    if length > bytes_max {
        return Err(FrameTooLong { bytes: length });
    }
    out[..LENGTH_BYTES].copy_from_slice(&u32::try_from(length).map_err(|_| FrameTooLong { bytes: length })?.to_le_bytes());
    out[LENGTH_BYTES..HEAD_BYTES].copy_from_slice(&id.to_le_bytes());
    Ok(out)
}

/// The value does not fit into a frame.
#[derive(Debug)]
pub(crate) struct FrameTooLong {
    pub(crate) bytes: usize,
}

/// Reads one frame: its request id and its envelope.
pub(crate) async fn read(input: &mut (impl AsyncRead + Unpin), bytes_max: usize) -> io::Result<(u64, Vec<u8>)> {
    let length = input.read_u32_le().await? as usize;
    if length < 8 || length > bytes_max {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a frame of {length} bytes where at most {bytes_max} are allowed")));
    }
    let id = input.read_u64_le().await?;
    let wanted = length - (HEAD_BYTES - LENGTH_BYTES);
    let mut envelope = Vec::new();
    while envelope.len() < wanted {
        // The buffer grows with what arrives, not with what is announced.
        let there = envelope.len();
        envelope.resize(wanted.min(there + WRITE_BYTES), 0);
        input.read_exact(&mut envelope[there..]).await?;
    }
    Ok((id, envelope))
}

/// Decodes an envelope of a frame.
pub(crate) fn decode<T: DeserializeOwned>(envelope: &[u8]) -> io::Result<T> {
    codec::decode(Kind::Frame, envelope).map_err(|err| io::Error::new(io::ErrorKind::InvalidData, format!("a frame is {err}")))
}

/// Writes frames until the queue is closed; what waits together is written together.
pub(crate) async fn write_all(mut output: impl AsyncWrite + Unpin, mut frames: mpsc::Receiver<Vec<u8>>, sent: &Counter) -> io::Result<()> {
    let mut gathered = Vec::new();
    let mut waiting = Vec::new();
    while frames.recv_many(&mut waiting, WRITE_FRAMES_MAX).await > 0 {
        sent.add(waiting.len(), waiting.iter().map(Vec::len).sum());
        for frame in waiting.drain(..) {
            gathered.extend_from_slice(&frame);
            if gathered.len() >= WRITE_BYTES {
                output.write_all(&gathered).await?;
                gathered.clear();
            }
        }
        output.write_all(&gathered).await?;
        output.flush().await?;
        gathered.clear();
        gathered.shrink_to(WRITE_BYTES * 2);
    }
    output.shutdown().await
}
