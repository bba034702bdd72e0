//! TokenAdd and TokenUse.

use crate::effects::{Effects, Step, reject};
use crate::outcome::{Outcome, Rejection};
use crate::record::JoinToken;
use crate::state::{RecordKey, State};

/// No more tokens at a time.
const TOKENS_MAX: usize = 1000;

pub(crate) fn add(state: &mut State, fx: &Effects, hash: [u8; 32], ttl_ms: u64) -> Step {
    if state.tokens.contains_key(&hash) {
        return reject(Rejection::Exists);
    }
    if state.tokens.len() >= TOKENS_MAX {
        return reject(Rejection::LimitReached);
    }
    state.tokens.insert(hash, JoinToken { hash, expires: fx.now.plus(ttl_ms), used: false });
    state.touch(RecordKey::Token(hash));
    Ok(Outcome::Done)
}

/// A token lets one node in, once. The spent one stays until it would have expired, so that its second use is told from a typing error in the log.
pub(crate) fn spend(state: &mut State, fx: &Effects, hash: [u8; 32]) -> Step {
    match state.tokens.get_mut(&hash) {
        Some(t) if !t.used && t.expires > fx.now => t.used = true,
        _ => return reject(Rejection::TokenInvalid),
    }
    state.touch(RecordKey::Token(hash));
    Ok(Outcome::Done)
}
