//! Locks, deletes, renames, and the operator's commands.
#![allow(clippy::unwrap_used, reason = "a failing test may panic")]

mod common;
use common::*;
use persistence_model::*;
use smb_types::{AccessMask, NtStatus, ShareAccess};

const NOT_GRANTED: Outcome = Outcome::Refused(NtStatus::LOCK_NOT_GRANTED);

#[test]
fn locks_meet_locks_and_io() {
    // MS-FSA 2.1.4.10
    let mut w = World::new();
    let (a, b) = (w.session(1, 1), w.session(2, 2));
    let (x, y) = (w.opened(request(a)).open, w.opened(request(b)).open);
    assert_eq!(w.lock(a, x, 0, 10, true), Outcome::LockGranted);
    assert_eq!(w.last.interested, [NodeId(2)]);
    assert_eq!(w.lock(a, x, 5, 1, true), NOT_GRANTED, "one's own exclusive lock blocks a second one");
    assert_eq!(w.lock(a, x, 5, 1, false), Outcome::LockGranted, "but not a shared one");
    assert_eq!(w.lock(b, y, 9, 5, false), NOT_GRANTED);
    assert_eq!(w.lock(b, y, 5, 0, true), NOT_GRANTED, "an empty range strictly inside");
    assert_eq!(w.lock(b, y, 10, 5, false), Outcome::LockGranted);
    assert_eq!(w.lock(b, y, 10, 5, false), Outcome::LockGranted, "shared locks stack");
    let f = file(10);
    assert!(w.state.lock_conflict(&f, y, 0, 1, false) && w.state.lock_conflict(&f, y, 9, 1, true));
    assert!(w.state.lock_conflict(&f, x, 5, 1, true), "one's own shared lock blocks one's own writes");
    assert!(!w.state.lock_conflict(&f, x, 0, 5, true) && !w.state.lock_conflict(&f, x, 10, 5, false));
    assert!(w.state.lock_conflict(&f, x, 10, 5, true) && !w.state.lock_conflict(&f, x, 10, 0, true));
    // A conflict that may be waited for says where to look.
    let elements = vec![ByteRangeLock { offset: 0, length: 1, exclusive: false }];
    let wait = Command::Lock { open: y, elements, fail_immediately: false, sequence: None, by: b.incarnation };
    assert_eq!(w.run(wait.clone()), Outcome::LockConflict { file: f });
    let unlock = |open, range, at: At| Command::Unlock { open, ranges: vec![range], sequence: None, by: at.incarnation };
    assert_eq!(w.run(unlock(x, (0, 9), a)), Outcome::Refused(NtStatus::RANGE_NOT_LOCKED));
    assert_eq!(w.run(unlock(x, (0, 10), a)), Outcome::Done);
    assert!(w.last.events.contains(&Event::FileChanged { file: f }));
    assert_eq!(w.run(wait), Outcome::LockGranted);
    for outcome in [Outcome::Done, Outcome::Done, Outcome::Refused(NtStatus::RANGE_NOT_LOCKED)] {
        assert_eq!(w.run(unlock(y, (10, 5), b)), outcome, "each stacked lock has its own unlock");
    }
    // All or nothing.
    let elements = vec![ByteRangeLock { offset: 100, length: 1, exclusive: true }, ByteRangeLock { offset: 5, length: 1, exclusive: true }];
    let two = Command::Lock { open: y, elements, fail_immediately: true, sequence: None, by: b.incarnation };
    assert_eq!(w.run(two), NOT_GRANTED);
    assert_eq!(w.state.open(y).unwrap().locks.len(), 1);
    assert_eq!(w.lock(b, y, u64::MAX, 2, true), Outcome::Refused(NtStatus::INVALID_LOCK_RANGE));
    assert_eq!(w.lock(a, y, 200, 2, true), Outcome::Refused(NtStatus::FILE_CLOSED), "not this node's open");
}

