//! ClusterInit.

use smb_types::Guid;

use super::group;
use crate::effects::{Step, reject};
use crate::outcome::{Outcome, Rejection};
use crate::record::Cluster;
use crate::state::{RecordKey, State};

/// NetBIOS names have 15 characters; longer ones are DNS labels.
const NET_NAME_BYTES_MAX: usize = 63;

pub(crate) fn init(state: &mut State, net_name: &str, server_guid: Guid) -> Step {
    if state.cluster.is_some() {
        return reject(Rejection::AlreadyInitialised);
    }
    if net_name.is_empty() || net_name.len() > NET_NAME_BYTES_MAX {
        return reject(Rejection::InvalidName);
    }
    state.cluster =
        Some(Cluster { net_name: net_name.into(), server_guid, next_open: 1, next_incarnation: 1, next_share: 1, next_rid: 1000 });
    state.touch(RecordKey::Cluster);
    group::make_built_in(state);
    Ok(Outcome::Done)
}
