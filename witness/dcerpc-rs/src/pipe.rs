//! The same association driven by bytes instead of a socket: for SMB named pipes, where WRITE brings PDUs in any
//! portions and READ takes them out. It knows nothing of SMB; it is in message mode: a READ never crosses the end of a
//! PDU.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::association::AssociationGroups;
use crate::connection::{Action, Connection, ConnectionConfig, run};
use crate::interface::InterfaceSet;
use crate::interruption::{Interrupter, Interruption};
use crate::limits::Limits;
use crate::pdu::frame_length;
use crate::security::{Identity, SecurityProvider};

/// What a pipe is made with.
#[derive(Clone)]
pub struct PipeConfig {
    /// The interfaces behind the pipe.
    pub interfaces: InterfaceSet,
    /// Who authenticates binds that bring their own security; may be none.
    pub security: Option<Arc<dyn SecurityProvider>>,
    /// The association groups of this server's pipes.
    pub groups: Arc<AssociationGroups>,
    /// The limits, see [`Limits::for_pipe`].
    pub limits: Limits,
    /// The pipe's name without prefix, for example `srvsvc`.
    pub name: String,
    /// Who opened the pipe.
    pub identity: Option<Arc<Identity>>,
    /// Where the client comes from.
    pub peer: Option<std::net::SocketAddr>,
    /// Which of our addresses it came to.
    pub local: Option<std::net::SocketAddr>,
}

impl PipeConfig {
    /// A pipe of this name with these interfaces and nothing else set.
    pub fn new(name: &str, interfaces: InterfaceSet) -> Self {
        Self {
            interfaces,
            security: None,
            groups: AssociationGroups::new(),
            limits: Limits::for_pipe(),
            name: name.to_owned(),
            identity: None,
            peer: None,
            local: None,
        }
    }
}

/// What a read found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PipeRead {
    /// The bytes, at most as many as were asked for, all of one PDU.
    pub data: Vec<u8>,
    /// True if the PDU has more bytes than that: the READ is answered with BUFFER_OVERFLOW.
    pub has_more: bool,
}

/// The pipe is at its end: the peer broke the protocol, or too much is waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the pipe is closed")]
pub struct PipeClosed;

struct State {
    connection: Connection,
    output: VecDeque<Vec<u8>>,
    output_bytes: usize,
    interrupters: BTreeMap<u32, Interrupter>,
    tasks: JoinSet<()>,
    /// There while a request is incomplete; dropped when all of it is there, which stops its clock.
    incomplete: Option<DropGuard>,
    closed: bool,
}

struct Shared {
    state: Mutex<State>,
    readable: Notify,
}

/// One open pipe. Dropping it drops its calls and runs its context handles down. Must live inside a tokio runtime.
pub struct PipeAssociation {
    shared: Arc<Shared>,
}

impl PipeAssociation {
    /// A pipe that has just been opened.
    pub fn new(config: PipeConfig) -> Self {
        let connection = Connection::new(ConnectionConfig {
            interfaces: config.interfaces,
            security: config.security,
            groups: config.groups,
            limits: Arc::new(config.limits),
            secondary_address: format!("\\PIPE\\{}", config.name).into(),
            peer: config.peer,
            local: config.local,
            transport_identity: config.identity,
        });
        let state = State {
            connection,
            output: VecDeque::new(),
            output_bytes: 0,
            interrupters: BTreeMap::new(),
            tasks: JoinSet::new(),
            incomplete: None,
            closed: false,
        };
        Self { shared: Arc::new(Shared { state: Mutex::new(state), readable: Notify::new() }) }
    }

    /// Takes bytes of the client: part of a PDU, one, or several. Calls start at once, each in a task of its own. A request that stays
    /// incomplete for `request_timeout` ends the pipe.
    pub fn write(&self, bytes: &[u8]) -> Result<(), PipeClosed> {
        let mut state = self.shared.state.lock();
        if state.closed || state.output_bytes > state.connection.config().limits.output_bytes_max {
            return Err(PipeClosed);
        }
        while state.tasks.try_join_next().is_some() {}
        let actions = state.connection.receive(bytes);
        for action in actions {
            self.act(&mut state, action);
        }
        self.watch(&mut state);
        drop(state);
        self.shared.readable.notify_waiters();
        Ok(())
    }

    /// Takes bytes that wait for the client, at most `count_max`; `None` if nothing waits.
    pub fn read(&self, count_max: usize) -> Option<PipeRead> {
        let mut state = self.shared.state.lock();
        let mut data = state.output.pop_front()?;
        let has_more = data.len() > count_max;
        if has_more {
            let rest = data.split_off(count_max);
            state.output.push_front(rest);
        }
        state.output_bytes -= data.len();
        Some(PipeRead { data, has_more })
    }

