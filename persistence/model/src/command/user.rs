//! UserAdd, UserSetPassword, UserEnable, UserMap, UserRemove, UserUnlock; LogonFailed, LogonSucceeded.
//!
//! Whose password is another one has to prove himself anew, with the handles that may wait for him. Who may not log on any more has nothing open any
//! more: nobody could come for it, and others shall not wait for it.

use smb_types::{Guid, Sid};

use super::{disconnect, group};
use crate::arbiter::close::{self, Loss};
use crate::effects::{Effects, Step, reject};
use crate::event::Event;
use crate::id::{OpenId, SessionId};
use crate::outcome::{Outcome, Rejection};
use crate::record::{LogonFailures, UnixUser, User};
use crate::state::{RecordKey, State};

/// Longest user name.
const NAME_CHARS_MAX: usize = 104;
/// No cluster keeps more accounts of its own.
const USERS_MAX: usize = 100_000;
/// Of the settings' minutes.
const MINUTE_MS: u64 = 60_000;

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
    let failures = LogonFailures::default();
    let user = User { name: name.to_owned(), sid: sid.clone(), nt_hash, disabled: false, unix, generation: 0, failures };
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
fn edit(state: &mut State, fx: &mut Effects, name: &str, change: impl FnOnce(&mut User)) -> Step {
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

/// Another password. Sessions that the old one has begun end as by LOGOFF: whoever knows the new one comes back for his durable handles.
pub(crate) fn set_password(state: &mut State, fx: &mut Effects, name: &str, nt_hash: [u8; 16]) -> Step {
    let done = edit(state, fx, name, |user| {
        user.nt_hash = nt_hash;
        user.generation = user.generation.wrapping_add(1);
        user.failures = LogonFailures::default();
    })?;
    let sid = sid_of(state, name);
    end_sessions(state, fx, &sid);
    Ok(done)
}

/// Lets a user in again, or shuts him out.
pub(crate) fn enable(state: &mut State, fx: &mut Effects, name: &str, enabled: bool) -> Step {
    let done = edit(state, fx, name, |user| {
        if !enabled && !user.disabled {
            user.generation = user.generation.wrapping_add(1);
        }
        user.disabled = !enabled;
        user.failures = LogonFailures::default();
    })?;
    if !enabled {
        let sid = sid_of(state, name);
        shut_out(state, fx, &sid);
    }
    Ok(done)
}

/// Lets a user in again that is locked out.
pub(crate) fn unlock(state: &mut State, fx: &mut Effects, name: &str) -> Step {
    edit(state, fx, name, |user| user.failures = LogonFailures::default())
}

/// Counts a failed logon. The lockout ends by itself (`Expire`), or by an operator.
pub(crate) fn logon_failed(state: &mut State, fx: &mut Effects, name: &str) -> Step {
    let settings = state.settings();
    let (threshold, period) = (settings.lockout_threshold, u64::from(settings.lockout_minutes) * MINUTE_MS);
    let now = fx.now;
    let Some(user) = state.user_by_name(name) else { return reject(Rejection::NoSuchUser) };
    let mut failures = user.failures;
    if threshold == 0 || failures.locked_until.is_some() {
        return Ok(Outcome::Done);
    }
    if failures.last.plus(period) <= now {
        failures.count = 0;
    }
    (failures.count, failures.last) = (failures.count.saturating_add(1), now);
    if failures.count < threshold {
        note(state, name, failures);
        return Ok(Outcome::Done);
    }
    failures.locked_until = Some(now.plus(period));
    edit(state, fx, name, |user| user.failures = failures)
}

/// Forgets failed logons. One that was on its way when the account was locked out does not open it again.
pub(crate) fn logon_succeeded(state: &mut State, name: &str) -> Step {
    let Some(user) = state.user_by_name(name) else { return reject(Rejection::NoSuchUser) };
    if user.failures.count > 0 && !user.is_locked_out() {
        note(state, name, LogonFailures::default());
    }
    Ok(Outcome::Done)
}

/// Notes failures that change nothing for anybody: no event.
fn note(state: &mut State, name: &str, failures: LogonFailures) {
    let key = name.to_uppercase();
    let user = state.users.get_mut(&key).expect("found by the caller");
    assert!(!user.is_locked_out() && failures.locked_until.is_none(), "a lockout begins and ends with an event");
    user.failures = failures;
    state.touch(RecordKey::User(key));
}

/// Whose lockout is over.
pub(crate) fn expire_lockouts(state: &mut State, fx: &mut Effects) {
    let late: Vec<String> = state.index.accounts.locked_out_until(fx.now).map(str::to_owned).collect();
    for key in late {
        let done = edit(state, fx, &key, |user| user.failures = LogonFailures::default());
        assert!(done.is_ok(), "whoever is locked out has a record");
    }
}

fn sid_of(state: &State, name: &str) -> Sid {
    state.user_by_name(name).expect("just changed").sid.clone()
}

/// Ends the sessions of a user on the nodes that live, as by LOGOFF. The others end with their nodes.
fn end_sessions(state: &mut State, fx: &mut Effects, sid: &Sid) {
    let lives = |session: &SessionId| {
        let node = state.session(*session).and_then(|session| Some((session.incarnation, state.node(session.node)?)));
        node.is_some_and(|(incarnation, node)| node.is_live() && node.incarnation == incarnation)
    };
    let sessions: Vec<SessionId> = state.sessions_of_user(sid).map(|session| session.id).filter(lives).collect();
    for session in sessions {
        for delete in disconnect::end_session(state, fx, session, Loss::Logoff).deletes {
            fx.event(Event::DeleteDue { delete });
        }
    }
}

/// Closes what a user has open, whatever it was promised, and ends his sessions.
// windows: the handles of a user that is disabled live as long as his sessions. Here none could come for them: a reclaim needs a session.
fn shut_out(state: &mut State, fx: &mut Effects, sid: &Sid) {
    let attached = state.sessions_of_user(sid).flat_map(|session| state.opens_of_session(session.id));
    let mut opens: Vec<OpenId> =
        attached.chain(state.detached_opens_of_user(sid)).filter(|open| *open.user == *sid).map(|open| open.id).collect();
    opens.sort_unstable();
    for open in opens {
        close::take(state, fx, open);
    }
    end_sessions(state, fx, sid);
    assert!(state.detached_opens_of_user(sid).next().is_none(), "nothing waits for a user that cannot come");
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
    shut_out(state, fx, &user.sid);
    Ok(Outcome::Done)
}
