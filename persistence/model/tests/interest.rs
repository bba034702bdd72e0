//! Who must have applied a command before its outcome is acted upon.
#![allow(clippy::unwrap_used, reason = "a failing test may panic")]

mod common;
use common::*;
use persistence_model::*;
use smb_types::{AccessMask, ShareAccess};

const ALL_OTHERS: [NodeId; 2] = [NodeId(1), NodeId(3)];

/// One file, open at nodes 1 and 3 with nothing but a wish to be told; client 2 comes at node 2.
fn shared() -> (World, At, [OpenId; 2]) {
    let mut w = World::new();
    let (a, b, c) = (w.session(1, 1), w.session(2, 2), w.session(3, 3));
    let others = [a, c].map(|at| w.opened(request(at)).open);
    (w, b, others)
}

#[test]
fn what_takes_a_right_waits_for_every_node_that_has_the_file_open() {
    let (mut w, b, _) = shared();
    let mine = w.opened(request(b)).open;
    assert_eq!(w.last.interested, ALL_OTHERS, "a share mode");
    assert_eq!(w.lock(b, mine, 0, 1, true), Outcome::LockGranted);
    assert_eq!(w.last.interested, ALL_OTHERS, "a lock");
    assert_eq!(w.run(Command::SetDeletePending { open: mine, on: true, by: b.incarnation }), Outcome::Done);
    assert_eq!(w.last.interested, ALL_OTHERS, "a mark for deletion");
    assert_eq!(w.run(Command::SetDeletePending { open: mine, on: false, by: b.incarnation }), Outcome::Done);
    assert_eq!(w.last.interested, ALL_OTHERS, "the end of it");
    let intent = Command::RenameIntent { open: mine, new_path: "b.txt".into(), replace: false, target: None, by: b.incarnation };
    assert_eq!(w.run(intent), Outcome::Done);
    assert_eq!(w.last.interested, ALL_OTHERS, "a rename to come");
    assert_eq!(w.run(Command::RenameDone { open: mine, done: true, by: b.incarnation }), Outcome::Done);
    assert_eq!(w.last.interested, ALL_OTHERS, "a rename");
    let io = Command::BreakForIo { file: file(10), by_open: Some(mine), kind: IoKind::Write };
    assert_eq!(w.run(io), Outcome::Done);
    assert_eq!(w.last.interested, ALL_OTHERS, "a write that makes caches void");
    let stat = request(b).access(AccessMask::READ_ATTRIBUTES, ShareAccess::ALL);
    w.opened(stat);
    assert_eq!(w.last.interested, [], "looking at attributes takes nothing from anybody");
}

#[test]
fn a_file_that_is_open_on_one_node_waits_for_nobody() {
    let mut w = World::new();
    let (a, b) = (w.session(1, 1), w.session(2, 1));
    let one = w.opened(request(a).leased(1, RWH)).open;
    assert_eq!(w.last.interested, []);
    assert_eq!(w.lock(a, one, 0, 1, true), Outcome::LockGranted);
    assert_eq!(w.last.interested, []);
    w.waits(request(b));
    assert_eq!(w.last.interested, []);
}

// A first answer may never have come: its node died while it waited for the others.
#[test]
fn what_is_answered_again_waits_as_the_first_time() {
    let (mut w, b, _) = shared();
    let r = request(b).persistent(7);
    let mine = w.opened(r.clone()).open;
    assert!(matches!(w.run(Command::OpenFile(Box::new(OpenRequest { replay: true, ..r }))), Outcome::Replayed(_)));
    assert_eq!(w.last.interested, ALL_OTHERS, "a repeated CREATE");
    let elements = vec![ByteRangeLock { offset: 0, length: 1, exclusive: true }];
    let sequence = Some(LockSequence { index: 1, number: 1 });
    let lock = Command::Lock { open: mine, elements, fail_immediately: true, sequence, by: b.incarnation };
    assert_eq!(w.run(lock.clone()), Outcome::LockGranted);
    assert_eq!(w.run(lock), Outcome::LockAlreadyDone);
    assert_eq!(w.last.interested, ALL_OTHERS, "a repeated LOCK");
}

#[test]
fn a_reservation_that_is_taken_over_waits_as_the_first_time() {
    let (mut w, b, _) = shared();
    let r = request(b).overwriting().persistent(7);
    let Outcome::Reserved { open, resumed: false } = w.run(Command::ReserveOpen(Box::new(r.clone()))) else { panic!() };
    assert_eq!(w.last.interested, ALL_OTHERS);
    w.kill(2);
    let again = w.session(2, 1);
    let r = OpenRequest { node: again.node, incarnation: again.incarnation, session: again.session, replay: true, ..r };
    assert_eq!(w.run(Command::ReserveOpen(Box::new(r))), Outcome::Reserved { open, resumed: true });
    assert_eq!(w.last.interested, [NodeId(3)]);
}

#[test]
fn a_client_that_comes_back_is_known_before_it_goes_on() {
    let (mut w, b, _) = shared();
    let mine = w.opened(request(b).persistent(7)).open;
    w.kill(2);
    let again = w.session(2, 1);
    assert!(matches!(w.reclaim(reconnect(again, mine, 7, None)), Outcome::Reclaimed(_)));
    assert_eq!(w.last.interested, [NodeId(3)]);
}

#[test]
fn renamed_streams_are_known_to_those_who_have_only_the_stream_open() {
    let mut w = World::new();
    let (a, b) = (w.session(1, 1), w.session(2, 2));
    let stream = FileKey { stream: 5, ..file(10) };
    w.opened(OpenRequest { file: Some(stream), path: "a.txt:s".into(), ..request(a) });
    let mine = w.opened(OpenRequest { path: "a.txt".into(), ..request(b) }).open;
    let intent = Command::RenameIntent { open: mine, new_path: "b.txt".into(), replace: false, target: None, by: b.incarnation };
    assert_eq!(w.run(intent), Outcome::Done);
    assert_eq!(w.run(Command::RenameDone { open: mine, done: true, by: b.incarnation }), Outcome::Done);
    assert_eq!(w.last.interested, [NodeId(1)]);
}
