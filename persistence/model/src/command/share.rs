//! ShareAdd, ShareChange, ShareRemove.

use crate::arbiter::close;
use crate::effects::{Effects, Step, reject};
use crate::event::Event;
use crate::id::ShareId;
use crate::outcome::{Outcome, Rejection};
use crate::record::{Share, ShareSettings};
use crate::state::{RecordKey, State};

/// MS-SRVS allows names of 80 characters.
const NAME_CHARS_MAX: usize = 80;
/// No cluster has more shares.
const SHARES_MAX: usize = 10_000;

pub(crate) fn add(state: &mut State, fx: &mut Effects, name: &str, settings: &ShareSettings) -> Step {
    let bad = |c: char| c.is_control() || "\"/\\[]:|<>+=;,*?".contains(c);
    if name.is_empty() || name.chars().count() > NAME_CHARS_MAX || name.contains(bad) || name.eq_ignore_ascii_case("IPC$") {
        return reject(Rejection::InvalidName);
    }
    if state.share_by_name(name).is_some() {
        return reject(Rejection::Exists);
    }
    if state.shares.len() >= SHARES_MAX {
        return reject(Rejection::LimitReached);
    }
    let cluster = state.cluster.as_mut().expect("apply has checked that the cluster exists");
    let id = ShareId(cluster.next_share);
    cluster.next_share += 1;
    state.touch(RecordKey::Cluster);
    state.shares.insert(id, Share { id, name: name.to_owned(), settings: settings.clone() });
    state.touch(RecordKey::Share(id));
    fx.event(Event::ShareChanged { share: id });
    Ok(Outcome::ShareAdded { share: id })
}

pub(crate) fn change(state: &mut State, fx: &mut Effects, id: ShareId, settings: &ShareSettings) -> Step {
    let Some(share) = state.shares.get_mut(&id) else { return reject(Rejection::NoSuchShare) };
    share.settings = settings.clone();
    state.touch(RecordKey::Share(id));
    fx.event(Event::ShareChanged { share: id });
    Ok(Outcome::Done)
}

pub(crate) fn remove(state: &mut State, fx: &mut Effects, id: ShareId) -> Step {
    if state.shares.remove(&id).is_none() {
        return reject(Rejection::NoSuchShare);
    }
    state.touch(RecordKey::Share(id));
    for open in state.opens_of_share(id) {
        close::take(state, fx, open);
    }
    fx.event(Event::ShareChanged { share: id });
    Ok(Outcome::Done)
}