#[test]
fn a_repeated_lock_request_does_nothing_twice() {
    // MS-SMB2 3.3.5.14
    let mut w = World::new();
    let a = w.session(1, 1);
    let x = w.opened(request(a).persistent(1)).open;
    let lock = |number, offset, at: At| {
        let elements = vec![ByteRangeLock { offset, length: 1, exclusive: true }];
        let sequence = Some(LockSequence { index: 64, number });
        Command::Lock { open: x, elements, fail_immediately: true, sequence, by: at.incarnation }
    };
    assert_eq!(w.run(lock(0, 0, a)), Outcome::LockGranted, "0 is not the initial value");
    assert_eq!(w.run(lock(0, 0, a)), Outcome::LockAlreadyDone);
    assert_eq!(w.run(lock(1, 0, a)), NOT_GRANTED);
    assert_eq!(w.run(lock(1, 1, a)), Outcome::LockGranted, "the failed one left the entry void");
    w.kill(1);
    let b = w.session(1, 2);
    w.reclaim(reconnect(b, x, 1, None));
    assert_eq!(w.run(lock(1, 1, b)), Outcome::LockAlreadyDone, "and another node knows");
    assert_eq!(w.state.open(x).unwrap().locks.len(), 2);
}

#[test]
fn deletes() {
    let mut w = World::new();
    let (a, b) = (w.session(1, 1), w.session(2, 2));
    let x = w.opened(request(a).access(AccessMask::DELETE, ShareAccess::ALL)).open;
    let y = w.opened(request(b).leased(2, RH)).open;
    let mark = |on| Command::SetDeletePending { open: x, on, by: a.incarnation };
    assert_eq!(w.run(mark(true)), Outcome::MustWait { file: file(10) });
    assert_eq!(w.breaks(), [(R, true)]);
    w.ack(2, 2, R);
    assert_eq!(w.run(mark(true)), Outcome::Done);
    assert_eq!(w.refused(request(b)), NtStatus::DELETE_PENDING);
    assert_eq!(w.run(mark(false)), Outcome::Done);
    w.opened(request(b));
    w.run(mark(true));
    assert_eq!(w.close(a, x), None);
    let DisconnectOutcome { deletes } = disconnect(&mut w, b);
    assert_eq!(deletes.len(), 1, "the last open takes the file with it");
    assert!(w.state.open(y).is_none());
    assert_eq!(w.refused(request(a)), NtStatus::DELETE_PENDING);
    assert_eq!(w.run(Command::DeleteDone { file: file(10) }), Outcome::Done);
    assert_eq!(w.run(Command::DeleteDone { file: file(10) }), Outcome::Rejected(Rejection::NoSuchRecord));
    w.opened(request(a));
}

#[test]
fn a_file_keeps_its_name_until_its_streams_are_closed() {
    // MS-FSA 2.1.5.4
    let mut w = World::new();
    let (a, b, c) = (w.session(1, 1), w.session(2, 2), w.session(3, 3));
    let stream = |at, n| OpenRequest { file: Some(FileKey { stream: n, ..file(10) }), path: format!("a.txt:{n}"), ..request(at) };
    let (one, two) = (w.opened(stream(b, 1)).open, w.opened(stream(c, 2)).open);
    let x = w.opened(request(a).access(AccessMask::DELETE, ShareAccess::ALL)).open;
    assert_eq!(w.run(Command::SetDeletePending { open: x, on: true, by: a.incarnation }), Outcome::Done);
    assert_eq!(w.refused(stream(a, 1)), NtStatus::DELETE_PENDING);
    assert_eq!(w.close(a, x), None, "streams are open");
    for other in [request(a), stream(a, 1), stream(a, 3)] {
        assert_eq!(w.refused(other), NtStatus::DELETE_PENDING);
    }
    let due = |w: &World| {
        let events = w.last.events.iter().filter_map(|event| if let Event::DeleteDue { delete } = event { Some(delete) } else { None });
        events.map(|delete| (delete.file, delete.node, delete.path.clone())).collect::<Vec<_>>()
    };
    assert_eq!((due(&w), w.state.due_deletes().count()), (vec![], 0));
    // Whoever has to remove it dies, and so does who has a stream open: the heir hears of it when the last stream goes.
    w.kill(1);
    assert_eq!(due(&w), []);
    w.kill(2);
    assert!(w.state.open(one).is_none());
    assert_eq!((due(&w), w.state.pending_deletes().count(), w.state.due_deletes().count()), (vec![], 1, 0));
    assert_eq!(w.close(c, two), None, "the stream itself is not marked");
    assert_eq!(due(&w), [(file(10), NodeId(3), "a.txt".to_owned())]);
    assert_eq!(w.state.due_deletes().count(), 1);
    assert_eq!(w.run(Command::DeleteDone { file: file(10) }), Outcome::Done);
    w.opened(request(c));
}

struct DisconnectOutcome {
    deletes: Vec<PendingDelete>,
}