    /// True if a read would find something.
    pub fn is_readable(&self) -> bool {
        !self.shared.state.lock().output.is_empty()
    }

    /// How many bytes wait, and how many of them belong to the first PDU (as FSCTL_PIPE_PEEK wants to know).
    pub fn waiting(&self) -> (usize, usize) {
        let state = self.shared.state.lock();
        (state.output_bytes, state.output.front().map_or(0, Vec::len))
    }

    /// True if the pipe is at its end and everything has been read.
    pub fn is_closed(&self) -> bool {
        let state = self.shared.state.lock();
        state.closed && state.output.is_empty()
    }

    /// Waits until a read finds something, or until the pipe is closed with nothing left. Safe to drop and call again.
    pub async fn readable(&self) -> Result<(), PipeClosed> {
        loop {
            let notified = self.shared.readable.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if self.is_readable() {
                return Ok(());
            }
            if self.shared.state.lock().closed {
                return Err(PipeClosed);
            }
            notified.await;
        }
    }

    /// Waits for bytes and takes them: what a READ that finds nothing does.
    pub async fn read_when_ready(&self, count_max: usize) -> Result<PipeRead, PipeClosed> {
        loop {
            self.readable().await?;
            if let Some(read) = self.read(count_max) {
                return Ok(read);
            }
        }
    }

    /// Writes, then reads the answer: FSCTL_PIPE_TRANSCEIVE.
    pub async fn transceive(&self, bytes: &[u8], count_max: usize) -> Result<PipeRead, PipeClosed> {
        self.write(bytes)?;
        self.read_when_ready(count_max).await
    }

    /// Starts the clock of a request that begins, and stops it when all of it is there.
    fn watch(&self, state: &mut State) {
        if !state.connection.is_assembling() {
            state.incomplete = None;
        } else if state.incomplete.is_none() {
            let complete = CancellationToken::new();
            state.incomplete = Some(complete.clone().drop_guard());
            let timeout = state.connection.config().limits.request_timeout;
            let shared = Arc::downgrade(&self.shared);
            state.tasks.spawn(async move {
                if tokio::time::timeout(timeout, complete.cancelled()).await.is_ok() {
                    return;
                }
                let Some(shared) = shared.upgrade() else { return };
                {
                    let mut state = shared.state.lock();
                    // It may have become complete at the last moment.
                    if complete.is_cancelled() {
                        return;
                    }
                    tracing::debug!("closing the pipe: a request stays incomplete");
                    state.closed = true;
                    // What was gathered of it is given back now, not when the client closes the pipe.
                    state.connection.abandon_request();
                }
                shared.readable.notify_waiters();
            });
        }
    }

    fn act(&self, state: &mut State, action: Action) {
        match action {
            Action::Send(bytes) => state.push(bytes),
            Action::Call(call) => {
                let (interrupter, watch) = Interrupter::new();
                state.interrupters.insert(call.call_id, interrupter);
                let running = run(call, state.connection.config(), watch);
                let shared = Arc::downgrade(&self.shared);
                state.tasks.spawn(async move {
                    let (call_id, result) = running.await;
                    let Some(shared) = shared.upgrade() else { return };
                    {
                        let mut state = shared.state.lock();
                        state.interrupters.remove(&call_id);
                        let bytes = state.connection.respond(call_id, result);
                        state.push(bytes);
                    }
                    shared.readable.notify_waiters();
                });
            }
            Action::Cancel(call_id) => {
                if let Some(interrupter) = state.interrupters.get(&call_id) {
                    interrupter.interrupt(Interruption::Cancelled);
                }
            }
            Action::Orphan(call_id) => {
                if let Some(interrupter) = state.interrupters.remove(&call_id) {
                    interrupter.interrupt(Interruption::Orphaned);
                }
            }
            Action::Disconnect(because) => {
                tracing::debug!(because, "closing the pipe");
                state.closed = true;
            }
        }
    }
}

impl Drop for PipeAssociation {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        state.closed = true;
        state.tasks.abort_all();
    }
}

impl State {
    /// Queues one PDU per element, so that reads keep to message boundaries.
    fn push(&mut self, mut bytes: Vec<u8>) {
        self.output_bytes += bytes.len();
        while let Some(length) = frame_length(&bytes).filter(|length| *length > 0 && *length < bytes.len()) {
            let rest = bytes.split_off(length);
            self.output.push_back(bytes);
            bytes = rest;
        }
        if !bytes.is_empty() {
            self.output.push_back(bytes);
        }
    }
}
