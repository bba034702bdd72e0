//! ClusterInit, ClusterSet.

use smb_types::Guid;

use super::group;
use crate::effects::{Effects, Step, reject};
use crate::event::Event;
use crate::outcome::{Outcome, Rejection};
use crate::record::{Cluster, ClusterSettings};
use crate::state::{RecordKey, State};

/// NetBIOS names have 15 characters; longer ones are DNS labels.
const NET_NAME_BYTES_MAX: usize = 63;
/// More failures than anybody makes by mistake.
const LOCKOUT_THRESHOLD_MAX: u32 = 1000;
/// A week.
const LOCKOUT_MINUTES_MAX: u32 = 7 * 24 * 60;

pub(crate) fn init(state: &mut State, net_name: &str, server_guid: Guid) -> Step {
    if state.cluster.is_some() {
        return reject(Rejection::AlreadyInitialised);
    }
    if net_name.is_empty() || net_name.len() > NET_NAME_BYTES_MAX {
        return reject(Rejection::InvalidName);
    }
    state.cluster = Some(Cluster {
        net_name: net_name.into(),
        server_guid,
        next_open: 1,
        next_incarnation: 1,
        next_share: 1,
        next_rid: 1000,
        settings: ClusterSettings::default(),
    });
    state.touch(RecordKey::Cluster);
    group::make_built_in(state);
    Ok(Outcome::Done)
}

/// Other settings, if they are still what the new ones were made from.
pub(crate) fn set(state: &mut State, fx: &mut Effects, settings: &ClusterSettings, instead_of: &ClusterSettings) -> Step {
    let cluster = state.cluster.as_mut().expect("apply has checked that the cluster exists");
    if cluster.settings != *instead_of {
        return reject(Rejection::Changed);
    }
    let sensible = settings.lockout_threshold <= LOCKOUT_THRESHOLD_MAX && (1..=LOCKOUT_MINUTES_MAX).contains(&settings.lockout_minutes);
    if !sensible {
        return reject(Rejection::InvalidSetting);
    }
    if cluster.settings != *settings {
        cluster.settings = settings.clone();
        state.touch(RecordKey::Cluster);
        fx.event(Event::SettingsChanged);
    }
    Ok(Outcome::Done)
}
