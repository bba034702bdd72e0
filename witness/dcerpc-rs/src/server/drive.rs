//! Drives one TCP connection: reads, runs calls beside each other, writes, and watches the clock for it.
//!
//! Most connections wait for hours, and there are ten thousand of them: one that waits is one task without a buffer and
//! without a timer, and each of its calls is one future in that task. A test of the witness counts the bytes.

use std::future::{Future, poll_fn};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};

use super::HalfOpenPlace;
use super::admission::PeerSeat;
use crate::connection::{Action, CallResult, Connection, ConnectionConfig, run};
use crate::interruption::{Interrupter, Interruption};
use crate::limits::Limits;

const READ_BYTES: usize = 8 * 1024;

struct Driver {
    stream: TcpStream,
    connection: Connection,
    place: HalfOpenPlace,
    _seat: PeerSeat,
    half_open: bool,
    calls: Vec<Call>,
    output: BytesMut,
    phase: Phase,
    deadlines: Deadlines,
}

/// A call under way.
struct Call {
    id: u32,
    /// Gone once the call is orphaned: then its answer finds nobody that waits.
    interrupter: Option<Interrupter>,
    future: Pin<Box<dyn Future<Output = CallResult> + Send>>,
}

/// How a call ended.
enum Ended {
    With(CallResult),
    Orphaned,
    Panicked,
}

/// What is left to do for a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Read, run calls, write.
    Serving,
    /// The server goes away: let the calls end, then say so.
    Leaving,
    /// Only write what waits.
    Closing,
}

/// The moments at which patience ends.
struct Deadlines {
    bind: Instant,
    /// Of the request of which fragments are missing.
    request: Option<Instant>,
    write: Instant,
    /// Of a connection on which nobody has authenticated; moves on with everything that happens.
    idle: Instant,
    leave: Option<Instant>,
}

/// The connection is at its end.
struct Over;

/// One connection from its accept to its end. When it ends, its calls are dropped before its handles are run down.
// Made before there is a future: what an asynchronous function is given is in its future twice.
pub(super) fn connection(
    stream: TcpStream,
    config: ConnectionConfig,
    place: HalfOpenPlace,
    seat: PeerSeat,
) -> impl Future<Output = ()> + Send {
    let now = Instant::now();
    let limits = &config.limits;
    let deadlines = Deadlines {
        bind: now + limits.bind_timeout,
        request: None,
        write: now + limits.write_timeout,
        idle: now + limits.idle_timeout,
        leave: None,
    };
    let mut driver = Driver {
        stream,
        connection: Connection::new(config),
        place,
        _seat: seat,
        half_open: true,
        calls: Vec::new(),
        output: BytesMut::new(),
        phase: Phase::Serving,
        deadlines,
    };
    async move {
        while driver.turn().await.is_ok() {}
        driver.calls.clear();
    }
}

impl Driver {
    /// Waits for whatever comes next, and does it.
    async fn turn(&mut self) -> Result<(), Over> {
        if self.half_open && self.connection.is_established() {
            self.half_open = false;
            self.place.leave();
        }
        if self.phase == Phase::Leaving && self.calls.is_empty() {
            self.say_goodbye();
        }
        if self.phase == Phase::Closing && self.output.is_empty() {
            return Err(Over);
        }
        let may_read = self.phase == Phase::Serving && self.output.len() < self.limits().output_bytes_max;
        let has_output = !self.output.is_empty();
        let deadline = self.next_deadline();
        let (stream, calls) = (&self.stream, &mut self.calls);
        tokio::select! {
            () = self.place.token.cancelled(), if self.phase == Phase::Serving => self.leave()?,
            () = until(deadline) => self.expire()?,
            ready = poll_fn(|context| stream.poll_write_ready(context)), if has_output => self.write(ready)?,
            ended = poll_fn(|context| poll_calls(calls, context)), if !calls.is_empty() => self.finish(ended),
            ready = poll_fn(|context| stream.poll_read_ready(context)), if may_read => self.read(ready)?,
        }
        let now = Instant::now();
        self.deadlines.idle = now + self.limits().idle_timeout;
        if !has_output && !self.output.is_empty() {
            self.deadlines.write = now + self.limits().write_timeout;
        }
        Ok(())
    }

    fn limits(&self) -> &Limits {
        &self.connection.config().limits
    }

    /// When the first patience ends that counts now; a connection that waits has none that could.
    fn next_deadline(&self) -> Option<Instant> {
        let Deadlines { bind, request, write, idle, leave } = self.deadlines;
        let bind = self.half_open.then_some(bind);
        let idle = self.connection.is_idle().then_some(idle);
        let write = (!self.output.is_empty()).then_some(write);
        [bind, request, idle, write, leave].into_iter().flatten().min()
    }

