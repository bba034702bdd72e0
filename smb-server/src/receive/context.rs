//! What a handler knows of the request it answers: session, tree, the open it names, its place in a compound; and how to wait.

use std::sync::Arc;

use bytes::Bytes;
use smb_proto::{Command, Header};
use smb_types::{Dialect, FileId, NtStatus};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

use crate::{
    access::Asker,
    error::{Disconnect, Refusal},
    limits::Limit,
    send::{
        interim::interim,
        seal::{self, Outgoing},
    },
    state::{Connection, Negotiated, Open, Request, Server, Session, TreeConnect, open::CountedRequest},
};

/// Credits are counted in units of this many bytes.
const CREDIT_BYTES: u64 = 65_536;

/// What related requests take over from those before them.
#[derive(Debug, Default)]
pub(crate) struct Chain {
    pub(crate) session: Option<Arc<Session>>,
    pub(crate) tree: Option<Arc<TreeConnect>>,
    pub(crate) file_id: Option<FileId>,
    /// Status of a CREATE that failed, or of a request whose file was not found: those that build on it fail with the same.
    pub(crate) failed: Option<NtStatus>,
}

/// One request under way. The same context serves all elements of a compound, one after the other.
pub struct RequestContext {
    /// The node's service.
    pub server: Arc<Server>,
    /// Where the request came in; the response goes out there too.
    pub connection: Arc<Connection>,
    /// The session, found and checked; None in NEGOTIATE, SESSION_SETUP and a bare ECHO.
    pub session: Option<Arc<Session>>,
    /// The tree connect, found and checked; None for commands that have none.
    pub tree: Option<Arc<TreeConnect>>,
    /// The element's header.
    pub header: Header,
    /// The element from its header on, padding included: give it to `decode`. Slices of it share its memory.
    pub message: Bytes,
    /// The entry in the request table.
    pub request: Arc<Request>,
    /// The session whose keys decrypted the message; None when it came in clear. The answers to all its elements are encrypted with the same
    /// keys, whatever session an element names or has lost.
    pub(crate) sealed_by: Option<Arc<Session>>,
    /// The request carried a good signature.
    pub signed: bool,
    /// The request carried a signature that is wrong, or cannot be checked on this connection.
    pub(crate) bad_signature: bool,
    /// First element of its message.
    pub is_first: bool,
    /// Last element of its message.
    pub is_last: bool,
    pub(crate) chain: Chain,
    /// Responses of earlier elements, not sent yet.
    pub(crate) finished: Vec<Outgoing>,
    /// Counts the request in its open's channel sequence until it ends.
    pub(crate) counted: Option<CountedRequest>,
    /// Place among the messages worked on at one time; given back when the request begins to wait.
    pub(crate) permit: Option<OwnedSemaphorePermit>,
    /// Set by [`Self::disconnect`].
    pub(crate) doom: Option<Disconnect>,
}

impl RequestContext {
    /// The session.
    ///
    /// # Errors
    /// USER_SESSION_DELETED; the dispatcher has checked already where one is needed.
    pub fn session(&self) -> Result<&Arc<Session>, Refusal> {
        self.session.as_ref().ok_or(Refusal::new(NtStatus::USER_SESSION_DELETED, "the request has no session"))
    }

    /// The tree connect.
    ///
    /// # Errors
    /// NETWORK_NAME_DELETED; the dispatcher has checked already where one is needed.
    pub fn tree(&self) -> Result<&Arc<TreeConnect>, Refusal> {
        self.tree.as_ref().ok_or(Refusal::new(NtStatus::NETWORK_NAME_DELETED, "the request has no tree"))
    }

    /// What the connection negotiated.
    #[must_use]
    pub fn negotiated(&self) -> &Arc<Negotiated> {
        self.connection.negotiated().expect("the dispatcher lets nothing pass before NEGOTIATE")
    }

