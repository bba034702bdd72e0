//! Expire and ExpireSome: the scavenger's round. Times are those of the log, during which the cluster had a leader; so a client always has its whole timeout.

use std::collections::BTreeSet;

use smb_types::{LeaseState, OplockLevel};

use super::user;
use crate::arbiter::{breaks, close};
use crate::effects::{Effects, Step};
use crate::event::Event;
use crate::id::{FileKey, LeaseId, LogTime, OpenId};
use crate::outcome::Outcome;
use crate::record::Oplock;
use crate::state::{RecordKey, State};

pub(crate) fn expire(state: &mut State, fx: &mut Effects, at_most: usize) -> Step {
    let breaks = expire_leases(state, fx, at_most) + expire_oplocks(state, fx, at_most);
    let opens = expire_opens(state, fx, at_most);
    expire_tokens(state, fx);
    user::expire_lockouts(state, fx);
    Ok(Outcome::Expired { opens, breaks })
}

// MS-SMB2 3.3.6.1, 3.3.6.5
// A break that is not acknowledged in time leaves its holder with nothing to cache. The handle stays.
fn expire_leases(state: &mut State, fx: &mut Effects, at_most: usize) -> u32 {
    let now = fx.now;
    let due =
        state.index.breaking_files.range(..=(now, FileKey { volume: u64::MAX, inode: u64::MAX, generation: u64::MAX, stream: u64::MAX }));
    let files: BTreeSet<FileKey> = due.take(at_most).inspect(|_| state.visit()).map(|(_, file)| *file).collect();
    let mut count = 0;
    for file in files {
        let due = |id: &LeaseId| state.lease(&file, *id).and_then(|l| l.break_deadline).is_some_and(|t| t <= now);
        let late: Vec<LeaseId> = breaks::lease_ids(state, file).into_iter().filter(due).collect();
        for id in late {
            state.edit_file(file, |f| {
                if let Some(l) = f.leases.get_mut(&id) {
                    breaks::settle(l, LeaseState::NONE);
                    l.epoch = l.epoch.wrapping_add(1);
                }
            });
            fx.changed(file);
            count += 1;
        }
    }
    count
}

fn expire_oplocks(state: &mut State, fx: &mut Effects, at_most: usize) -> u32 {
    let late = due(state, &state.index.breaking_opens, fx.now, at_most);
    for id in &late {
        state.edit_open(*id, |o| o.oplock = Oplock { level: OplockLevel::None, ..Oplock::default() });
        state.open(*id).and_then(|o| o.file).into_iter().for_each(|f| fx.changed(f));
    }
    u32::try_from(late.len()).unwrap_or(u32::MAX)
}

// MS-SMB2 3.3.6.2, 3.3.6.3
// The client did not come back. Its delete-on-close is carried out all the same.
fn expire_opens(state: &mut State, fx: &mut Effects, at_most: usize) -> Vec<OpenId> {
    let late = due(state, &state.index.detached, fx.now, at_most);
    for id in &late {
        close::take(state, fx, *id);
    }
    if !late.is_empty() {
        fx.event(Event::OpensExpired { opens: late.clone() });
    }
    late
}

/// The opens whose time is up, so many of those that are the latest, ascending by id.
fn due(state: &State, by_time: &BTreeSet<(LogTime, OpenId)>, now: LogTime, at_most: usize) -> Vec<OpenId> {
    let late = by_time.range(..=(now, OpenId(u64::MAX))).take(at_most);
    let mut late: Vec<OpenId> = late.inspect(|_| state.visit()).map(|(_, id)| *id).collect();
    late.sort_unstable();
    late
}

fn expire_tokens(state: &mut State, fx: &Effects) {
    let late: Vec<[u8; 32]> = state.tokens.values().filter(|t| t.expires <= fx.now).map(|t| t.hash).collect();
    for hash in late {
        state.tokens.remove(&hash);
        state.touch(RecordKey::Token(hash));
    }
}
