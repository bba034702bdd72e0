//! Drives one TCP connection: reads, runs calls beside each other, writes, and watches the clock for it.

use std::collections::BTreeMap;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::HalfOpenPlace;
use crate::connection::{Action, Connection, ConnectionConfig, IncomingCall};
use crate::fault::Fault;
use crate::interface::CallContext;

const READ_BYTES: usize = 8 * 1024;

type CallResult = (u32, Result<Vec<u8>, Fault>);

/// Runs one call until it ends or is cancelled. A call that is ready wins over its cancel.
pub(crate) async fn run_call(call: IncomingCall, config: ConnectionConfig, cancelled: CancellationToken) -> CallResult {
    let context = CallContext {
        identity: call.identity,
        auth_level: call.auth_level,
        association: call.association,
        cancelled: cancelled.clone(),
        object: call.object,
        peer: config.peer,
        local: config.local,
    };
    let result = tokio::select! {
        biased;
        result = call.interface.call(call.opnum, call.stub, context) => result,
        () = cancelled.cancelled() => Err(Fault::CANCELLED),
    };
    (call.call_id, result)
}

struct Driver {
    connection: Connection,
    calls: JoinSet<CallResult>,
    tokens: BTreeMap<u32, CancellationToken>,
    output: BytesMut,
    closing: bool,
}

/// One connection from its accept to its end. When it ends, its calls are dropped before its handles are run down.
pub(super) async fn connection(mut stream: TcpStream, config: ConnectionConfig, place: HalfOpenPlace) {
    let limits = config.limits;
    let cancel = place.token.clone();
    let mut driver = Driver {
        connection: Connection::new(config),
        calls: JoinSet::new(),
        tokens: BTreeMap::new(),
        output: BytesMut::new(),
        closing: false,
    };
    let mut input = BytesMut::with_capacity(READ_BYTES);
    let bind_deadline = Instant::now() + limits.bind_timeout;
    let mut write_deadline = Instant::now() + limits.write_timeout;
    let mut half_open = true;
    let (mut reader, mut writer) = stream.split();
    loop {
        if half_open && driver.connection.is_established() {
            half_open = false;
            place.leave();
        }
        if driver.closing && driver.output.is_empty() {
            break;
        }
        let may_read = !driver.closing && driver.output.len() < limits.output_bytes_max;
        tokio::select! {
            () = cancel.cancelled() => break,
            () = sleep_until(bind_deadline), if half_open => break,
            () = sleep_until(write_deadline), if !driver.output.is_empty() => break,
            written = writer.write(&driver.output), if !driver.output.is_empty() => match written {
                Ok(count) if count > 0 => {
                    driver.output.advance(count);
                    write_deadline = Instant::now() + limits.write_timeout;
                }
                Ok(_) | Err(_) => break,
            },
            Some(joined) = driver.calls.join_next(), if !driver.calls.is_empty() => {
                let idle = driver.output.is_empty();
                driver.finish(joined);
                if idle { write_deadline = Instant::now() + limits.write_timeout; }
            }
            count = reader.read_buf(&mut input), if may_read => match count {
                Ok(count) if count > 0 => {
                    let idle = driver.output.is_empty();
                    let actions = driver.connection.receive(&input);
                    input.clear();
                    driver.act(actions);
                    if idle { write_deadline = Instant::now() + limits.write_timeout; }
                }
                Ok(_) | Err(_) => break,
            },
        }
    }
    driver.calls.shutdown().await;
}

impl Driver {
    fn act(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Send(bytes) => self.output.extend_from_slice(&bytes),
                Action::Call(call) => {
                    let token = CancellationToken::new();
                    self.tokens.insert(call.call_id, token.clone());
                    self.calls.spawn(run_call(call, self.connection.config().clone(), token));
                }
                Action::Cancel(call_id) => {
                    if let Some(token) = self.tokens.get(&call_id) {
                        token.cancel();
                    }
                }
                // The answer of an orphaned call finds nobody that waits and is dropped.
                Action::Orphan(call_id) => {
                    if let Some(token) = self.tokens.remove(&call_id) {
                        token.cancel();
                    }
                }
                Action::Disconnect(because) => {
                    tracing::debug!(because, peer = ?self.connection.config().peer, "closing the connection");
                    self.closing = true;
                }
            }
        }
    }

    fn finish(&mut self, joined: Result<CallResult, tokio::task::JoinError>) {
        match joined {
            Ok((call_id, result)) => {
                self.tokens.remove(&call_id);
                self.output.extend_from_slice(&self.connection.respond(call_id, result));
            }
            Err(error) => {
                // A call that panicked cannot be answered by its number any more; the client must not wait for it.
                tracing::error!(%error, "a call ended without a result");
                self.closing = true;
            }
        }
    }
}
