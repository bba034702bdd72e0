//! ClientBlock and ClientUnblock: addresses at which nobody is served.

use crate::effects::{Effects, Step, reject};
use crate::event::Event;
use crate::id::LogTime;
use crate::outcome::{Outcome, Rejection};
use crate::record::{ClientBlock, Network};
use crate::state::{RecordKey, State};

/// Longest reason.
const REASON_CHARS_MAX: usize = 200;
/// Most entries; every new session looks through them.
const BLOCKS_MAX: usize = 1000;

pub(crate) fn add(state: &mut State, fx: &mut Effects, network: Network, reason: &str) -> Step {
    if reason.chars().count() > REASON_CHARS_MAX || reason.contains(char::is_control) {
        return reject(Rejection::InvalidName);
    }
    let network = network.normal();
    let since: Option<LogTime> = state.blocks.get(&network).map(|block| block.since);
    if since.is_none() && state.blocks.len() >= BLOCKS_MAX {
        return reject(Rejection::LimitReached);
    }
    let block = ClientBlock { network, reason: reason.to_owned(), since: since.unwrap_or(fx.now) };
    state.blocks.insert(network, block);
    state.touch(RecordKey::Block(network));
    fx.event(Event::ClientsBlocked { network });
    Ok(Outcome::Done)
}

pub(crate) fn remove(state: &mut State, network: Network) -> Step {
    let network = network.normal();
    if state.blocks.remove(&network).is_none() {
        return reject(Rejection::NoSuchRecord);
    }
    state.touch(RecordKey::Block(network));
    Ok(Outcome::Done)
}