    /// Connection.Dialect.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        self.negotiated().dialect
    }

    /// Who asks, through this request's tree.
    ///
    /// # Errors
    /// As [`Server::asker`]; NETWORK_NAME_DELETED without a tree.
    pub(crate) fn asker(&self) -> Result<Asker, Refusal> {
        self.server.asker(self.session()?, &self.tree()?.share, self.connection.peer.ip())
    }

    /// Fires on CANCEL and when the connection ends. Whoever waits, waits for this too and answers CANCELLED.
    #[must_use]
    pub fn cancelled(&self) -> CancellationToken {
        self.request.cancel.clone()
    }

    /// Refuses a request whose CreditCharge does not cover what it sends or expects.
    ///
    /// # Errors
    /// INVALID_PARAMETER.
    // MS-SMB2 3.3.5.2.5
    // One credit for each 64 KiB begun of the larger of both; a charge of 0 counts as 1.
    pub fn check_charge(&self, sent_bytes: u64, expected_bytes: u64) -> Result<(), Refusal> {
        let bytes = sent_bytes.max(expected_bytes);
        if !self.negotiated().supports_multi_credit {
            return if bytes > CREDIT_BYTES { Err(Refusal::invalid("more than 64 KiB without multi-credit")) } else { Ok(()) };
        }
        let needed = bytes.saturating_sub(1) / CREDIT_BYTES + 1;
        if needed > u64::from(self.header.credit_charge.max(1)) {
            return Err(Refusal::invalid("CreditCharge is too small"));
        }
        Ok(())
    }

    /// The message came encrypted.
    #[must_use]
    pub const fn is_encrypted(&self) -> bool {
        self.sealed_by.is_some()
    }

    /// Finds the open a request names (in a related request: the one of the request before) and counts the request in it.
    ///
    /// # Errors
    /// FILE_CLOSED, the status of a failed CREATE before, or FILE_NOT_AVAILABLE by the channel sequence.
    // MS-SMB2 3.3.5.2.7.2, 3.3.5.2.10
    // Both halves of the id must match, and the open must belong to the request's tree.
    pub fn open(&mut self, file_id: FileId) -> Result<Arc<Open>, Refusal> {
        let file_id = self.resolve(file_id)?;
        let found = self.session()?.open(file_id).filter(|open| !open.is_revoked());
        let Some(open) = found else {
            // Related requests that follow mean the same missing file.
            self.chain.failed = Some(NtStatus::FILE_CLOSED);
            return Err(Refusal::new(NtStatus::FILE_CLOSED, "no such open in this session"));
        };
        if self.tree.as_ref().is_some_and(|tree| tree.tree_id != open.tree.tree_id) {
            return Err(Refusal::new(NtStatus::FILE_CLOSED, "the open belongs to another tree"));
        }
        // Older dialects have no channel sequence; they are counted all the same, so that a take-over can wait for them.
        let (sequence, replay) =
            if self.dialect().is_3x() { (self.header.channel_sequence(), self.header.is_replay()) } else { (0, false) };
        let modifies = matches!(self.header.command, Command::Write | Command::SetInfo | Command::Ioctl);
        self.counted = None;
        self.counted = Some(CountedRequest::begin(&open, sequence, replay, modifies)?);
        // Whoever revokes waits for what is counted: so look again, now that this request is.
        if open.is_revoked() {
            self.counted = None;
            return Err(Refusal::new(NtStatus::FILE_CLOSED, "the open was taken away"));
        }
        *self.request.file_id.lock() = Some(open.file_id);
        self.chain.file_id = Some(open.file_id);
        if self.header.command != Command::Close {
            self.end_replay(&open);
        }
        Ok(open)
    }

    /// The client uses the handle, so it has the answer to its CREATE: a replay of that would be a mistake from now on.
    // MS-SMB2 3.3.5.2.10 and the messages' own sections
    // The first use only; nobody waits for it, since a replay that is answered once too often does no harm.
    fn end_replay(&self, open: &Open) {
        if open.replay_eligible.swap(false, std::sync::atomic::Ordering::AcqRel) {
            let (server, open) = (Arc::clone(&self.server), open.open_id);
            tokio::spawn(async move {
                let command = persistence_model::Command::EndReplay { open, by: server.store.incarnation() };
                if let Err(refusal) = server.propose(command).await {
                    tracing::debug!(because = refusal.because, "a handle stays open to replays");
                }
            });
        }
    }

    /// A CREATE has made (or found again) this open: related requests that follow mean it.
    pub fn opened(&mut self, file_id: FileId) {
        self.chain.file_id = Some(file_id);
        self.chain.failed = None;
    }

    fn resolve(&self, file_id: FileId) -> Result<FileId, Refusal> {
        if !self.header.is_related() || self.is_first {
            return Ok(file_id);
        }
        if let Some(status) = self.chain.failed {
            return Err(Refusal::new(status, "the request before it failed"));
        }
        match self.chain.file_id {
            Some(earlier) => Ok(earlier),
            None if file_id == FileId::ALL_ONES => Err(Refusal::new(NtStatus::INVALID_HANDLE, "no file in the requests before")),
            None => Ok(file_id),
        }
    }

    /// Tells whether an interim response was sent.
    #[must_use]
    pub fn is_async(&self) -> bool {
        self.request.async_id().is_some()
    }

    /// Sends STATUS_PENDING with an AsyncId before a wait that may take long; the final response follows with the same id. Does nothing the
    /// second time. Responses of earlier elements of the compound go out first.
    ///
    /// # Errors
    /// INTERNAL_ERROR in the middle of a compound (a CREATE may), INSUFFICIENT_RESOURCES when too many wait, CANCELLED when the connection is gone.
    // MS-SMB2 3.3.4.2
    pub async fn go_async(&mut self) -> Result<(), Refusal> {
        if self.is_async() {
            return Ok(());
        }
        // windows: only a CREATE may wait in the middle of a compound, whatever the specification allows.
        if !self.is_last && self.header.command != Command::Create {
            return Err(Refusal::new(NtStatus::INTERNAL_ERROR, "would wait in the middle of a compound"));
        }
        let limit = self.server.config.limits.async_requests_per_connection;
        let Some(async_id) = self.connection.make_async(&self.request, limit) else {
            self.server.refused(Limit::AsyncRequestsPerConnection, self.connection.peer.ip());
            return Err(Refusal::new(NtStatus::INSUFFICIENT_RESOURCES, "too many asynchronous requests"));
        };
        self.permit = None;
        let gone = |_| Refusal::new(NtStatus::CANCELLED, "the connection is gone");
        self.flush_finished().await?;
        let credits = self.connection.window.lock().grant(self.header.credits);
        let session_id = self.session.as_ref().map_or(self.header.session_id, |session| session.session_id.0);
        let outgoing = interim(&self.header, session_id, async_id, credits);
        let frame = seal::frame(vec![outgoing], self.sealed_by.as_deref()).map_err(|because| self.disconnect(because.because))?;
        self.connection.send(frame).await.map_err(gone)
    }

    /// Sends the responses of earlier elements now.
    async fn flush_finished(&mut self) -> Result<(), Refusal> {
        if self.finished.is_empty() {
            return Ok(());
        }
        let finished = std::mem::take(&mut self.finished);
        let frame = seal::frame(finished, self.sealed_by.as_deref()).map_err(|because| self.disconnect(because.because))?;
        self.connection.send(frame).await.map_err(|_| Refusal::new(NtStatus::CANCELLED, "the connection is gone"))
    }

    /// The connection must go: return what this gives.
    pub fn disconnect(&mut self, because: &'static str) -> Refusal {
        self.doom = Some(Disconnect::because(because));
        Refusal::new(NtStatus::CONNECTION_DISCONNECTED, because)
    }
}
