//! Running a call that came out of a connection: the only asynchronous part of it, for drivers of any transport.

use super::{ConnectionConfig, IncomingCall};
use crate::fault::Fault;
use crate::interface::CallContext;
use crate::interruption::InterruptionWatch;

/// A call's number on its connection and what it came to, for [`Connection::respond`](super::Connection::respond).
pub type CallResult = (u32, Result<Vec<u8>, Fault>);

/// Runs one call until it ends or is interrupted. A call that is ready wins over its interruption.
pub async fn run(call: IncomingCall, config: ConnectionConfig, mut interruption: InterruptionWatch) -> CallResult {
    let _reservation = call.reservation;
    let context = CallContext {
        identity: call.identity,
        auth_level: call.auth_level,
        association: call.association,
        transfer: call.transfer,
        interruption: interruption.clone(),
        object: call.object,
        peer: config.peer,
        local: config.local,
    };
    let result = tokio::select! {
        biased;
        result = call.interface.call(call.opnum, call.stub, context) => result,
        interruption = interruption.wait_unless_own() => Err(interruption.fault()),
    };
    (call.call_id, result)
}
