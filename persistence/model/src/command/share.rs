//! ShareAdd, AsymmetricShareAdd, ShareChange, ShareMove, ShareRemove.

use crate::arbiter::close;
use crate::effects::{Effects, Step, reject};
use crate::event::Event;
use crate::id::{NodeId, ShareId};
use crate::outcome::{Outcome, Rejection};
use crate::record::{NodeState, Share, ShareSettings};
use crate::state::{RecordKey, State};

/// MS-SRVS allows names of 80 characters.
const NAME_CHARS_MAX: usize = 80;
/// No cluster has more shares.
const SHARES_MAX: usize = 10_000;

pub(crate) fn add(state: &mut State, fx: &mut Effects, name: &str, settings: &ShareSettings, owner: Option<NodeId>) -> Step {
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
    state.shares.insert(id, Share { id, name: name.to_owned(), settings: settings.clone(), owner });
    state.touch(RecordKey::Share(id));
    fx.event(Event::ShareChanged { share: id });
    Ok(Outcome::ShareAdded { share: id })
}

/// A share that one node owns: a given one, or the one with the fewest.
pub(crate) fn add_owned(state: &mut State, fx: &mut Effects, name: &str, settings: &ShareSettings, owner: Option<NodeId>) -> Step {
    let owner = able(state, owner, None)?;
    add(state, fx, name, settings, Some(owner))
}

/// Another owner. What clients have open stays open wherever it is: they are told where to go, and take their handles along.
pub(crate) fn give(state: &mut State, fx: &mut Effects, id: ShareId, to: Option<NodeId>, instead_of: Option<NodeId>) -> Step {
    let Some(share) = state.share(id) else { return reject(Rejection::NoSuchShare) };
    let Some(before) = share.owner else { return reject(Rejection::NotAsymmetric) };
    if instead_of.is_some_and(|expected| expected != before) {
        return reject(Rejection::OwnerChanged);
    }
    let owner = able(state, to, Some(before))?;
    if owner == before {
        return Ok(Outcome::Done);
    }
    let share = state.shares.get_mut(&id).expect("found above");
    share.owner = Some(owner);
    state.touch(RecordKey::Share(id));
    fx.event(Event::ShareMoved { share: id, owner });
    Ok(Outcome::Done)
}

/// The wished owner if it can be one; without a wish whoever should be.
fn able(state: &State, wished: Option<NodeId>, instead_of: Option<NodeId>) -> Step<NodeId> {
    let Some(node) = wished else { return state.owner_for_share(instead_of).map_or_else(|| reject(Rejection::NoOwner), Ok) };
    match state.node(node) {
        None => reject(Rejection::NoSuchNode),
        Some(record) if record.state != NodeState::Up => reject(Rejection::NoOwner),
        Some(_) => Ok(node),
    }
}

/// Other settings. Handles stay as they are: the directory under them is the same.
pub(crate) fn change(state: &mut State, fx: &mut Effects, id: ShareId, settings: &ShareSettings, instead_of: &ShareSettings) -> Step {
    let Some(share) = state.shares.get_mut(&id) else { return reject(Rejection::NoSuchShare) };
    if share.settings != *instead_of || share.settings.path != settings.path {
        return reject(Rejection::Changed);
    }
    if share.settings == *settings {
        return Ok(Outcome::Done);
    }
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
