//! A CREATE that may have been carried out before: found by its CreateGuid (MS-SMB2 3.3.5.9.10, 3.3.5.9 on replays).

use smb_types::NtStatus;

use crate::arbiter::{close, grant};
use crate::command::{OpenRequest, RequestedDurability};
use crate::effects::{Effects, Step, refuse};
use crate::id::OpenId;
use crate::outcome::Outcome;
use crate::record::{Node, Open, OpenState, Owner};
use crate::state::State;

/// The outcome if the CREATE is known; None if it is new.
pub(crate) fn answer(state: &mut State, fx: &mut Effects, r: &OpenRequest) -> Step<Option<Outcome>> {
    let Some(guid) = r.create_guid else { return Ok(None) };
    let mine = || state.opens_by_create_guid(guid).filter(|o| o.client_guid == r.client_guid);
    // A persistent open that was used keeps its guid, but a CREATE that may still be repeated is more likely meant.
    let repeatable = mine().find(|o| o.replay_eligible || o.state == OpenState::Reserved);
    let known = repeatable.or_else(|| mine().find(|o| o.is_persistent())).cloned();
    if !r.replay {
        // MS-SMB2 3.3.5.9.10
        // Without the flag it is not a replay but a second open under a name that is taken.
        return if known.is_some() { refuse(NtStatus::DUPLICATE_OBJECTID) } else { Ok(None) };
    }
    match known {
        Some(o) if *o.user != r.user => refuse(NtStatus::ACCESS_DENIED),
        Some(o) if o.state == OpenState::Reserved => of_reservation(state, fx, r, &o),
        Some(o) if o.replay_eligible => of_eligible(state, fx, r, &o).map(Some),
        Some(_) | None => of_persistent(state, fx, r),
    }
}

/// The first try did not come to its end. If its node still lives it may: later. If not, this try takes the reservation over.
fn of_reservation(state: &mut State, fx: &mut Effects, r: &OpenRequest, o: &Open) -> Step<Option<Outcome>> {
    let request = o.request.as_ref().expect("a reservation keeps its request");
    let living = state.node(request.node).is_some_and(|n| Node::is_live(n) && n.incarnation == request.incarnation);
    if living {
        let owner = Owner { node: request.node, incarnation: request.incarnation, session: request.session };
        return if request.node == r.node { refuse(NtStatus::FILE_NOT_AVAILABLE) } else { Ok(Some(alive(o.id, owner))) };
    }
    if o.file.is_some() && r.file.is_some() && r.file != o.file {
        // The name leads to another file now: the old try is moot.
        close::take_back(state, fx, o.id, r.node);
        return Ok(None);
    }
    // The place was taken for the first try's wishes, and they are what is carried out.
    let mut request = request.clone();
    (request.node, request.incarnation, request.session) = (r.node, r.incarnation, r.session);
    let owner = Owner { node: r.node, incarnation: r.incarnation, session: r.session };
    state.edit_open(o.id, |o| {
        (o.owner, o.away, o.request) = (Some(owner), None, Some(request));
    });
    // The first try may have ended before all that have the file open knew of it.
    o.file.into_iter().for_each(|f| {
        fx.changed(f);
        fx.interest_in(state, f);
    });
    Ok(Some(Outcome::Reserved { open: o.id, resumed: true }))
}

// MS-SMB2 3.3.5.9
// The client has not used the handle yet: it gets the same answer again, as often as it asks, and nothing is done twice.
fn of_eligible(state: &mut State, fx: &mut Effects, r: &OpenRequest, o: &Open) -> Step {
    let asked = matches!(r.durability, RequestedDurability::Persistent { .. });
    if o.lease != r.lease_id() {
        return refuse(NtStatus::ACCESS_DENIED);
    }
    if let Some(owner) = o.owner.filter(|w| w.session != r.session) {
        return if owner.node == r.node { refuse(NtStatus::DUPLICATE_OBJECTID) } else { Ok(alive(o.id, owner)) };
    }
    if o.is_persistent() && !asked {
        return refuse(NtStatus::INVALID_PARAMETER);
    }
    replayed(state, fx, r, o)
}

// MS-SMB2 3.3.5.9
// The handle was used, or the client has a new ClientGuid: a persistent open can still be found by its CreateGuid alone, if nobody is attached to it.
fn of_persistent(state: &mut State, fx: &mut Effects, r: &OpenRequest) -> Step<Option<Outcome>> {
    let asked = matches!(r.durability, RequestedDurability::Persistent { .. });
    if !asked || !state.share(r.share).is_some_and(|s| s.settings.ca) {
        return Ok(None);
    }
    let Some(guid) = r.create_guid else { return Ok(None) };
    let Some(o) = state.opens_by_create_guid(guid).find(|o| o.is_persistent() && o.state == OpenState::Open).cloned() else {
        return Ok(None);
    };
    if let Some(owner) = o.owner {
        return if owner.node == r.node { refuse(NtStatus::FILE_NOT_AVAILABLE) } else { Ok(Some(alive(o.id, owner))) };
    }
    if *o.user != r.user {
        return refuse(NtStatus::ACCESS_DENIED);
    }
    if (o.create_options, o.desired_access, o.share_access) != (r.create_options, r.desired_access, r.share_access) {
        return refuse(NtStatus::CONTEXT_MISMATCH);
    }
    replayed(state, fx, r, &o).map(Some)
}

fn replayed(state: &mut State, fx: &mut Effects, r: &OpenRequest, o: &Open) -> Step {
    if o.is_detached() {
        close::attach(state, fx, o.id, Owner { node: r.node, incarnation: r.incarnation, session: r.session });
    }
    // The first try may have ended before all that have the file open knew of it.
    o.file.into_iter().for_each(|f| fx.interest_in(state, f));
    Ok(Outcome::Replayed(grant::answer(state, o.id)))
}

fn alive(open: OpenId, owner: Owner) -> Outcome {
    Outcome::OwnerAlive { open, node: owner.node, incarnation: owner.incarnation, session: owner.session }
}
