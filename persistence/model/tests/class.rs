//! The class of each command: what it waits for before it is answered. The reasons are in `docs/decisions/0005-class-of-each-command.md`.
#![allow(clippy::unwrap_used, reason = "a failing test may panic")]

mod common;
use common::*;
use persistence_model::*;
use smb_types::{AccessMask, CreateOptions, NtStatus, OplockLevel, ShareAccess};

fn class(w: &World, command: &Command) -> Class {
    command.class(&w.state)
}

fn open(r: OpenRequest) -> Command {
    Command::OpenFile(Box::new(r))
}

fn set_class(at: At, open: OpenId, class: Class) -> Command {
    Command::SetOpenClass { open, class, by: at.incarnation }
}

fn lock(at: At, open: OpenId) -> Command {
    let elements = vec![ByteRangeLock { offset: 0, length: 1, exclusive: true }];
    Command::Lock { open, elements, fail_immediately: true, sequence: None, by: at.incarnation }
}

/// All that a persistent open does, and what its client gives back.
#[test]
fn of_a_persistent_open() {
    let mut w = World::new();
    let a = w.session(1, 1);
    assert_eq!(class(&w, &open(request(a).persistent(1))), Class::Persistent);
    let id = w.opened(request(a).leased(1, RWH).persistent(1)).open;
    let by = a.incarnation;
    for promise in [
        lock(a, id),
        Command::Unlock { open: id, ranges: vec![(0, 1)], sequence: None, by },
        Command::RenameIntent { open: id, new_path: "b".into(), replace: false, target: None, by },
        Command::RenameDone { open: id, done: true, by },
        Command::RenameDone { open: id, done: false, by },
        Command::SetDeletePending { open: id, on: true, by },
        Command::SetDeletePending { open: id, on: false, by },
        Command::SetResilient { open: id, timeout_ms: 0, by },
        Command::OplockAck { open: id, level: OplockLevel::None, by },
        Command::LeaseAck { client_guid: guid(1), key: guid(1), state: R },
        Command::ReclaimOpen(Box::new(reconnect(a, OpenId(77), 1, Some(1)))),
        set_class(a, id, Class::Volatile),
        Command::Expire,
    ] {
        assert_eq!(class(&w, &promise), Class::Persistent, "{promise:?}");
    }
    for release in [
        Command::CloseOpen { open: id, by },
        Command::EndReplay { open: id, by },
        Command::AbortOpen { open: id, by },
        Command::DisconnectOpens { session: a.session, why: DisconnectReason::ConnectionLost },
        Command::DisconnectOpens { session: a.session, why: DisconnectReason::TreeDisconnect(vec![id]) },
        Command::BreakUndeliverable { target: BreakTarget::Lease(LeaseId { client_guid: guid(1), key: guid(1) }) },
        Command::DeleteDone { file: file(10) },
    ] {
        assert_eq!(class(&w, &release), Class::Volatile, "{release:?}");
    }
}

/// Whoever takes from a persistent open waits for the disk, whatever he has himself; whoever does not, does not.
#[test]
fn of_those_who_meet_one() {
    let mut w = World::new();
    let (a, b) = (w.session(1, 1), w.session(2, 2));
    let held = w.opened(request(a).leased(1, RH).persistent(1)).open;
    let stat = request(b).access(AccessMask::READ_ATTRIBUTES, ShareAccess::ALL);
    assert_eq!(class(&w, &open(stat)), Class::Volatile, "touches nothing");
    assert_eq!(class(&w, &open(request(b))), Class::Volatile, "RH goes with another open");
    assert_eq!(class(&w, &open(request(b).overwriting())), Class::Persistent, "ends the cache");
    assert_eq!(class(&w, &open(request(b).access(RW_ACCESS, ShareAccess::NONE))), Class::Persistent, "asks the other to close");
    let plain = w.opened(request(b)).open;
    let io = |kind| Command::BreakForIo { file: file(10), by_open: Some(plain), kind };
    assert_eq!(class(&w, &io(IoKind::Read)), Class::Volatile);
    assert_eq!(class(&w, &io(IoKind::Write)), Class::Persistent);
    assert_eq!(class(&w, &lock(b, plain)), Class::Persistent);
    assert_eq!(class(&w, &Command::BreakForIo { file: file(10), by_open: Some(held), kind: IoKind::Write }), Class::Volatile, "its own");
    let by = b.incarnation;
    assert_eq!(class(&w, &Command::SetDeletePending { open: plain, on: true, by }), Class::Persistent);
    let rename = Command::RenameIntent { open: plain, new_path: "b".into(), replace: false, target: None, by };
    assert_eq!(class(&w, &rename), Class::Persistent);
    assert_eq!(class(&w, &Command::RenameDone { open: plain, done: true, by }), Class::Persistent, "the other is found by its path");
    assert_eq!(class(&w, &Command::RenameDone { open: plain, done: false, by }), Class::Volatile);
    assert_eq!(class(&w, &Command::CloseOpen { open: plain, by }), Class::Volatile);
    // A plain oplock is as much of a promise as a lease.
    let shared = w.opened(request(a).of(11, "b").oplock(OplockLevel::LevelII).persistent(2)).open;
    assert_eq!(w.state.open(shared).unwrap().oplock.level, OplockLevel::LevelII);
    assert_eq!(class(&w, &open(request(b).of(11, "b"))), Class::Volatile);
    assert_eq!(class(&w, &open(request(b).of(11, "b").overwriting())), Class::Persistent);
}

