//! Running a call that came out of a connection: the only asynchronous part of it, for drivers of any transport.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use super::{ConnectionConfig, IncomingCall};
use crate::fault::Fault;
use crate::interface::CallContext;
use crate::interruption::InterruptionWatch;

/// A call's number on its connection and what it came to, for [`Connection::respond`](super::Connection::respond).
pub type CallResult = (u32, Result<Vec<u8>, Fault>);

/// Runs one call until it ends or is interrupted. A call that is ready wins over its interruption. A panic of the call
/// is one of the future.
// It begins before there is a future: what a call is made of would be in it for as long as it waits.
pub fn run(
    call: IncomingCall,
    config: &ConnectionConfig,
    mut interruption: InterruptionWatch,
) -> impl Future<Output = CallResult> + Send + 'static + use<> {
    let IncomingCall { call_id, reservation, .. } = call;
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
    let begun = catch_unwind(AssertUnwindSafe(|| call.interface.call(call.opnum, call.stub, context)));
    async move {
        let _reservation = reservation;
        let mut pending = begun.unwrap_or_else(|panic| resume_unwind(panic));
        let result = tokio::select! {
            biased;
            result = &mut pending => result,
            interruption = interruption.wait_unless_own() => Err(interruption.fault()),
        };
        (call_id, result)
    }
}
