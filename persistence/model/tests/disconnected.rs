//! A persistent open whose client is away, against newcomers: every row of the matrix; and what disconnections keep.
// MS-SMB2 3.3.5.9
#![allow(clippy::unwrap_used, reason = "a failing test may panic")]

mod common;
use common::*;
use persistence_model::*;
use smb_types::{AccessMask, CreateOptions, LeaseState, NtStatus, OplockLevel, ShareAccess};

const LATER: NtStatus = NtStatus::FILE_NOT_AVAILABLE;

/// Client 1 has a persistent open of this lease state and share access, and its node dies. Client 2 is on node 2.
fn left(lease: Option<LeaseState>, share_access: ShareAccess, locked: bool) -> (World, At, OpenId) {
    let mut w = World::new();
    let a = w.session(1, 1);
    let mut r = request(a).persistent(1).access(RW_ACCESS, share_access);
    if let Some(s) = lease {
        r = r.leased(1, s);
    }
    let g = w.opened(r);
    assert_eq!(g.lease.map(|l| l.state), lease);
    assert_eq!(g.durable.unwrap().kind, Durability::Persistent);
    if locked {
        assert_eq!(w.lock(a, g.open, 0, 10, true), Outcome::LockGranted);
    }
    w.kill(1);
    assert!(w.state.open(g.open).unwrap().is_detached());
    let b = w.session(2, 2);
    (w, b, g.open)
}

#[test]
fn without_h_newcomers_come_later() {
    for lease in [None, Some(NONE), Some(R), Some(RW)] {
        let (mut w, b, _) = left(lease, ShareAccess::ALL, false);
        assert_eq!(w.refused(request(b)), LATER, "{lease:?}");
        assert_eq!(w.refused(request(b).overwriting()), LATER, "{lease:?}");
        let (mut w, b, _) = left(lease, ShareAccess::READ, false);
        assert_eq!(w.refused(request(b)), LATER, "{lease:?}, conflict");
    }
}

#[test]
fn rh_lets_compatible_newcomers_in() {
    let (mut w, b, _) = left(Some(RH), ShareAccess::ALL, false);
    assert_eq!(w.opened(request(b).leased(2, RH)).lease.unwrap().state, RH);
    let (mut w, b, open) = left(Some(RH), ShareAccess::ALL, false);
    w.opened(request(b).overwriting());
    assert!(w.breaks().is_empty(), "nobody is there to be told");
    let l = w.lease(1, 1);
    assert!(l.notification_pending && l.breaking && l.break_to == NONE);
    // The client comes back and is told then.
    let a = w.session(1, 3);
    assert!(matches!(w.reclaim(reconnect(a, open, 1, Some(1))), Outcome::Reclaimed(_)));
    assert_eq!(w.breaks(), [(NONE, true)]);
    assert_eq!(w.ack(1, 1, NONE), Outcome::LeaseAcked { state: NONE });
}

#[test]
fn rh_and_a_conflict_waits_for_the_client() {
    let (mut w, b, open) = left(Some(RH), ShareAccess::READ, false);
    w.waits(request(b));
    assert_eq!(w.lease(1, 1).break_to, R);
    let a = w.session(1, 3);
    w.reclaim(reconnect(a, open, 1, Some(1)));
    assert_eq!(w.breaks(), [(R, true)]);
    w.ack(1, 1, R);
    assert_eq!(w.refused(request(b)), NtStatus::SHARING_VIOLATION);
}

#[test]
fn rwh_makes_newcomers_wait() {
    for (overwrites, to) in [(false, RH), (true, NONE)] {
        let (mut w, b, open) = left(Some(RWH), ShareAccess::ALL, false);
        let mut r = request(b);
        r.overwrites = overwrites;
        w.waits(r.clone());
        assert_eq!(w.lease(1, 1).break_to, to);
        let a = w.session(1, 3);
        w.reclaim(reconnect(a, open, 1, Some(1)));
        w.ack(1, 1, to);
        w.opened(r);
    }
    let (mut w, b, open) = left(Some(RWH), ShareAccess::READ, false);
    w.waits(request(b));
    assert_eq!(w.lease(1, 1).break_to, RW);
    let a = w.session(1, 3);
    w.reclaim(reconnect(a, open, 1, Some(1)));
    w.ack(1, 1, RW);
    assert_eq!(w.refused(request(b)), NtStatus::SHARING_VIOLATION);
}

