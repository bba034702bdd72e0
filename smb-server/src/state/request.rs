//! Request: what a connection knows about a request under way, so that CANCEL and connection loss find it (MS-SMB2 3.3.1.8).

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use smb_proto::Command;
use smb_types::{CreateGuid, FileId};
use tokio_util::sync::CancellationToken;

/// An entry of Connection.RequestList.
#[derive(Debug)]
pub struct Request {
    /// Request.MessageId.
    pub message_id: u64,
    /// What was asked.
    pub command: Command,
    /// Request.AsyncId; 0 while the request is synchronous.
    async_id: AtomicU64,
    /// Request.CancelRequestId in effect: fires on CANCEL, and when the connection goes.
    pub cancel: CancellationToken,
    /// CreateGuid of a CREATE, for replays that meet their elder.
    pub create_guid: Mutex<Option<CreateGuid>>,
    /// The open a waiting request belongs to, so that CLOSE can end it.
    pub file_id: Mutex<Option<FileId>>,
}

impl Request {
    /// A request that has just come; `connection` is the connection's token.
    #[must_use]
    pub fn new(message_id: u64, command: Command, connection: &CancellationToken) -> Self {
        Self {
            message_id,
            command,
            async_id: AtomicU64::new(0),
            cancel: connection.child_token(),
            create_guid: Mutex::new(None),
            file_id: Mutex::new(None),
        }
    }

    /// The AsyncId, once an interim response was sent.
    #[must_use]
    pub fn async_id(&self) -> Option<u64> {
        match self.async_id.load(Ordering::Acquire) {
            0 => None,
            id => Some(id),
        }
    }

    /// Makes the request asynchronous.
    pub(crate) fn set_async_id(&self, id: u64) {
        assert!(id != 0, "zero means synchronous");
        self.async_id.store(id, Ordering::Release);
    }
}
