//! Buffers on their way to the socket: each has room in front for the length prefix and a transform header, so nothing is copied.

use std::convert::Infallible;

use smb_auth::sealing::TRANSFORM_HEADER_LENGTH;
use tokio::sync::oneshot;

/// Length of the direct-TCP prefix.
pub const PREFIX: usize = 4;
/// Room in front of every SMB2 header.
pub const HEADROOM: usize = PREFIX + TRANSFORM_HEADER_LENGTH;

/// One message for the socket: parts that are written one after the other, each from its start offset.
#[derive(Debug)]
pub struct Frame {
    parts: Vec<(Vec<u8>, usize)>,
    /// Goes with the frame, when it is written.
    receipt: Option<oneshot::Sender<Infallible>>,
}

impl Frame {
    /// A message of parts, each `(buffer, start)`. The first part must have at least four bytes of room before `start`: the prefix goes there.
    #[must_use]
    pub(crate) fn new(mut parts: Vec<(Vec<u8>, usize)>) -> Self {
        let length: usize = parts.iter().map(|(buffer, start)| buffer.len() - start).sum();
        let (first, start) = parts.first_mut().expect("a message has at least one part");
        *start = start.checked_sub(PREFIX).expect("the first part has room for the prefix");
        let prefix = smb_proto::frame::prefix(length).expect("a message fits the transport: sizes were bounded when it was asked for");
        first[*start..*start + PREFIX].copy_from_slice(&prefix);
        Self { parts, receipt: None }
    }

    /// What ends when the frame has been written to the socket, or was lost with its connection.
    pub(crate) fn receipt(&mut self) -> Receipt {
        let (kept, gone) = oneshot::channel();
        self.receipt = Some(kept);
        Receipt(gone)
    }

    /// The first part without the prefix: the whole message, when it is not a compound.
    pub(crate) fn message(&self) -> &[u8] {
        self.parts.first().map_or(&[], |(buffer, start)| &buffer[start + PREFIX..])
    }

    /// The bytes to write, in order.
    pub(crate) fn slices(&self) -> impl Iterator<Item = &[u8]> {
        self.parts.iter().map(|(buffer, start)| &buffer[*start..])
    }

    /// Number of bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.parts.iter().map(|(buffer, start)| buffer.len() - start).sum()
    }

    /// A frame always has a prefix.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Tells when a frame has been written.
#[derive(Debug)]
pub struct Receipt(oneshot::Receiver<Infallible>);

impl Receipt {
    /// Returns when the frame has been written to the socket, or was lost with its connection.
    pub(crate) async fn written(self) {
        let Self(gone) = self;
        let Err(_dropped) = gone.await;
    }
}
