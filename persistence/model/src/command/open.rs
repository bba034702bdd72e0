//! OpenFile and ReserveOpen: a CREATE meets the cluster (MS-SMB2 3.3.5.9).

use smb_types::NtStatus;

use crate::arbiter::create::{Verdict, arbitrate};
use crate::arbiter::{close, grant};
use crate::command::{OpenRequest, replay};
use crate::effects::{Effects, Step, live, refuse};
use crate::id::{OpenId, fold_path};
use crate::outcome::Outcome;
use crate::record::{AppInstance, Open, OpenState};
use crate::state::{RecordKey, State};

/// No cluster has more opens and reservations.
pub(crate) const OPENS_MAX: usize = 1 << 20;
/// MS-FSCC allows no longer path.
pub(crate) const PATH_BYTES_MAX: usize = 4 * 32_760;

/// Opens what exists: one command.
pub(crate) fn open_file(state: &mut State, fx: &mut Effects, r: &OpenRequest) -> Step {
    let Some(key) = r.file else { return refuse(NtStatus::INVALID_PARAMETER) };
    admit(state, fx, r)?;
    weigh(state, fx, r)?;
    let id = next_open(state);
    state.insert_open(grant::record_of(state, fx.now, id, r, OpenState::Open));
    grant::enlist(state, id, key);
    grant::grant(state, id, r);
    fx.changed(key);
    interest(state, fx, id, r);
    Ok(Outcome::Opened(grant::answer(state, id)))
}

/// Takes the place in the file's share modes and the CreateGuid, before the backend is touched.
pub(crate) fn reserve(state: &mut State, fx: &mut Effects, r: &OpenRequest) -> Step {
    admit(state, fx, r)?;
    weigh(state, fx, r)?;
    let id = next_open(state);
    state.insert_open(grant::record_of(state, fx.now, id, r, OpenState::Reserved));
    if let Some(key) = r.file {
        grant::enlist(state, id, key);
        fx.changed(key);
        interest(state, fx, id, r);
    }
    Ok(Outcome::Reserved { open: id, resumed: false })
}

/// A grant that denies others something must be known to all nodes that have the file open.
pub(crate) fn interest(state: &State, fx: &mut Effects, id: OpenId, r: &OpenRequest) {
    if let Some(key) = r.file
        && (r.overwrites || state.open(id).is_some_and(|o| !o.is_stat()))
    {
        fx.interest_in(state, key);
    }
}

/// Who asks, and was it asked before?
fn admit(state: &mut State, fx: &mut Effects, r: &OpenRequest) -> Step<()> {
    live(state, fx, r.node, r.incarnation)?;
    if !state.session(r.session).is_some_and(|s| s.node == r.node && *s.user == r.user) {
        return refuse(NtStatus::USER_SESSION_DELETED);
    }
    if state.share(r.share).is_none() {
        return refuse(NtStatus::NETWORK_NAME_DELETED);
    }
    if r.path.len() > PATH_BYTES_MAX {
        return refuse(NtStatus::OBJECT_NAME_INVALID);
    }
    if let Some(outcome) = replay::answer(state, fx, r)? {
        return Err(outcome);
    }
    if state.opens.len() >= OPENS_MAX {
        return refuse(NtStatus::TOO_MANY_OPENED_FILES);
    }
    Ok(())
}

/// Who else is there?
fn weigh(state: &mut State, fx: &mut Effects, r: &OpenRequest) -> Step<()> {
    if let Some(app) = r.app_instance {
        move_app_instance(state, fx, r, app)?;
    }
    if r.lease_id().is_some_and(|l| grant::is_used_elsewhere(state, l, r.file, &r.path)) {
        return refuse(NtStatus::INVALID_PARAMETER);
    }
    let Some(file) = r.file else { return Ok(()) };
    match arbitrate(state, fx, r, file, None) {
        Verdict::Clear => Ok(()),
        Verdict::Wait => Err(Outcome::MustWait { file }),
        Verdict::Refuse(status) => refuse(status),
    }
}

// MS-SMB2 3.3.5.9.13, 3.3.5.9.16
// The same application instance from another client machine: a virtual machine has moved. Its old open is closed without asking, unless the old one is not
// older by the versions they carry.
fn move_app_instance(state: &mut State, fx: &mut Effects, r: &OpenRequest, app: AppInstance) -> Step<()> {
    let path = fold_path(&r.path);
    let same = |o: &&Open| o.share == r.share && o.client_guid != r.client_guid && fold_path(&o.path) == path;
    let old: Vec<OpenId> = state.opens_of_app_instance(app.id).filter(same).map(|o| o.id).collect();
    for id in &old {
        let version = state.open(*id).and_then(|o| o.app_instance.as_ref()).and_then(|a| a.version);
        if let Some(old_version) = version
            && app.version.is_none_or(|new| old_version >= new)
        {
            return refuse(NtStatus::FILE_FORCED_CLOSED);
        }
    }
    if r.granted_access.intersects(smb_types::AccessMask::READ_DATA) {
        old.into_iter().for_each(|id| close::take(state, fx, id));
    }
    Ok(())
}

fn next_open(state: &mut State) -> OpenId {
    let cluster = state.cluster.as_mut().expect("apply has checked that the cluster exists");
    let id = OpenId(cluster.next_open);
    cluster.next_open += 1;
    state.touch(RecordKey::Cluster);
    id
}
