//! AdminTokenAdd and AdminTokenRemove.

use crate::effects::{Step, reject};
use crate::outcome::{Outcome, Rejection};
use crate::record::AdminToken;
use crate::state::{RecordKey, State};

/// Longest name.
const NAME_CHARS_MAX: usize = 64;
/// Most tokens of a cluster.
const ADMIN_TOKENS_MAX: usize = 1000;

pub(crate) fn add(state: &mut State, token: &AdminToken) -> Step {
    if token.name.is_empty() || token.name.len() > NAME_CHARS_MAX || token.name.contains(is_foreign) {
        return reject(Rejection::InvalidName);
    }
    if state.admin_tokens.contains_key(&token.hash) || state.admin_token_by_name(&token.name).is_some() {
        return reject(Rejection::Exists);
    }
    if state.admin_tokens.len() >= ADMIN_TOKENS_MAX {
        return reject(Rejection::LimitReached);
    }
    state.admin_tokens.insert(token.hash, token.clone());
    state.touch(RecordKey::AdminToken(token.hash));
    Ok(Outcome::Done)
}

/// Whether a character is not allowed in a name: names appear in log lines and on command lines.
fn is_foreign(c: char) -> bool {
    !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '@'))
}

pub(crate) fn remove(state: &mut State, name: &str) -> Step {
    let Some(hash) = state.admin_token_by_name(name).map(|token| token.hash) else { return reject(Rejection::NoSuchAdminToken) };
    state.admin_tokens.remove(&hash);
    state.touch(RecordKey::AdminToken(hash));
    Ok(Outcome::Done)
}