#[test]
fn of_an_open_that_shares_a_lease() {
    let mut w = World::new();
    let a = w.session(1, 1);
    w.opened(request(a).leased(1, R).persistent(1));
    assert_eq!(class(&w, &open(request(a).leased(1, R))), Class::Volatile);
    assert_eq!(class(&w, &open(request(a).leased(1, RWH))), Class::Persistent, "the lease grows for both");
}

#[test]
fn of_a_listing_that_changes() {
    let mut w = World::new();
    let a = w.session(1, 1);
    let changed =
        |by: Option<u8>| Command::DirectoryChanged { parent: file(10), by: by.map(|key| LeaseId { client_guid: guid(1), key: guid(key) }) };
    assert_eq!(class(&w, &changed(None)), Class::Volatile);
    w.opened(request(a).directory().access(READ, ShareAccess::ALL).leased(1, RH).persistent(1));
    assert_eq!(class(&w, &changed(None)), Class::Persistent);
    assert_eq!(class(&w, &changed(Some(1))), Class::Volatile, "who did it knows");
}

/// A deletion is promised by the reply on a continuously available share; taking the promise back must not be forgotten anywhere.
#[test]
fn of_deletions() {
    let mut w = World::new();
    let a = w.session(1, 1);
    let by = a.incarnation;
    let on_close =
        |r: OpenRequest| OpenRequest { create_options: CreateOptions::DELETE_ON_CLOSE, ..r.access(AccessMask::DELETE, ShareAccess::ALL) };
    for (share, expected) in [(1, Class::Persistent), (2, Class::Volatile)] {
        let id = w.opened(request(a).on(share).of(20 + share, "x").access(AccessMask::DELETE, ShareAccess::ALL)).open;
        assert_eq!(class(&w, &Command::SetDeletePending { open: id, on: true, by }), expected);
        assert_eq!(class(&w, &Command::SetDeletePending { open: id, on: false, by }), Class::Volatile, "nothing to take back");
        assert_eq!(w.run(Command::SetDeletePending { open: id, on: true, by }), Outcome::Done);
        assert_eq!(class(&w, &Command::SetDeletePending { open: id, on: false, by }), Class::Persistent);
        let id = w.opened(on_close(request(a).on(share).of(30 + share, "y"))).open;
        assert_eq!(class(&w, &Command::CloseOpen { open: id, by }), expected);
    }
    // A mark asks those to close who keep the file only in case; at the end of a session, too.
    let b = w.session(2, 2);
    w.opened(request(b).of(40, "z").access(READ, ShareAccess::ALL).leased(2, RH).persistent(2));
    let mark = w.opened(on_close(request(a).of(40, "z"))).open;
    let ends = [
        Command::DisconnectOpens { session: a.session, why: DisconnectReason::ConnectionLost },
        Command::DisconnectOpens { session: a.session, why: DisconnectReason::TreeDisconnect(vec![mark]) },
    ];
    ends.iter().for_each(|end| assert_eq!(class(&w, end), Class::Persistent));
}

/// A virtual machine that moves takes its old open from the other host.
#[test]
fn of_an_application_that_moves() {
    let mut w = World::new();
    let (a, b) = (w.session(1, 1), w.session(2, 2));
    let app = |r: OpenRequest| OpenRequest { app_instance: Some(AppInstance { id: guid(9), version: None }), ..r };
    w.opened(app(request(a).persistent(1)));
    assert_eq!(class(&w, &open(app(request(b)))), Class::Persistent);
    assert_eq!(class(&w, &open(app(request(b).of(11, "other")))), Class::Volatile);
}

