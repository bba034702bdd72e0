//! DH2C and DHnC, first match wins; replays and reservations.
// MS-SMB2 3.3.5.9.12
#![allow(clippy::unwrap_used, reason = "a failing test may panic")]

mod common;
use common::*;
use persistence_model::*;
use smb_types::{NtStatus, OplockLevel, ShareAccess};

/// A detached persistent open with an RWH lease, and its client on node 2.
fn world() -> (World, At, OpenId) {
    let mut w = World::new();
    let a = w.session(1, 1);
    let open = w.opened(request(a).persistent(1).leased(1, RWH)).open;
    assert_eq!(w.lock(a, open, 0, 1, true), Outcome::LockGranted);
    w.kill(1);
    let b = w.session(1, 2);
    (w, b, open)
}

#[test]
fn the_table() {
    type Change = fn(&mut ReclaimRequest);
    let not_found = NtStatus::OBJECT_NAME_NOT_FOUND;
    let v2 = |create_guid, persistent, by_create_guid| ReclaimKind::V2 { create_guid: guid(create_guid), persistent, by_create_guid };
    let rows: [(&str, Change, NtStatus); 7] = [
        (
            "unknown id, unknown guid",
            |r| (r.open, r.kind) = (OpenId(7), ReclaimKind::V2 { create_guid: guid(9), persistent: true, by_create_guid: true }),
            not_found,
        ),
        ("other client", |r| r.client_guid = guid(9), not_found),
        ("DHnC for a version 2 handle", |r| r.kind = ReclaimKind::V1, not_found),
        ("no lease context", |r| r.lease = None, not_found),
        ("other lease key", |r| r.lease = Some(ReclaimLease { key: guid(9), version: 2, epoch: 0 }), not_found),
        ("other lease version", |r| r.lease = Some(ReclaimLease { key: guid(1), version: 1, epoch: 0 }), not_found),
        ("other name", |r| r.path = "other".into(), NtStatus::INVALID_PARAMETER),
    ];
    let (mut w, b, open) = world();
    for (name, change, status) in rows {
        let mut r = reconnect(b, open, 1, Some(1));
        change(&mut r);
        assert_eq!(w.reclaim(r), Outcome::Refused(status), "{name}");
    }
    for kind in [v2(1, false, true), v2(9, true, true)] {
        let r = ReclaimRequest { kind, ..reconnect(b, open, 1, Some(1)) };
        assert_eq!(w.reclaim(r), Outcome::Refused(not_found), "{kind:?}");
    }
    // Another user of the same client machine.
    let mut c = w.session(3, 2);
    c.client = 1;
    let r = ReclaimRequest { user: user(3), ..reconnect(c, open, 1, Some(1)) };
    assert_eq!(w.reclaim(r), Outcome::Refused(NtStatus::ACCESS_DENIED));
    // By CreateGuid alone; name without regard to case.
    let r = ReclaimRequest { open: OpenId(7), path: "\\A.TXT".into(), ..reconnect(b, open, 1, Some(1)) };
    let Outcome::Reclaimed(g) = w.reclaim(r) else { panic!("{:?}", w.last) };
    assert_eq!((g.open, g.create_action, g.lease.unwrap().state), (open, CreateAction::Opened, RWH));
    assert_eq!(w.state.open(open).unwrap().locks.len(), 1, "locks are in force as before");
    assert!(w.last.events.contains(&Event::OpenReclaimed { open, node: NodeId(2) }));
    assert_eq!(w.reclaim(reconnect(b, open, 1, Some(1))), Outcome::Refused(not_found), "attached to this very session");
}