#[test]
fn locks_and_scaleout_keep_newcomers_out() {
    for lease in [None, Some(R), Some(RH)] {
        let (mut w, b, _) = left(lease, ShareAccess::ALL, true);
        assert_eq!(w.refused(request(b)), LATER, "{lease:?}");
    }
    let (mut w, b, _) = left(Some(RWH), ShareAccess::ALL, true);
    w.waits(request(b));
    let mut w = World::new();
    let a = w.session(1, 1);
    assert_eq!(w.opened(request(a).on(3).persistent(1).leased(1, RWH)).lease.unwrap().state, R, "a scale-out share grants R at most");
    w.kill(1);
    let b = w.session(2, 2);
    assert_eq!(w.refused(request(b).on(3)), LATER);
}

#[test]
fn the_wait_ends_with_the_timer_or_the_handle() {
    let (mut w, b, open) = left(Some(RWH), ShareAccess::ALL, false);
    w.waits(request(b));
    let deadline = w.lease(1, 1).break_deadline.unwrap();
    // The handle's own time (60 s) is over first.
    assert!(w.state.next_expiry().unwrap() < deadline);
    w.now += 59_999;
    assert!(!w.state.expiry_due(LogTime(w.now)), "never before the full timeout");
    w.now += 1;
    assert_eq!(w.run(Command::Expire), Outcome::Expired { opens: vec![open], breaks: 0 });
    assert!(w.last.events.contains(&Event::FileChanged { file: file(10) }));
    w.opened(request(b));
}

#[test]
fn a_node_that_is_not_declared_dead_keeps_its_opens() {
    let mut w = World::new();
    let a = w.session(1, 1);
    let g = w.opened(request(a).persistent(1).access(RW_ACCESS, ShareAccess::NONE));
    let b = w.session(2, 2);
    assert_eq!(w.refused(request(b)), NtStatus::SHARING_VIOLATION);
    let a2 = w.session(1, 3);
    let alive = Outcome::OwnerAlive { open: g.open, node: a.node, incarnation: a.incarnation, session: a.session };
    assert_eq!(w.reclaim(reconnect(a2, g.open, 1, None)), alive);
    assert_eq!(w.open(request(a2).persistent(1).replayed().access(RW_ACCESS, ShareAccess::NONE)), alive);
    w.kill(1);
    assert!(matches!(w.reclaim(reconnect(a2, g.open, 1, None)), Outcome::Reclaimed(_)));
    // The dead life can do nothing any more.
    assert_eq!(w.run(Command::CloseOpen { open: g.open, by: a.incarnation }), Outcome::Refused(NtStatus::FILE_CLOSED));
    assert_eq!(w.open(request(a)), Outcome::Rejected(Rejection::StaleIncarnation));
}

#[test]
fn what_a_lost_connection_keeps() {
    let mut w = World::new();
    let a = w.session(1, 1);
    let plain = w.opened(request(a).of(1, "1")).open;
    let batch = w.opened(request(a).of(2, "2").durable(2).oplock(OplockLevel::Batch)).open;
    let exclusive = w.opened(request(a).of(3, "3").durable(3).oplock(OplockLevel::Exclusive)).open;
    let with_h = w.opened(request(a).of(4, "4").durable(4).leased(4, RH)).open;
    let without_h = w.opened(request(a).of(5, "5").durable(5).leased(5, R)).open;
    let persistent = w.opened(request(a).of(6, "6").persistent(6)).open;
    let resilient = w.opened(request(a).of(7, "7")).open;
    w.run(Command::SetResilient { open: resilient, timeout_ms: 0, by: a.incarnation });
    let Outcome::Disconnected { closed, detached, deletes } = w.lose(a) else { panic!() };
    assert_eq!(closed, [plain, exclusive, without_h]);
    assert_eq!(detached, [batch, with_h, persistent, resilient]);
    assert!(deletes.is_empty() && w.state.session(a.session).is_none());
}