    /// Calls that do not end in time are dropped; what is written then gets the same time again.
    fn expire(&mut self) -> Result<(), Over> {
        let is_leave = self.deadlines.leave == self.next_deadline();
        if !is_leave || self.phase != Phase::Leaving {
            return Err(Over);
        }
        self.say_goodbye();
        self.deadlines.leave = Some(Instant::now() + self.limits().shutdown_timeout);
        Ok(())
    }

    fn write(&mut self, ready: io::Result<()>) -> Result<(), Over> {
        match ready.and_then(|()| self.stream.try_write(&self.output)) {
            Ok(count) if count > 0 => {
                self.output.advance(count);
                if self.output.is_empty() {
                    self.output = BytesMut::new();
                }
                self.deadlines.write = Instant::now() + self.limits().write_timeout;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Ok(_) | Err(_) => Err(Over),
        }
    }

    fn read(&mut self, ready: io::Result<()>) -> Result<(), Over> {
        let mut input = BytesMut::with_capacity(READ_BYTES);
        match ready.and_then(|()| self.stream.try_read_buf(&mut input)) {
            Ok(count) if count > 0 => {
                let actions = self.connection.receive(&input);
                self.act(actions);
                let request = self.deadlines.request.unwrap_or_else(|| Instant::now() + self.limits().request_timeout);
                self.deadlines.request = self.connection.is_assembling().then_some(request);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Ok(_) | Err(_) => Err(Over),
        }
    }

    fn act(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Send(bytes) => self.output.extend_from_slice(&bytes),
                Action::Call(call) => {
                    let (interrupter, watch) = Interrupter::new();
                    let id = call.call_id;
                    let future = Box::pin(run(call, self.connection.config(), watch));
                    if self.calls.is_empty() {
                        self.calls.reserve_exact(1);
                    }
                    self.calls.push(Call { id, interrupter: Some(interrupter), future });
                }
                Action::Cancel(call_id) => {
                    if let Some(interrupter) = self.interrupter(call_id) {
                        interrupter.interrupt(Interruption::Cancelled);
                    }
                }
                Action::Orphan(call_id) => {
                    if let Some(interrupter) = self.interrupter(call_id) {
                        interrupter.interrupt(Interruption::Orphaned);
                    }
                    // Its number may be another call's from here on.
                    if let Some(call) = self.calls.iter_mut().find(|call| call.id == call_id && call.interrupter.is_some()) {
                        call.interrupter = None;
                    }
                }
                Action::Disconnect(because) => {
                    tracing::debug!(because, peer = ?self.connection.config().peer, "closing the connection");
                    self.phase = Phase::Closing;
                }
            }
        }
    }

    fn interrupter(&self, call_id: u32) -> Option<&Interrupter> {
        self.calls.iter().filter(|call| call.id == call_id).find_map(|call| call.interrupter.as_ref())
    }

    /// The server goes away: nothing is read any more, and the calls are told. Who has not bound has nothing to be told.
    fn leave(&mut self) -> Result<(), Over> {
        if self.half_open {
            return Err(Over);
        }
        self.phase = Phase::Leaving;
        self.deadlines.leave = Some(Instant::now() + self.limits().shutdown_timeout);
        for interrupter in self.calls.iter().filter_map(|call| call.interrupter.as_ref()) {
            interrupter.interrupt(Interruption::Closing);
        }
        Ok(())
    }

    fn say_goodbye(&mut self) {
        self.output.extend_from_slice(&self.connection.shutdown());
        self.phase = Phase::Closing;
    }

    fn finish(&mut self, ended: Ended) {
        match ended {
            Ended::With((call_id, result)) => self.output.extend_from_slice(&self.connection.respond(call_id, result)),
            Ended::Orphaned => {}
            Ended::Panicked => {
                // The panic's own message is in the log already. The client must not wait for this call.
                tracing::error!("a call ended without a result");
                self.phase = Phase::Closing;
            }
        }
    }
}

/// The timer is made when there is something to wait for: otherwise it would be a part of every connection.
async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => Box::pin(sleep_until(deadline)).await,
        None => std::future::pending().await,
    }
}

/// The first call that has ended, the oldest before the others; it is gone from the list.
fn poll_calls(calls: &mut Vec<Call>, context: &mut Context<'_>) -> Poll<Ended> {
    for at in 0..calls.len() {
        let future = &mut calls[at].future;
        let ended = match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
            Ok(Poll::Pending) => continue,
            Ok(Poll::Ready(result)) if calls[at].interrupter.is_some() => Ended::With(result),
            Ok(Poll::Ready(_)) => Ended::Orphaned,
            Err(_) => Ended::Panicked,
        };
        calls.remove(at);
        return Poll::Ready(ended);
    }
    Poll::Pending
}
