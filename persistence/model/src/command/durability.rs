//! SetResilient, SetOpenClass, EndReplay: what an open was promised changes.

use smb_types::NtStatus;

use crate::arbiter::grant::{self, DURABLE_TIMEOUT_MAX_MS};
use crate::class::Class;
use crate::effects::{Effects, Step, file_of, owned, refuse};
use crate::id::{Incarnation, OpenId};
use crate::outcome::Outcome;
use crate::record::{Durability, Open, OpenState};
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

/// Upgrades or weakens what an open was promised. Its locks and leases go along: the records in the log before it are on disk when this one is.
pub(crate) fn set_class(state: &mut State, fx: &mut Effects, id: OpenId, class: Class, by: Incarnation) -> Step {
    let open = owned(state, fx, id, by)?;
    let durability = match (class, open.durability) {
        _ if class == open.class => open.durability,
        (Class::Volatile, _) => Durability::None,
        (Class::Durable, Durability::Persistent) => Durability::V2,
        (Class::Durable, _) if grant::may_be_durable(state, file_of(&open), &open) => {
            if open.create_guid.is_some() {
                Durability::V2
            } else {
                Durability::V1
            }
        }
        (Class::Persistent, _) if may_be_persistent(state, &open) => Durability::Persistent,
        (Class::Durable | Class::Persistent, _) => return refuse(NtStatus::INVALID_PARAMETER),
    };
    let default_ms = match durability {
        Durability::None => 0,
        Durability::V1 => grant::DURABLE_V1_TIMEOUT_MS,
        Durability::V2 => grant::DURABLE_TIMEOUT_DEFAULT_MS,
        Durability::Persistent => grant::persistent_timeout_ms(state, open.share),
        Durability::Resilient => RESILIENT_TIMEOUT_DEFAULT_MS,
    };
    state.edit_open(id, |o| {
        (o.class, o.durability) = (class, durability);
        if o.timeout_ms == 0 {
            o.timeout_ms = u64::from(default_ms);
        }
    });
    Ok(Outcome::Done)
}

// MS-SMB2 3.3.5.9.10, 3.3.5.9.12
// As if it had been asked for in its CREATE: on a continuously available share, and with a CreateGuid under which its client will find it again.
fn may_be_persistent(state: &State, open: &Open) -> bool {
    let ca = state.share(open.share).is_some_and(|s| s.settings.ca);
    let rival = |o: &Open, guid| {
        let named = o.is_persistent() || o.replay_eligible || o.state == OpenState::Reserved;
        o.id != open.id && o.client_guid == open.client_guid && o.create_guid == Some(guid) && named
    };
    ca && open.create_guid.is_some_and(|guid| !state.opens_by_create_guid(guid).any(|o| rival(o, guid)))
}

// MS-SMB2 3.3.5.2.10, 3.3.1.10
// Once a handle has been used, its CREATE is no longer repeated from it.
pub(crate) fn end_replay(state: &mut State, fx: &mut Effects, id: OpenId, by: Incarnation) -> Step {
    owned(state, fx, id, by)?;
    state.edit_open(id, |o| o.replay_eligible = false);
    Ok(Outcome::Done)
}
