//! UserAdd, UserSetPassword, UserEnable, UserMap, UserRemove.

use smb_types::{Guid, Sid};

use super::group;
use crate::effects::{Effects, Step, reject};
use crate::event::Event;
use crate::outcome::{Outcome, Rejection};
use crate::record::{UnixUser, User};
use crate::state::{RecordKey, State};

/// Longest user name.
const NAME_CHARS_MAX: usize = 104;
/// No cluster keeps more accounts of its own.
const USERS_MAX: usize = 100_000;

pub(crate) fn add(state: &mut State, fx: &mut Effects, name: &str, nt_hash: [u8; 16], sid: Option<&Sid>, unix: Option<UnixUser>) -> Step {
    check_name(state, name)?;
    if sid.is_some_and(|sid| state.account_by_sid(sid).is_some()) {
        return reject(Rejection::Exists);
    }
    if !state.is_uid_free(unix, "") {
        return reject(Rejection::UnixIdTaken);
    }
    if state.users.len() >= USERS_MAX {
        return reject(Rejection::LimitReached);
    }
    let sid = match sid {
        Some(s) => s.clone(),
        None => allot_sid(state),
    };
    let key = name.to_uppercase();
    let user = User { name: name.to_owned(), sid: sid.clone(), nt_hash, disabled: false, unix };
    state.index.accounts.user_changed(None, Some(&user));
    state.users.insert(key.clone(), user);
    state.touch(RecordKey::User(key));
    fx.event(Event::UserChanged { name: name.to_owned() });
    Ok(Outcome::UserAdded { sid })
}

/// Ends a command whose name cannot be a new account's.
pub(crate) fn check_name(state: &State, name: &str) -> Step<()> {
    let bad = |c: char| c.is_control() || "\"/\\[]:|<>+=;,*?@".contains(c);
    if name.is_empty() || name.chars().count() > NAME_CHARS_MAX || name.contains(bad) {
        return reject(Rejection::InvalidName);
    }
    if state.account_by_name(name).is_some() { reject(Rejection::Exists) } else { Ok(()) }
}

/// The cluster is a domain of its own, named by its server GUID.
pub(crate) fn allot_sid(state: &mut State) -> Sid {
    let cluster = state.cluster.as_mut().expect("apply has checked that the cluster exists");
    let Guid(g) = cluster.server_guid;
    let rid = cluster.next_rid;
    cluster.next_rid += 1;
    state.touch(RecordKey::Cluster);
    let word = |i: usize| u32::from_le_bytes([g[i], g[i + 1], g[i + 2], g[i + 3]]);
    Sid::new(5, &[21, word(0), word(4), word(8), rid])
}

/// Changes a user.
pub(crate) fn edit(state: &mut State, fx: &mut Effects, name: &str, change: impl FnOnce(&mut User)) -> Step {
    let key = name.to_uppercase();
    let Some(user) = state.users.get_mut(&key) else { return reject(Rejection::NoSuchUser) };
    let before = user.clone();
    change(user);
    fx.event(Event::UserChanged { name: user.name.clone() });
    let after = user.clone();
    state.index.accounts.user_changed(Some(&before), Some(&after));
    state.touch(RecordKey::User(key));
    Ok(Outcome::Done)
}

/// Says which user on disk a user is.
pub(crate) fn map(state: &mut State, fx: &mut Effects, name: &str, unix: Option<UnixUser>) -> Step {
    if !state.is_uid_free(unix, &name.to_uppercase()) {
        return reject(Rejection::UnixIdTaken);
    }
    edit(state, fx, name, |user| user.unix = unix)
}

/// Removes a user, also from its groups: its SID never comes back, and what is kept under it belongs to none.
pub(crate) fn remove(state: &mut State, fx: &mut Effects, name: &str) -> Step {
    let key = name.to_uppercase();
    let Some(user) = state.users.remove(&key) else { return reject(Rejection::NoSuchUser) };
    state.index.accounts.user_changed(Some(&user), None);
    state.touch(RecordKey::User(key));
    group::forget_member(state, fx, &user.sid);
    fx.event(Event::UserChanged { name: user.name });
    Ok(Outcome::Done)
}