fn disconnect(w: &mut World, at: At) -> DisconnectOutcome {
    match w.lose(at) {
        Outcome::Disconnected { deletes, .. } => DisconnectOutcome { deletes },
        other => panic!("{other:?}"),
    }
}

#[test]
fn renames() {
    // MS-FSA 2.1.5.15.12
    let mut w = World::new();
    let (a, b) = (w.session(1, 1), w.session(2, 2));
    let intent =
        |open, new: &str, replace, target| Command::RenameIntent { open, new_path: new.into(), replace, target, by: Incarnation(1) };
    let done = |open, done| Command::RenameDone { open, done, by: Incarnation(1) };
    let x = w.opened(request(a).leased(1, RH)).open;
    let y = w.opened(request(b).leased(2, RH)).open;
    assert_eq!(w.run(intent(x, "b.txt", false, None)), Outcome::MustWait { file: file(10) });
    assert_eq!(w.breaks(), [(R, true)]);
    w.ack(2, 2, R);
    assert_eq!(w.run(intent(x, "b.txt", false, None)), Outcome::Done);
    assert_eq!(w.state.opens_of_path(ShareId(1), "B.TXT").map(|o| o.id).collect::<Vec<_>>(), [x]);
    assert_eq!(w.run(done(x, true)), Outcome::Done);
    assert_eq!(w.state.open(y).unwrap().path.to_string(), "b.txt");
    assert_eq!((w.lease(2, 2).path.to_string(), w.lease(1, 1).path.to_string()), ("b.txt".into(), "b.txt".into()));
    assert_eq!(w.run(done(x, true)), Outcome::Refused(NtStatus::INVALID_PARAMETER), "nothing is announced");
    // A target that is open.
    let t = w.opened(request(b).of(11, "t")).open;
    assert_eq!(w.run(intent(x, "t", false, Some(file(11)))), Outcome::Refused(NtStatus::OBJECT_NAME_COLLISION));
    assert_eq!(w.run(intent(x, "t", true, Some(file(11)))), Outcome::Refused(NtStatus::ACCESS_DENIED));
    w.close(b, t);
    assert_eq!(w.run(intent(x, "t", true, Some(file(11)))), Outcome::Done);
    assert_eq!(w.run(done(x, false)), Outcome::Done);
    assert_eq!(w.state.open(x).unwrap().path.to_string(), "b.txt");
    // A directory with open files beneath it.
    let d = w.opened(request(a).of(5, "dir").directory()).open;
    let near = w.opened(request(b).of(13, "dirt\\f")).open;
    let child = w.opened(request(b).of(12, "Dir\\sub\\f").persistent(1)).open;
    assert_eq!(w.run(intent(d, "moved", false, None)), Outcome::Refused(NtStatus::ACCESS_DENIED));
    w.kill(2);
    assert_eq!(w.run(intent(d, "moved", false, None)), Outcome::Refused(NtStatus::ACCESS_DENIED), "a disconnected one counts too");
    w.now += 60_000;
    w.run(Command::Expire);
    assert!(w.state.open(child).is_none() && w.state.open(near).is_none());
    assert_eq!(w.run(intent(d, "moved", false, None)), Outcome::Done);
    // Who opens something beneath in between is moved along.
    let c = w.session(3, 3);
    let late = w.opened(request(c).of(12, "DIR\\sub\\f")).open;
    w.run(done(d, true));
    assert_eq!(w.state.open(late).unwrap().path.to_string(), "moved\\sub\\f");
}