#[test]
fn of_nodes_users_and_shares() {
    let w = World::new();
    let (node, incarnation) = (NodeId(1), Incarnation(1));
    for word in [
        Command::NodeDown { node, incarnation },
        Command::NodeDrain { node, on: true },
        Command::NodeRemove { node },
        Command::NodeJoin { node, name: "n".into(), addresses: addresses(), boot_id: "b".into() },
        Command::ShareRemove { share: ShareId(1) },
        Command::UserEnable { name: "u".into(), enabled: false },
        Command::TokenUse { hash: [0; 32] },
        Command::AsymmetricShareAdd { name: "s".into(), settings: settings(true, true), owner: None },
        Command::ShareMove { share: ShareId(1), to: None, instead_of: None },
        Command::NodeListen { node, by: incarnation, add: vec![], remove: vec![] },
    ] {
        assert_eq!(class(&w, &word), Class::Persistent, "{word:?}");
    }
}

#[test]
fn an_open_becomes_persistent_by_one_command() {
    let mut w = World::new();
    let a = w.session(1, 1);
    let id = w.opened(request(a).leased(1, RWH).durable(1)).open;
    assert_eq!(w.run(set_class(a, id, Class::Volatile)), Outcome::Done);
    assert_eq!((w.state.open(id).unwrap().class, w.state.open(id).unwrap().durability), (Class::Volatile, Durability::None));
    assert_eq!(class(&w, &lock(a, id)), Class::Volatile);
    assert_eq!(w.run(lock(a, id)), Outcome::LockGranted);

    let up = set_class(a, id, Class::Persistent);
    assert_eq!(class(&w, &up), Class::Persistent, "the class to be");
    assert_eq!(w.run(up), Outcome::Done);
    assert_eq!(class(&w, &lock(a, id)), Class::Persistent);
    assert!(w.state.open(id).unwrap().is_persistent());
    let down = set_class(a, id, Class::Durable);
    assert_eq!(class(&w, &down), Class::Persistent, "the class that was");

    // It survives its node and is found by its CreateGuid, with the lock.
    w.kill(1);
    assert!(w.state.open(id).unwrap().is_detached());
    assert!(!w.state.expiry_due(LogTime(w.now)));
    let again = w.session(1, 2);
    assert!(matches!(w.reclaim(reconnect(again, OpenId(0), 1, Some(1))), Outcome::Reclaimed(_)));
    assert_eq!(w.state.open(id).unwrap().locks.len(), 1);
    assert_eq!(w.run(set_class(a, id, Class::Volatile)), Outcome::Refused(NtStatus::FILE_CLOSED), "not his any more");

    assert_eq!(w.run(set_class(again, id, Class::Durable)), Outcome::Done);
    assert_eq!(w.state.open(id).unwrap().durability, Durability::V2);
    assert_eq!(w.run(set_class(again, id, Class::Volatile)), Outcome::Done);
    w.kill(2);
    assert!(w.state.open(id).is_none(), "nothing is promised any more");
}

#[test]
fn an_upgrade_needs_what_a_create_would_need() {
    let mut w = World::new();
    let a = w.session(1, 1);
    let refused = Outcome::Refused(NtStatus::INVALID_PARAMETER);
    let nameless = w.opened(request(a).leased(1, RWH)).open;
    assert_eq!(w.run(set_class(a, nameless, Class::Persistent)), refused, "no CreateGuid");
    assert_eq!(w.run(set_class(a, nameless, Class::Durable)), Outcome::Done);
    assert_eq!(w.state.open(nameless).unwrap().durability, Durability::V1);
    let elsewhere = w.opened(request(a).on(2).of(11, "b").durable(2)).open;
    assert_eq!(w.run(set_class(a, elsewhere, Class::Persistent)), refused, "not a continuously available share");
    assert_eq!(w.run(set_class(a, elsewhere, Class::Durable)), refused, "neither BATCH nor H");
    let first = w.opened(request(a).of(12, "c").durable(3)).open;
    assert_eq!(w.run(Command::EndReplay { open: first, by: a.incarnation }), Outcome::Done);
    let second = w.opened(request(a).of(13, "d").persistent(3)).open;
    assert_eq!(w.run(set_class(a, first, Class::Persistent)), refused, "its client would find another one by that name");
    w.close(a, second);
    assert_eq!(w.run(set_class(a, first, Class::Persistent)), Outcome::Done);
    assert_eq!(w.state.open(first).unwrap().timeout_ms, 60_000);
}