#[test]
fn a_persistent_flag_on_a_durable_handle_is_wrong() {
    let mut w = World::new();
    let a = w.session(1, 1);
    let open = w.opened(request(a).on(2).persistent(1).leased(1, RH)).open;
    assert_eq!(w.state.open(open).unwrap().durability, Durability::V2, "the share is not continuously available");
    w.kill(1);
    let b = w.session(1, 2);
    let r = ReclaimRequest { share: ShareId(2), ..reconnect(b, open, 1, Some(1)) };
    assert_eq!(w.reclaim(r.clone()), Outcome::Refused(NtStatus::INVALID_PARAMETER));
    let kind = ReclaimKind::V2 { create_guid: guid(1), persistent: false, by_create_guid: false };
    assert!(matches!(w.reclaim(ReclaimRequest { kind, ..r }), Outcome::Reclaimed(_)));
}

#[test]
fn version_one_handles_come_back_from_another_client_guid_without_a_lease() {
    let mut w = World::new();
    let a = w.session(1, 1);
    let mut r = request(a).oplock(OplockLevel::Batch);
    r.durability = RequestedDurability::V1;
    let g = w.opened(r);
    assert_eq!(g.durable.unwrap(), DurableGrant { kind: Durability::V1, timeout_ms: 120_000 });
    w.lose(a);
    let b = w.session(1, 1);
    let r = ReclaimRequest { kind: ReclaimKind::V1, client_guid: guid(9), ..reconnect(b, g.open, 1, None) };
    assert!(matches!(w.reclaim(r), Outcome::Reclaimed(_)));
}

#[test]
fn replays_are_answered_from_the_open() {
    let mut w = World::new();
    let a = w.session(1, 1);
    let create = request(a).persistent(1).leased(1, RWH);
    let Outcome::Reserved { open, resumed: false } = w.run(Command::ReserveOpen(Box::new(OpenRequest { file: None, ..create.clone() })))
    else {
        panic!()
    };
    assert_eq!(w.refused(create.clone().replayed()), NtStatus::FILE_NOT_AVAILABLE, "the first try is under way");
    assert_eq!(w.refused(create.clone()), NtStatus::DUPLICATE_OBJECTID);
    let confirm =
        Command::ConfirmOpen { open, file: file(10), create_action: CreateAction::Created, is_directory: false, by: a.incarnation };
    let Outcome::Opened(first) = w.run(confirm) else { panic!("{:?}", w.last) };
    assert_eq!(first.lease.unwrap().state, RWH);
    assert_eq!(w.refused(create.clone()), NtStatus::DUPLICATE_OBJECTID);
    for _ in 0..3 {
        assert_eq!(w.open(create.clone().replayed().overwriting()), Outcome::Replayed(first.clone()), "nothing is done twice");
    }
    // Another session, lease, user, or a durable request.
    let a2 = w.session(1, 1);
    assert_eq!(w.refused(request(a2).persistent(1).leased(1, RWH).replayed()), NtStatus::DUPLICATE_OBJECTID);
    assert_eq!(w.refused(request(a).persistent(1).leased(2, RWH).replayed()), NtStatus::ACCESS_DENIED);
    assert_eq!(w.refused(request(a).durable(1).leased(1, RWH).replayed()), NtStatus::INVALID_PARAMETER);
    // The node dies; the replay finds the open by its CreateGuid and still says "created".
    w.kill(1);
    let b = w.session(1, 2);
    assert_eq!(w.open(request(b).persistent(1).leased(1, RWH).replayed()), Outcome::Replayed(first));
    // Once used, not any more.
    w.run(Command::EndReplay { open, by: b.incarnation });
    assert_eq!(w.refused(request(b).persistent(1).leased(1, RWH).replayed()), NtStatus::FILE_NOT_AVAILABLE);
    w.kill(2);
    let c = w.session(1, 3);
    let other = request(c).persistent(1).leased(1, RWH).replayed().access(READ, ShareAccess::ALL);
    assert_eq!(w.refused(other), NtStatus::CONTEXT_MISMATCH);
    assert!(matches!(w.open(request(c).persistent(1).leased(1, RWH).replayed()), Outcome::Replayed(_)));
}