#[test]
fn a_durable_open_gives_way_where_its_client_cannot_be_asked() {
    let mut w = World::new();
    let a = w.session(1, 1);
    let first = w.opened(request(a).durable(1).leased(1, RWH)).open;
    w.lose(a);
    let b = w.session(2, 2);
    // windows: what its client has not written back is lost with W, so the durable open goes, though H would remain.
    w.opened(request(b));
    assert!(w.state.open(first).is_none());
    // H goes: so does the durable open.
    let key = file(11);
    let c = w.session(3, 1);
    let old = w.opened(request(c).of(11, "b").durable(2).leased(2, RH).access(READ, ShareAccess::READ)).open;
    w.lose(c);
    w.opened(request(b).of(11, "b"));
    assert!(w.state.open(old).is_none());
    assert_eq!(w.state.file(&key).unwrap().opens.len(), 1);
}

#[test]
fn tree_disconnect_and_close_are_final_logoff_is_not() {
    let mut w = World::new();
    let a = w.session(1, 1);
    let one = w.opened(request(a).persistent(1)).open;
    let two = w.opened(request(a).of(11, "b").persistent(2)).open;
    let why = DisconnectReason::TreeDisconnect(vec![one]);
    w.run(Command::DisconnectOpens { session: a.session, why });
    assert!(w.state.open(one).is_none());
    let b = w.session_after(1, 2, Some(a.session));
    assert!(w.last.events.contains(&Event::SessionEnded { session: a.session, node: NodeId(1) }));
    assert_eq!(w.last.interested, [NodeId(1)], "the old node must know before the new one goes on");
    let mut r = reconnect(b, two, 2, None);
    r.path = "b".into();
    assert!(matches!(w.reclaim(r), Outcome::Reclaimed(_)));
    w.close(b, two);
    assert!(w.state.open(two).is_none() && w.state.file(&file(11)).is_none());
}

#[test]
fn delete_on_close_survives_its_client() {
    let mut w = World::new();
    let a = w.session(1, 1);
    let mut r = request(a).persistent(1).access(RW_ACCESS | AccessMask::DELETE, ShareAccess::ALL);
    r.create_options = CreateOptions::DELETE_ON_CLOSE;
    let open = w.opened(r).open;
    w.kill(1);
    w.now += 60_000;
    assert_eq!(w.run(Command::Expire), Outcome::Expired { opens: vec![open], breaks: 0 });
    let due = w.last.events.iter().find_map(|e| if let Event::DeleteDue { delete } = e { Some(delete.clone()) } else { None }).unwrap();
    assert_eq!((due.file, due.node, due.path.as_str()), (file(10), NodeId(2), "a.txt"));
    let b = w.session(2, 3);
    assert_eq!(w.refused(request(b)), NtStatus::DELETE_PENDING);
    // The node that should do it dies; another inherits it.
    w.kill(2);
    let heir = w.state.pending_deletes().next().unwrap().node;
    assert_eq!(heir, NodeId(3));
    assert_eq!(w.run(Command::DeleteDone { file: file(10) }), Outcome::Done);
    w.opened(request(b));
}

#[test]
fn another_handle_of_the_same_lease_may_be_opened_before_all_are_reclaimed() {
    let (mut w, _, open) = left(Some(RWH), ShareAccess::ALL, false);
    let a = w.session(1, 3);
    let g = w.opened(request(a).persistent(2).leased(1, RWH));
    assert_eq!(g.lease.unwrap().state, RWH);
    assert!(matches!(w.reclaim(reconnect(a, open, 1, Some(1))), Outcome::Reclaimed(_)));
}
