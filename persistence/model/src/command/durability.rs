//! SetResilient, SetOpenClass, EndReplay: what an open was promised changes.

use smb_types::NtStatus;

use crate::arbiter::grant::DURABLE_TIMEOUT_MAX_MS;
use crate::class::Class;
use crate::effects::{Effects, Step, owned, refuse};
use crate::id::{Incarnation, OpenId};
use crate::outcome::Outcome;
use crate::record::Durability;
use crate::state::State;

/// Timeout of a resilient open that asks for none.
const RESILIENT_TIMEOUT_DEFAULT_MS: u32 = 120_000;

// MS-SMB2 3.3.5.15.9
// Resilient replaces durable; a persistent open keeps the stronger promise.
pub(crate) fn set_resilient(state: &mut State, fx: &mut Effects, id: OpenId, timeout_ms: u32, by: Incarnation) -> Step {
    let open = owned(state, fx, id, by)?;
    if timeout_ms > DURABLE_TIMEOUT_MAX_MS {
        return refuse(NtStatus::INVALID_PARAMETER);
    }
    let timeout = if timeout_ms == 0 { RESILIENT_TIMEOUT_DEFAULT_MS } else { timeout_ms };
    state.edit_open(id, |o| {
        if !open.is_persistent() {
            o.durability = Durability::Resilient;
        }
        o.class = o.class.max(Class::Durable);
        o.timeout_ms = u64::from(timeout);
    });
    Ok(Outcome::Done)
}

pub(crate) fn set_class(state: &mut State, fx: &mut Effects, id: OpenId, class: Class, by: Incarnation) -> Step {
    let open = owned(state, fx, id, by)?;
    if class > open.class {
        return refuse(NtStatus::INVALID_PARAMETER);
    }
    state.edit_open(id, |o| {
        o.class = class;
        o.durability = match (class, o.durability) {
            (Class::Volatile, _) => Durability::None,
            (Class::Durable, Durability::Persistent) => Durability::V2,
            (_, kept) => kept,
        };
    });
    Ok(Outcome::Done)
}

// MS-SMB2 3.3.5.2.10, 3.3.1.10
// Once a handle has been used, its CREATE is no longer repeated from it.
pub(crate) fn end_replay(state: &mut State, fx: &mut Effects, id: OpenId, by: Incarnation) -> Step {
    owned(state, fx, id, by)?;
    state.edit_open(id, |o| o.replay_eligible = false);
    Ok(Outcome::Done)
}