#[test]
fn of_two_opens_with_one_guid_the_repeatable_one_is_meant() {
    let mut w = World::new();
    let a = w.session(1, 1);
    let used = w.opened(request(a).persistent(1)).open;
    w.run(Command::EndReplay { open: used, by: a.incarnation });
    // Not persistent, so it is not the used one that is asked for.
    let other = request(a).of(11, "b.txt").durable(1).leased(1, RWH).replayed();
    let Outcome::Opened(first) = w.open(other.clone()) else { panic!("{:?}", w.last) };
    assert_ne!(first.open, used);
    assert_eq!(w.open(other.clone()), Outcome::Replayed(first.clone()));
    assert_eq!(w.run(Command::ReserveOpen(Box::new(OpenRequest { file: None, ..other }))), Outcome::Replayed(first));
}

#[test]
fn a_reservation_outlives_its_node_and_is_resumed_by_its_replay() {
    let mut w = World::new();
    let a = w.session(1, 1);
    let create = |at| OpenRequest { file: None, ..request(at).persistent(1) };
    let Outcome::Reserved { open, .. } = w.run(Command::ReserveOpen(Box::new(create(a)))) else { panic!() };
    let Outcome::Reserved { open: plain, .. } = w.run(Command::ReserveOpen(Box::new(OpenRequest { file: None, ..request(a) }))) else {
        panic!()
    };
    w.kill(1);
    assert!(w.state.open(open).is_some() && w.state.open(plain).is_none());
    let b = w.session(1, 2);
    // The file exists now: the dead node had created it. The replay may arrive as either command.
    assert_eq!(w.open(request(b).persistent(1).replayed()), Outcome::Reserved { open, resumed: true });
    let confirm = |by| Command::ConfirmOpen { open, file: file(10), create_action: CreateAction::Created, is_directory: false, by };
    assert_eq!(w.run(confirm(a.incarnation)), Outcome::Refused(NtStatus::FILE_CLOSED), "the dead node comes too late");
    assert!(matches!(w.run(confirm(b.incarnation)), Outcome::Opened(g) if g.create_action == CreateAction::Created));
    // One that nobody resumes ends with its timeout; until then others are told to come later.
    let r = request(b).of(20, "z").persistent(2).overwriting();
    let Outcome::Reserved { open: lost, .. } = w.run(Command::ReserveOpen(Box::new(r))) else { panic!() };
    w.kill(2);
    let c = w.session(3, 3);
    assert_eq!(w.refused(request(c).of(20, "z")), NtStatus::FILE_NOT_AVAILABLE);
    w.now += 60_000;
    w.run(Command::Expire);
    assert!(w.state.open(lost).is_none());
    w.opened(request(c).of(20, "z"));
}

#[test]
fn a_reservation_holds_its_place() {
    let mut w = World::new();
    let (a, b) = (w.session(1, 1), w.session(2, 2));
    let r = request(a).overwriting().access(RW_ACCESS, ShareAccess::READ);
    let Outcome::Reserved { open, .. } = w.run(Command::ReserveOpen(Box::new(r))) else { panic!() };
    w.waits(request(b));
    let reader = w.opened(request(b).access(READ, ShareAccess::ALL).leased(2, RWH));
    assert_eq!(reader.lease.unwrap().state, RH, "no write cache beside a reservation");
    let confirm =
        Command::ConfirmOpen { open, file: file(10), create_action: CreateAction::Overwritten, is_directory: false, by: a.incarnation };
    assert!(matches!(w.run(confirm), Outcome::Opened(_)));
    assert_eq!(w.breaks(), [(NONE, true)], "what was read before the truncation is void");
    assert_eq!(w.refused(request(b)), NtStatus::SHARING_VIOLATION);
    let Outcome::Reserved { open, .. } = w.run(Command::ReserveOpen(Box::new(request(b).of(11, "b")))) else { panic!() };
    assert_eq!(w.run(Command::AbortOpen { open, by: b.incarnation }), Outcome::Done);
    assert!(w.state.file(&file(11)).is_none());
}

