//! LOCK: byte-range locks and unlocks (MS-SMB2 3.3.5.14). The locks are in the open's record; this checks the list and waits where it may.

use std::sync::{Arc, atomic::Ordering};

use persistence_model::{ByteRangeLock, Command, LockSequence, Outcome};
use smb_proto::message::{
    lock::{LockElement, LockFlags, LockRequest, LockResponse},
    negotiate::Capabilities,
};
use smb_types::{AccessMask, Dialect, NtStatus};

use super::{RequestContext, wait::propose_and_wait};
use crate::{error::Refusal, send::Response, state::Open};

/// Highest index of the lock sequence array.
const SEQUENCE_INDEX_MAX: u32 = 64;

/// What one element is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Lock { exclusive: bool, fail_immediately: bool },
    Unlock,
    Invalid,
}

/// Answers the request.
// MS-SMB2 3.3.5.14
// The first element says whether the list locks or unlocks.
pub(crate) async fn handle(ctx: &mut RequestContext) -> Result<Response, Refusal> {
    let request = LockRequest::decode(&ctx.message)?;
    let open = ctx.open(request.file_id)?;
    open.file_for_any()?;
    if open.is_directory {
        return Err(Refusal::invalid("directories cannot be locked"));
    }
    open.require_any(AccessMask::READ_DATA | AccessMask::WRITE_DATA | AccessMask::APPEND_DATA | AccessMask::EXECUTE)?;
    let sequence = sequence(ctx, &open, &request);
    let first = request.locks.first().ok_or(Refusal::invalid("LockCount is zero"))?;
    match kind(first.flags) {
        Kind::Unlock => unlock(ctx, &open, &request.locks, sequence).await?,
        Kind::Lock { .. } => lock(ctx, &open, &request.locks, sequence).await?,
        Kind::Invalid => return Err(Refusal::invalid("the flags of the first element")),
    }
    Ok(Response::success(|out| LockResponse.encode(out)))
}

/// MS-SMB2 2.2.26.1
fn kind(flags: LockFlags) -> Kind {
    let fail_immediately = flags.contains(LockFlags::FAIL_IMMEDIATELY);
    let rest = LockFlags(flags.0 & !LockFlags::FAIL_IMMEDIATELY.0);
    match rest {
        LockFlags::SHARED => Kind::Lock { exclusive: false, fail_immediately },
        LockFlags::EXCLUSIVE => Kind::Lock { exclusive: true, fail_immediately },
        LockFlags::UNLOCK if !fail_immediately => Kind::Unlock,
        _ => Kind::Invalid,
    }
}

/// The lock sequence, where it is to be checked.
// MS-SMB2 3.3.5.14
// For handles that outlive their connection, and wherever a second channel may repeat a request.
fn sequence(ctx: &RequestContext, open: &Open, request: &LockRequest) -> Option<LockSequence> {
    let negotiated = ctx.negotiated();
    if negotiated.dialect < Dialect::Smb210 {
        return None;
    }
    let survives = open.is_durable || open.is_persistent || open.is_resilient.load(Ordering::Acquire);
    let many_channels = negotiated.dialect.is_3x() && negotiated.has(Capabilities::MULTI_CHANNEL);
    if !survives && !many_channels {
        return None;
    }
    let index = u8::try_from(request.lock_sequence_index).ok()?;
    let in_range = (1..=SEQUENCE_INDEX_MAX).contains(&request.lock_sequence_index);
    in_range.then_some(LockSequence { index, number: request.lock_sequence_number })
}

/// Locks all ranges or none; a list with a bad element locks nothing.
async fn lock(ctx: &mut RequestContext, open: &Arc<Open>, list: &[LockElement], sequence: Option<LockSequence>) -> Result<(), Refusal> {
    let mut elements = Vec::with_capacity(list.len());
    let mut fail_immediately = false;
    for (index, element) in list.iter().enumerate() {
        let Kind::Lock { exclusive, fail_immediately: at_once } = kind(element.flags) else {
            return Err(Refusal::invalid("something else than a lock in a list of locks"));
        };
        if index == 0 {
            fail_immediately = at_once;
        }
        if list.len() > 1 && !at_once {
            return Err(Refusal::invalid("several locks that may wait"));
        }
        let wish = ByteRangeLock { offset: element.offset, length: element.length, exclusive };
        if !wish.is_valid() {
            // MS-FSA 2.1.5.8
            return Err(Refusal::new(NtStatus::INVALID_LOCK_RANGE, "the range ends beyond the last byte"));
        }
        elements.push(wish);
    }
    propose_lock(ctx, open, elements, fail_immediately, sequence).await
}

async fn propose_lock(
    ctx: &mut RequestContext,
    open: &Arc<Open>,
    elements: Vec<ByteRangeLock>,
    fail_immediately: bool,
    sequence: Option<LockSequence>,
) -> Result<(), Refusal> {
    let by = ctx.server.store.incarnation();
    let command = || Command::Lock { open: open.open_id, elements: elements.clone(), fail_immediately, sequence, by };
    // MS-SMB2 3.3.5.10
    // A lock that still waits when its open is closed has nothing left to lock.
    let ended = Some((open.ended.clone(), NtStatus::RANGE_NOT_LOCKED));
    match propose_and_wait(ctx, command, ended).await? {
        Outcome::LockGranted | Outcome::LockAlreadyDone => Ok(()),
        Outcome::Refused(status) => Err(Refusal::new(status, "the records refuse the lock")),
        _ => Err(Refusal::new(NtStatus::INTERNAL_ERROR, "an outcome that does not belong to a lock")),
    }
}

/// Unlocks range after range up to the first that is wrong.
// MS-SMB2 3.3.5.14.1
// What was unlocked before a wrong element stays unlocked.
async fn unlock(ctx: &mut RequestContext, open: &Arc<Open>, list: &[LockElement], sequence: Option<LockSequence>) -> Result<(), Refusal> {
    let good = list.iter().take_while(|element| kind(element.flags) == Kind::Unlock).count();
    let ranges: Vec<(u64, u64)> = list.iter().take(good).map(|element| (element.offset, element.length)).collect();
    let all = good == list.len();
    let by = ctx.server.store.incarnation();
    let command = Command::Unlock { open: open.open_id, ranges, sequence: sequence.filter(|_| all), by };
    match ctx.server.propose(command).await? {
        Outcome::Done | Outcome::LockAlreadyDone if all => Ok(()),
        Outcome::Done | Outcome::LockAlreadyDone => Err(Refusal::invalid("something else than an unlock in a list of unlocks")),
        Outcome::Refused(status) => Err(Refusal::new(status, "the records refuse the unlock")),
        _ => Err(Refusal::new(NtStatus::INTERNAL_ERROR, "an outcome that does not belong to an unlock")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // MS-SMB2 2.2.26.1
    #[test]
    fn flags_of_an_element() {
        for (flags, expected) in [
            (0x01, Kind::Lock { exclusive: false, fail_immediately: false }),
            (0x02, Kind::Lock { exclusive: true, fail_immediately: false }),
            (0x11, Kind::Lock { exclusive: false, fail_immediately: true }),
            (0x12, Kind::Lock { exclusive: true, fail_immediately: true }),
            (0x04, Kind::Unlock),
            (0x14, Kind::Invalid),
            (0x00, Kind::Invalid),
            (0x03, Kind::Invalid),
            (0x06, Kind::Invalid),
            (0x22, Kind::Invalid),
        ] {
            assert_eq!(kind(LockFlags(flags)), expected, "{flags:#x}");
        }
    }
}