#[test]
fn the_operator() {
    let mut w = World::new();
    assert_eq!(
        w.run(Command::ClusterInit { net_name: "X".into(), server_guid: guid(1) }),
        Outcome::Rejected(Rejection::AlreadyInitialised)
    );
    assert_eq!(w.run(Command::ShareAdd { name: "CA".into(), settings: settings(true, false) }), Outcome::Rejected(Rejection::Exists));
    assert_eq!(w.run(Command::ShareAdd { name: "a/b".into(), settings: settings(true, false) }), Outcome::Rejected(Rejection::InvalidName));
    assert_eq!(w.state.share_by_name("Scale").unwrap().id, ShareId(3));
    let add = |name: &str, sid| Command::UserAdd { name: name.into(), nt_hash: [1; 16], sid, unix: None };
    let Outcome::UserAdded { sid } = w.run(add("Anna", None)) else { panic!() };
    assert_eq!(sid.to_string(), "S-1-5-21-3250700737-3250700737-3250700737-1000");
    assert_eq!(w.run(add("ANNA", None)), Outcome::Rejected(Rejection::Exists));
    assert_eq!(w.run(add("Bert", Some(sid))), Outcome::Rejected(Rejection::Exists));
    assert_eq!(w.run(Command::UserEnable { name: "anna".into(), enabled: false }), Outcome::Done);
    assert_eq!(w.run(Command::UserSetPassword { name: "anna".into(), nt_hash: [2; 16] }), Outcome::Done);
    let anna = w.state.user_by_name("aNNa").unwrap();
    assert!(anna.disabled && anna.nt_hash == [2; 16] && !format!("{anna:?}").contains("nt_hash"));
    assert_eq!(w.run(Command::UserRemove { name: "anna".into() }), Outcome::Done);
    assert_eq!(w.run(Command::UserRemove { name: "anna".into() }), Outcome::Rejected(Rejection::NoSuchUser));
    // A token lets in once, and not too late.
    let spend = Command::TokenUse { hash: [7; 32] };
    let bad = Outcome::Rejected(Rejection::TokenInvalid);
    assert_eq!(w.run(spend.clone()), bad);
    w.run(Command::TokenAdd { hash: [7; 32], ttl_ms: 1000 });
    assert_eq!((w.run(spend.clone()), w.run(spend)), (Outcome::Done, bad.clone()));
    w.run(Command::TokenAdd { hash: [8; 32], ttl_ms: 1000 });
    w.now += 1000;
    assert_eq!(w.run(Command::TokenUse { hash: [8; 32] }), bad);
    // Nodes: a new life ends the old one; ids never come back.
    let a = w.session(1, 1);
    let before = w.opened(request(a)).open;
    assert!(before.0 >= 0x3_0000_0001);
    assert_eq!(w.run(Command::NodeDrain { node: NodeId(1), on: true }), Outcome::Done);
    assert_eq!(w.state.node(NodeId(1)).unwrap().state, NodeState::Draining);
    assert_eq!(w.run(Command::NodeRemove { node: NodeId(1) }), Outcome::Rejected(Rejection::NodeIsLive));
    let life = w.join(1);
    assert_eq!(life, Incarnation(4));
    assert!(w.last.events.contains(&Event::NodeDown { node: NodeId(1), incarnation: Incarnation(1) }));
    assert!(w.state.open(before).is_none() && w.state.session(a.session).is_none());
    let stale = Command::NodeDown { node: NodeId(1), incarnation: Incarnation(1) };
    assert_eq!(w.run(stale), Outcome::Rejected(Rejection::StaleIncarnation));
    let b = w.session(1, 1);
    assert!(w.opened(request(b)).open.0 > life.0 << 32);
    // A share takes its opens along.
    let persistent = w.opened(request(b).of(11, "b").persistent(1)).open;
    assert_eq!(w.run(Command::ShareRemove { share: ShareId(1) }), Outcome::Done);
    assert!(w.state.open(persistent).is_none() && w.state.opens().next().is_none());
    w.kill(1);
    assert_eq!(w.run(Command::NodeRemove { node: NodeId(1) }), Outcome::Done);
    assert_eq!(State::new().apply(LogTime(0), &Command::Expire).outcome, Outcome::Rejected(Rejection::NotInitialised));
}

#[test]
fn classes() {
    let mut w = World::new();
    let a = w.session(1, 1);
    let class = |w: &World, r: OpenRequest| Command::OpenFile(Box::new(r)).class(&w.state);
    assert_eq!(class(&w, request(a)), Class::Volatile);
    assert_eq!(class(&w, request(a).durable(1)), Class::Durable);
    assert_eq!(class(&w, request(a).persistent(1)), Class::Persistent);
    assert_eq!(class(&w, request(a).on(2).persistent(1)), Class::Durable, "not a continuously available share");
    let open = w.opened(request(a).persistent(1)).open;
    let lock = Command::Lock { open, elements: vec![], fail_immediately: true, sequence: None, by: a.incarnation };
    assert_eq!(lock.class(&w.state), Class::Persistent);
    assert_eq!(Command::CloseOpen { open, by: a.incarnation }.class(&w.state), Class::Volatile);
    assert_eq!(Command::ReclaimOpen(Box::new(reconnect(a, OpenId(1), 1, None))).class(&w.state), Class::Persistent);
}
