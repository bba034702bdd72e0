//! Drives one TCP connection: reads, runs calls beside each other, writes, and watches the clock for it.

use std::collections::BTreeMap;

use bytes::{Buf, BytesMut};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::HalfOpenPlace;
use crate::connection::{Action, CallResult, Connection, ConnectionConfig, run};
use crate::interruption::{Interrupter, Interruption};

const READ_BYTES: usize = 8 * 1024;

struct Driver {
    connection: Connection,
    calls: JoinSet<CallResult>,
    interrupters: BTreeMap<u32, Interrupter>,
    output: BytesMut,
    phase: Phase,
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

/// One connection from its accept to its end. When it ends, its calls are dropped before its handles are run down.
pub(super) async fn connection(mut stream: TcpStream, config: ConnectionConfig, place: HalfOpenPlace) {
    let limits = config.limits;
    let cancel = place.token.clone();
    let mut driver = Driver::new(Connection::new(config));
    let now = Instant::now();
    let mut deadlines = Deadlines {
        bind: now + limits.bind_timeout,
        request: None,
        write: now + limits.write_timeout,
        idle: now + limits.idle_timeout,
        leave: None,
    };
    let mut half_open = true;
    let (reader, mut writer) = stream.split();
    loop {
        if half_open && driver.connection.is_established() {
            half_open = false;
            place.leave();
        }
        if driver.phase == Phase::Leaving && driver.calls.is_empty() {
            driver.say_goodbye();
        }
        if driver.phase == Phase::Closing && driver.output.is_empty() {
            break;
        }
        let may_read = driver.phase == Phase::Serving && driver.output.len() < limits.output_bytes_max;
        let was_idle = driver.output.is_empty();
        tokio::select! {
            () = cancel.cancelled(), if driver.phase == Phase::Serving => {
                if half_open { break }
                driver.leave();
                deadlines.leave = Some(Instant::now() + limits.shutdown_timeout);
            }
            () = until(deadlines.leave) => match driver.phase {
                // Calls that do not end in time are dropped; what is written then gets the same time again.
                Phase::Leaving => {
                    driver.say_goodbye();
                    deadlines.leave = Some(Instant::now() + limits.shutdown_timeout);
                }
                Phase::Serving | Phase::Closing => break,
            },
            () = sleep_until(deadlines.bind), if half_open => break,
            () = until(deadlines.request) => break,
            () = sleep_until(deadlines.idle), if driver.connection.is_idle() => break,
            () = sleep_until(deadlines.write), if !driver.output.is_empty() => break,
            written = writer.write(&driver.output), if !driver.output.is_empty() => match written {
                Ok(count) if count > 0 => {
                    driver.output.advance(count);
                    if driver.output.is_empty() {
                        driver.output = BytesMut::new();
                    }
                    deadlines.write = Instant::now() + limits.write_timeout;
                }
                Ok(_) | Err(_) => break,
            },
            Some(joined) = driver.calls.join_next(), if !driver.calls.is_empty() => driver.finish(joined),
            // Most connections wait for hours: none holds a buffer meanwhile.
            ready = reader.readable(), if may_read => {
                let mut input = BytesMut::with_capacity(READ_BYTES);
                match ready.and_then(|()| reader.try_read_buf(&mut input)) {
                    Ok(count) if count > 0 => {
                        let actions = driver.connection.receive(&input);
                        driver.act(actions);
                        deadlines.request = match driver.connection.is_assembling() {
                            true => deadlines.request.or_else(|| Some(Instant::now() + limits.request_timeout)),
                            false => None,
                        };
                    }
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                    Ok(_) | Err(_) => break,
                }
            }
        }
        deadlines.idle = Instant::now() + limits.idle_timeout;
        if was_idle && !driver.output.is_empty() {
            deadlines.write = Instant::now() + limits.write_timeout;
        }
    }
    driver.calls.shutdown().await;
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

impl Driver {
    fn new(connection: Connection) -> Self {
        Self { connection, calls: JoinSet::new(), interrupters: BTreeMap::new(), output: BytesMut::new(), phase: Phase::Serving }
    }

    fn act(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Send(bytes) => self.output.extend_from_slice(&bytes),
                Action::Call(call) => {
                    let (interrupter, watch) = Interrupter::new();
                    self.interrupters.insert(call.call_id, interrupter);
                    self.calls.spawn(run(call, self.connection.config().clone(), watch));
                }
                Action::Cancel(call_id) => {
                    if let Some(interrupter) = self.interrupters.get(&call_id) {
                        interrupter.interrupt(Interruption::Cancelled);
                    }
                }
                // The answer of an orphaned call finds nobody that waits and is dropped.
                Action::Orphan(call_id) => {
                    if let Some(interrupter) = self.interrupters.remove(&call_id) {
                        interrupter.interrupt(Interruption::Orphaned);
                    }
                }
                Action::Disconnect(because) => {
                    tracing::debug!(because, peer = ?self.connection.config().peer, "closing the connection");
                    self.phase = Phase::Closing;
                }
            }
        }
    }

    /// The server goes away: nothing is read any more, and the calls are told.
    fn leave(&mut self) {
        self.phase = Phase::Leaving;
        for interrupter in self.interrupters.values() {
            interrupter.interrupt(Interruption::Closing);
        }
    }

    fn say_goodbye(&mut self) {
        self.output.extend_from_slice(&self.connection.shutdown());
        self.phase = Phase::Closing;
    }

    fn finish(&mut self, joined: Result<CallResult, tokio::task::JoinError>) {
        match joined {
            Ok((call_id, result)) => {
                self.interrupters.remove(&call_id);
                self.output.extend_from_slice(&self.connection.respond(call_id, result));
            }
            Err(error) => {
                // A call that panicked cannot be answered by its number any more; the client must not wait for it.
                tracing::error!(%error, "a call ended without a result");
                self.phase = Phase::Closing;
            }
        }
    }
}