#[test]
fn application_instances_move() {
    let mut w = World::new();
    let (a, b) = (w.session(1, 1), w.session(2, 2));
    let app = |r: OpenRequest, version| {
        OpenRequest { app_instance: Some(AppInstance { id: guid(0xA), version }), ..r }.access(RW_ACCESS, ShareAccess::NONE)
    };
    let old = w.opened(app(request(a), Some((1, 5)))).open;
    assert_eq!(w.refused(app(request(b), None)), NtStatus::FILE_FORCED_CLOSED);
    assert_eq!(w.refused(app(request(b), Some((1, 5)))), NtStatus::FILE_FORCED_CLOSED);
    w.opened(app(request(b), Some((2, 0))));
    assert!(w.last.events.contains(&Event::OpenTaken { open: old, node: NodeId(1), incarnation: a.incarnation }));
    assert_eq!(w.last.interested, [NodeId(1)]);
}

// MS-SMB2 3.3.5.9.12
#[test]
fn a_persistent_lease_without_h_counts_on_from_the_clients_number() {
    for (held, locked, state, epoch) in
        [(R, false, R, 129), (RW, false, RW, 128), (RH, false, RH, 1), (RWH, false, RWH, 1), (RH, true, NONE, 128), (RWH, true, RWH, 1)]
    {
        let mut w = World::new();
        let a = w.session(1, 1);
        let open = w.opened(request(a).leased(1, held).persistent(1)).open;
        if locked {
            assert_eq!(w.lock(a, open, 0, 1, true), Outcome::LockGranted);
        }
        w.lose(a);
        let again = w.session(1, 2);
        let mut wish = reconnect(again, open, 1, Some(1));
        wish.lease = Some(ReclaimLease { key: guid(1), version: 2, epoch: 128 });
        let Outcome::Reclaimed(grant) = w.reclaim(wish) else { panic!("{:?}", w.last.outcome) };
        let lease = grant.lease.unwrap();
        assert_eq!((lease.state, lease.epoch), (state, epoch), "{held:?}, locked {locked}");
    }
}

// MS-SMB2 3.3.7.1
#[test]
fn a_durable_handle_that_shares_its_file_does_not_survive_with_locks() {
    for (state, kept) in [(RH, false), (RWH, true)] {
        let mut w = World::new();
        let a = w.session(1, 1);
        let open = w.opened(request(a).on(2).leased(1, state).durable(1)).open;
        assert_eq!(w.lock(a, open, 0, 1, true), Outcome::LockGranted);
        w.lose(a);
        assert_eq!(w.state.open(open).is_some(), kept, "{state:?}");
    }
}

// MS-SMB2 3.3.4.7
#[test]
fn a_durable_handle_that_cached_writes_goes_when_its_cache_does() {
    for (held, asked, kept) in [(RWH, RWH, false), (RWH, RH, false), (RH, RWH, true)] {
        let mut w = World::new();
        let (a, b) = (w.session(1, 1), w.session(2, 2));
        let open = w.opened(request(a).on(2).leased(1, held).durable(1)).open;
        w.lose(a);
        let got = w.opened(request(b).on(2).leased(2, asked)).lease.unwrap().state;
        assert_eq!(w.state.open(open).is_some(), kept, "{held:?}");
        assert_eq!(got, if kept { RH } else { asked });
    }
}

#[test]
fn a_break_that_waited_is_counted_after_the_answer() {
    let mut w = World::new();
    let (a, b) = (w.session(1, 1), w.session(2, 2));
    let open = w.opened(request(a).leased(1, RWH).persistent(1)).open;
    w.lose(a);
    w.waits(request(b));
    let again = w.session(1, 2);
    let Outcome::Reclaimed(grant) = w.reclaim(reconnect(again, open, 1, Some(1))) else { panic!("{:?}", w.last.outcome) };
    let announced = w.last.events.iter().find_map(|e| match e {
        Event::LeaseBreak { epoch, .. } => Some(*epoch),
        _ => None,
    });
    assert_eq!((grant.lease.unwrap().epoch, announced), (1, Some(2)));
}
