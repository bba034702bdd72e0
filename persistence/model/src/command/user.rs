//! UserAdd, UserSetPassword, UserEnable, UserRemove.

use smb_types::{Guid, Sid};

use crate::effects::{Effects, Step, reject};
use crate::event::Event;
use crate::outcome::{Outcome, Rejection};
use crate::record::User;
use crate::state::{RecordKey, State};

/// Longest user name.
const NAME_CHARS_MAX: usize = 104;
/// No cluster keeps more accounts of its own.
const USERS_MAX: usize = 100_000;

pub(crate) fn add(state: &mut State, fx: &mut Effects, name: &str, nt_hash: [u8; 16], sid: Option<&Sid>) -> Step {
    let bad = |c: char| c.is_control() || "\"/\\[]:|<>+=;,*?@".contains(c);
    if name.is_empty() || name.chars().count() > NAME_CHARS_MAX || name.contains(bad) {
        return reject(Rejection::InvalidName);
    }
    if state.user_by_name(name).is_some() || sid.is_some_and(|s| state.users().any(|u| u.sid == *s)) {
        return reject(Rejection::Exists);
    }
    if state.users.len() >= USERS_MAX {
        return reject(Rejection::LimitReached);
    }
    let sid = match sid {
        Some(s) => s.clone(),
        None => allot_sid(state),
    };
    let key = name.to_uppercase();
    state.users.insert(key.clone(), User { name: name.to_owned(), sid: sid.clone(), nt_hash, disabled: false });
    state.touch(RecordKey::User(key));
    fx.event(Event::UserChanged { name: name.to_owned() });
    Ok(Outcome::UserAdded { sid })
}

/// The cluster is a domain of its own, named by its server GUID.
fn allot_sid(state: &mut State) -> Sid {
    let cluster = state.cluster.as_mut().expect("apply has checked that the cluster exists");
    let Guid(g) = cluster.server_guid;
    let rid = cluster.next_rid;
    cluster.next_rid += 1;
    state.touch(RecordKey::Cluster);
    let word = |i: usize| u32::from_le_bytes([g[i], g[i + 1], g[i + 2], g[i + 3]]);
    Sid::new(5, &[21, word(0), word(4), word(8), rid])
}

pub(crate) fn edit(state: &mut State, fx: &mut Effects, name: &str, change: impl FnOnce(&mut User)) -> Step {
    let key = name.to_uppercase();
    let Some(user) = state.users.get_mut(&key) else { return reject(Rejection::NoSuchUser) };
    change(user);
    fx.event(Event::UserChanged { name: user.name.clone() });
    state.touch(RecordKey::User(key));
    Ok(Outcome::Done)
}

pub(crate) fn remove(state: &mut State, fx: &mut Effects, name: &str) -> Step {
    let key = name.to_uppercase();
    let Some(user) = state.users.remove(&key) else { return reject(Rejection::NoSuchUser) };
    fx.event(Event::UserChanged { name: user.name });
    state.touch(RecordKey::User(key));
    Ok(Outcome::Done)
}
