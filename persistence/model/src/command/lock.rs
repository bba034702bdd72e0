//! Lock and Unlock (MS-SMB2 3.3.5.14, MS-FSA 2.1.5.8, 2.1.5.9).

use smb_types::NtStatus;

use crate::arbiter::breaks;
use crate::arbiter::lock::lock_conflict;
use crate::command::IoKind;
use crate::effects::{Effects, Step, file_of, owned, refuse};
use crate::id::{Incarnation, OpenId};
use crate::outcome::Outcome;
use crate::record::{ByteRangeLock, LockSequence};
use crate::state::State;

/// An open holds no more locks.
pub(crate) const LOCKS_PER_OPEN_MAX: usize = 4096;
/// LockSequenceArray has this many entries.
const SEQUENCE_INDEX_MAX: u8 = 64;

/// Takes all of the locks or none.
pub(crate) fn lock(
    state: &mut State,
    fx: &mut Effects,
    id: OpenId,
    elements: &[ByteRangeLock],
    fail_immediately: bool,
    sequence: Option<LockSequence>,
    by: Incarnation,
) -> Step {
    let open = owned(state, fx, id, by)?;
    let key = file_of(&open);
    if open.is_directory || elements.is_empty() {
        return refuse(NtStatus::INVALID_PARAMETER);
    }
    let sequence = check_sequence(state, id, sequence).inspect_err(|_| fx.interest_in(state, key))?;
    let mut held = open.locks.into_vec();
    for element in elements {
        if !element.is_valid() {
            return refuse(NtStatus::INVALID_LOCK_RANGE);
        }
        if held.len() >= LOCKS_PER_OPEN_MAX {
            return refuse(NtStatus::INSUFFICIENT_RESOURCES);
        }
        if lock_conflict(state, &key, id, &held, element) {
            return if fail_immediately { refuse(NtStatus::LOCK_NOT_GRANTED) } else { Ok(Outcome::LockConflict { file: key }) };
        }
        held.push(*element);
    }
    // Nobody holds a write cache beside an open that can lock, so nothing is waited for.
    breaks::break_for(state, fx, key, Some(id), IoKind::Lock);
    state.edit_open(id, |o| o.locks = held.into());
    store_sequence(state, id, sequence);
    fx.changed(key);
    fx.interest_in(state, key);
    Ok(Outcome::LockGranted)
}

/// Frees ranges one after the other; those before the first that is not locked stay free.
// MS-FSA 2.1.5.9
// Only an exactly equal range is freed, an exclusive lock before a shared one, and of stacked shared locks only one.
pub(crate) fn unlock(
    state: &mut State,
    fx: &mut Effects,
    id: OpenId,
    ranges: &[(u64, u64)],
    sequence: Option<LockSequence>,
    by: Incarnation,
) -> Step {
    let open = owned(state, fx, id, by)?;
    let key = file_of(&open);
    if open.is_directory || ranges.is_empty() {
        return refuse(NtStatus::INVALID_PARAMETER);
    }
    let sequence = check_sequence(state, id, sequence)?;
    let mut held = open.locks.into_vec();
    let mut failed = false;
    for (offset, length) in ranges {
        let equal = |l: &ByteRangeLock| l.offset == *offset && l.length == *length;
        let Some(i) = held.iter().position(|l| equal(l) && l.exclusive).or_else(|| held.iter().position(equal)) else {
            failed = true;
            break;
        };
        held.remove(i);
    }
    state.edit_open(id, |o| o.locks = held.into());
    fx.changed(key);
    if failed {
        return refuse(NtStatus::RANGE_NOT_LOCKED);
    }
    store_sequence(state, id, sequence);
    Ok(Outcome::Done)
}

// MS-SMB2 3.3.5.14
// The same number as last time under this index: the request was carried out and its answer lost. Another number makes the entry void until success.
fn check_sequence(state: &mut State, id: OpenId, sequence: Option<LockSequence>) -> Step<Option<LockSequence>> {
    let Some(s) = sequence.filter(|s| (1..=SEQUENCE_INDEX_MAX).contains(&s.index)) else { return Ok(None) };
    match state.open(id).and_then(|o| o.lock_sequences.get(s.index)) {
        Some(number) if number == s.number => Err(Outcome::LockAlreadyDone),
        Some(_) => {
            state.edit_open(id, |o| o.lock_sequences.remove(s.index));
            Ok(Some(s))
        }
        None => Ok(Some(s)),
    }
}

fn store_sequence(state: &mut State, id: OpenId, sequence: Option<LockSequence>) {
    if let Some(s) = sequence {
        state.edit_open(id, |o| o.lock_sequences.insert(s.index, s.number));
    }
}
