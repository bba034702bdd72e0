//! Leases and oplocks: what is granted, what breaks what, how breaks end.
// MS-FSA 2.1.4.12, 2.1.5.18
#![allow(clippy::unwrap_used, reason = "a failing test may panic")]

mod common;
use common::*;
use persistence_model::*;
use smb_types::{AccessMask, LeaseState, NtStatus, OplockLevel, ShareAccess};

const STAT: AccessMask = AccessMask(0x80);

#[test]
fn grants_on_an_undisturbed_file() {
    for (share, directory, ask, got) in [
        (1, false, NONE, NONE),
        (1, false, R, R),
        (1, false, RW, RW),
        (1, false, RH, RH),
        (1, false, RWH, RWH),
        (1, false, LeaseState(6), NONE),
        (3, false, RWH, R),
        (1, true, RW, R),
        (1, true, RWH, RH),
        (3, true, RWH, NONE),
    ] {
        let mut w = World::new();
        let a = w.session(1, 1);
        let mut r = request(a).on(share).leased(1, ask);
        r.is_directory = directory;
        let lease = w.opened(r).lease.unwrap();
        assert_eq!((lease.state, lease.epoch), (got, u16::from(got != NONE)), "share {share}, directory {directory}, {ask:?}");
    }
}

#[test]
fn an_open_ends_write_caching_and_an_overwrite_all() {
    let mut w = World::new();
    let (a, b) = (w.session(1, 1), w.session(2, 2));
    let one = w.opened(request(a).leased(1, RWH)).open;
    w.waits(request(b).leased(2, RWH));
    assert_eq!(w.breaks(), [(RH, true)]);
    w.waits(request(b).leased(2, RWH));
    assert!(w.breaks().is_empty(), "one break is announced once");
    assert_eq!(w.ack(1, 1, RWH), Outcome::Refused(NtStatus::REQUEST_NOT_ACCEPTED));
    assert_eq!(w.ack(1, 1, RH), Outcome::LeaseAcked { state: RH });
    assert_eq!(w.ack(1, 1, RH), Outcome::Refused(NtStatus::UNSUCCESSFUL));
    assert_eq!(w.ack(1, 9, RH), Outcome::Refused(NtStatus::OBJECT_NAME_NOT_FOUND));
    let two = w.opened(request(b).leased(2, RWH));
    assert_eq!(two.lease.unwrap().state, RH);
    assert_eq!(w.last.interested, [NodeId(1)]);
    // Same key: shared, not broken; no upgrade beside another holder.
    assert_eq!(w.opened(request(a).leased(1, RWH)).lease.unwrap().state, RH);
    // An overwrite takes all from others, without waiting for RH.
    w.opened(request(a).leased(1, RH).overwriting());
    assert_eq!(w.breaks(), [(NONE, true)]);
    assert_eq!(w.lease(1, 1).state, RH);
    w.close(b, two.open);
    assert_eq!(w.opened(request(a).leased(1, RWH)).lease.unwrap().state, RWH, "alone again: upgraded");
    w.close(a, one);
}

#[test]
fn a_second_break_follows_the_first() {
    let mut w = World::new();
    let (a, b) = (w.session(1, 1), w.session(2, 2));
    w.opened(request(a).leased(1, RWH));
    w.waits(request(b));
    w.waits(request(b).overwriting());
    let epoch = w.lease(1, 1).epoch;
    assert_eq!(w.ack(1, 1, RH), Outcome::LeaseAcked { state: RH });
    // windows: by way of R, and whoever comes meanwhile waits for all of it.
    assert_eq!(w.breaks(), [(R, true)]);
    assert_eq!(w.lease(1, 1).epoch, epoch);
    w.waits(request(b));
    w.waits(request(b).overwriting());
    assert_eq!(w.ack(1, 1, R), Outcome::LeaseAcked { state: R });
    assert_eq!(w.breaks(), [(NONE, false)]);
    assert_eq!((w.lease(1, 1).state, w.lease(1, 1).epoch), (NONE, epoch), "all steps are one change");
    w.opened(request(b).overwriting());
}

#[test]
fn a_directory_lease_is_known_by_its_key() {
    let mut w = World::new();
    let (a, b) = (w.session(1, 1), w.session(2, 2));
    let directory = |at, key| request(at).of(20, "d").directory().access(READ, ShareAccess::ALL).leased(key, RH);
    w.opened(directory(a, 1));
    w.opened(directory(b, 2));
    let changed =
        |client, key| Command::DirectoryChanged { parent: file(20), by: Some(LeaseId { client_guid: guid(client), key: guid(key) }) };
    // windows: another client that names the key spares it, too.
    w.run(changed(2, 1));
    assert_eq!((w.lease(1, 1).breaking, w.lease(2, 2).breaking), (false, true));
    w.run(changed(1, 9));
    assert_eq!(w.breaks(), [(NONE, true)], "only the one that was not being broken yet");
    assert_eq!(w.ack(1, 1, NONE), Outcome::LeaseAcked { state: NONE });
    w.ack(2, 2, NONE);
    assert_eq!(w.opened(directory(a, 1)).lease.unwrap().state, RH, "and it is granted again");
}

#[test]
fn read_control_keeps_others_from_caching_writes() {
    let mut w = World::new();
    let (a, b) = (w.session(1, 1), w.session(2, 2));
    w.opened(request(b).access(STAT | AccessMask::READ_CONTROL, ShareAccess::ALL));
    assert_eq!(w.opened(request(a).leased(1, RWH)).lease.unwrap().state, RH);
}

#[test]
fn locks_of_a_holder_that_reads_from_its_cache_let_others_cache() {
    for (overwrites, got) in [(false, RH), (true, RH)] {
        let mut w = World::new();
        let (a, b) = (w.session(1, 1), w.session(2, 2));
        let one = w.opened(request(a).leased(1, RWH)).open;
        assert_eq!(w.lock(a, one, 0, 1, true), Outcome::LockGranted);
        let mut wish = request(b).leased(2, RWH);
        wish.overwrites = overwrites;
        w.waits(wish.clone());
        w.ack(1, 1, if overwrites { NONE } else { RH });
        assert_eq!(w.opened(wish).lease.unwrap().state, got);
    }
    // Nobody can tell a holder without a lease; a persistent one has to find its locks as it left them.
    for persistent in [false, true] {
        let mut w = World::new();
        let (a, b) = (w.session(1, 1), w.session(2, 2));
        let one = if persistent { request(a).leased(1, RH).persistent(1) } else { request(a) };
        let one = w.opened(one).open;
        assert_eq!(w.lock(a, one, 0, 1, true), Outcome::LockGranted);
        assert_eq!(w.opened(request(b).leased(2, RH)).lease.unwrap().state, NONE);
    }
}

#[test]
fn a_directory_moves_when_its_files_are_closed_one_after_the_other() {
    let mut w = World::new();
    let (a, b) = (w.session(1, 1), w.session(2, 2));
    let directory = w.opened(request(a).of(20, "d").directory().access(AccessMask::DELETE, ShareAccess::ALL)).open;
    let one = w.opened(request(b).of(21, "d\\one").leased(1, RH)).open;
    let two = w.opened(request(b).of(22, "d\\two").leased(2, RH)).open;
    let intent = Command::RenameIntent { open: directory, new_path: "e".into(), replace: false, target: None, by: a.incarnation };
    assert_eq!(w.run(intent.clone()), Outcome::MustWait { file: file(21) });
    assert_eq!(w.breaks(), [(R, true)], "one question at a time");
    w.close(b, one);
    assert_eq!(w.run(intent.clone()), Outcome::MustWait { file: file(22) });
    assert_eq!(w.breaks(), [(R, true)]);
    w.close(b, two);
    assert_eq!(w.run(intent), Outcome::Done);
}

#[test]
fn h_breaks_on_a_conflict_only_and_the_tries_come_to_an_end() {
    for close in [true, false] {
        let mut w = World::new();
        let (a, b) = (w.session(1, 1), w.session(2, 2));
        let open = w.opened(request(a).leased(1, RWH).access(RW_ACCESS, ShareAccess::NONE)).open;
        w.waits(request(b));
        assert_eq!(w.breaks(), [(RW, true)]);
        if close {
            w.close(a, open);
            w.opened(request(b));
        } else {
            w.ack(1, 1, RW);
            assert_eq!(w.refused(request(b)), NtStatus::SHARING_VIOLATION);
        }
    }
    let mut w = World::new();
    let (a, b) = (w.session(1, 1), w.session(2, 2));
    w.opened(request(a).leased(1, RW).access(RW_ACCESS, ShareAccess::NONE));
    assert_eq!(w.refused(request(b)), NtStatus::SHARING_VIOLATION);
    assert!(w.breaks().is_empty());
    assert_eq!(w.refused(request(a).leased(1, RW)), NtStatus::SHARING_VIOLATION, "one's own lease does not help");
}

#[test]
fn attribute_opens_disturb_nobody() {
    let mut w = World::new();
    let (a, b) = (w.session(1, 1), w.session(2, 2));
    w.opened(request(b).access(STAT, ShareAccess::NONE));
    let g = w.opened(request(a).leased(1, RWH));
    assert_eq!(g.lease.unwrap().state, RWH);
    w.opened(request(b).access(STAT | AccessMask::READ_CONTROL, ShareAccess::NONE));
    assert!(w.breaks().is_empty());
    // For plain oplocks READ_CONTROL counts.
    w.opened(request(a).of(11, "b").oplock(OplockLevel::Batch));
    w.opened(request(b).of(11, "b").access(STAT, ShareAccess::ALL));
    w.waits(request(b).of(11, "b").access(AccessMask::READ_CONTROL, ShareAccess::ALL));
}

#[test]
fn oplocks_break_and_are_acknowledged() {
    let mut w = World::new();
    let (a, b) = (w.session(1, 1), w.session(2, 2));
    let g = w.opened(request(a).oplock(OplockLevel::Batch).access(RW_ACCESS, ShareAccess::NONE));
    assert_eq!(g.oplock, OplockLevel::Batch);
    // BATCH gives way even where share modes say no.
    w.waits(request(b));
    let ack = |level| Command::OplockAck { open: g.open, level, by: a.incarnation };
    let broken = Event::OplockBreak { open: g.open, node: a.node, session: a.session, level: OplockLevel::LevelII, ack_required: true };
    assert!(w.last.events.contains(&broken));
    assert_eq!(w.run(ack(OplockLevel::LevelII)), Outcome::OplockAcked { level: OplockLevel::LevelII });
    assert_eq!(w.run(ack(OplockLevel::LevelII)), Outcome::Refused(NtStatus::INVALID_OPLOCK_PROTOCOL));
    assert_eq!(w.refused(request(b)), NtStatus::SHARING_VIOLATION);
    // LEVEL_II beside LEVEL_II; a write ends all of them at once, the writer's own too; a nonsensical acknowledgement costs the oplock.
    let x = w.opened(request(a).of(11, "b").oplock(OplockLevel::Exclusive)).open;
    w.waits(request(b).of(11, "b").oplock(OplockLevel::Exclusive));
    let nonsense = Command::OplockAck { open: x, level: OplockLevel::Exclusive, by: a.incarnation };
    assert_eq!(w.run(nonsense), Outcome::Refused(NtStatus::INVALID_OPLOCK_PROTOCOL));
    assert_eq!(w.state.open(x).unwrap().oplock.level, OplockLevel::None);
    let y = w.opened(request(b).of(11, "b").oplock(OplockLevel::Exclusive));
    assert_eq!(y.oplock, OplockLevel::LevelII);
    assert!(w.state.must_break_for(&file(11), x, IoKind::Write) && w.state.must_break_for(&file(11), y.open, IoKind::Write));
    assert!(!w.state.must_break_for(&file(11), y.open, IoKind::Read), "reading disturbs nobody's LEVEL_II");
    assert_eq!(w.run(Command::BreakForIo { file: file(11), by_open: Some(x), kind: IoKind::Write }), Outcome::Done);
    assert_eq!(w.state.open(y.open).unwrap().oplock.level, OplockLevel::None);
    assert!(!w.state.must_break_for(&file(11), x, IoKind::Write));
    // H does not go with LEVEL_II.
    let z = w.opened(request(a).of(12, "c").oplock(OplockLevel::LevelII));
    assert_eq!(z.oplock, OplockLevel::LevelII);
    assert_eq!(w.opened(request(b).of(12, "c").leased(7, RWH)).lease.unwrap().state, R);
}

#[test]
fn io_takes_what_it_makes_untrue() {
    use IoKind::*;
    for (kind, held, left, waits) in [
        (Read, RH, RH, false),
        (Write, R, NONE, false),
        (Write, RH, NONE, false),
        (SetSize, RH, NONE, false),
        (Rename, RH, R, true),
        (Delete, RH, R, true),
        (Security, RH, R, true),
        (Delete, R, R, false),
    ] {
        let mut w = World::new();
        let (a, b) = (w.session(1, 1), w.session(2, 2));
        let by = w.opened(request(a)).open;
        w.opened(request(b).leased(2, held));
        assert_eq!(w.state.must_break_for(&file(10), by, kind), held != left, "{kind:?} {held:?}");
        let outcome = w.run(Command::BreakForIo { file: file(10), by_open: Some(by), kind });
        assert_eq!(matches!(outcome, Outcome::MustWait { .. }), waits, "{kind:?} {held:?}");
        let expected: &[(LeaseState, bool)] = if held == left { &[] } else { &[(left, held != R)] };
        assert_eq!(w.breaks(), expected, "{kind:?} {held:?}");
        assert_eq!(w.state.must_break_for(&file(10), by, kind), waits);
        if held == RH && left != held {
            w.ack(2, 2, left);
        }
        assert_eq!(w.run(Command::BreakForIo { file: file(10), by_open: Some(by), kind }), Outcome::Done);
    }
}

#[test]
fn breaks_end_without_their_client() {
    let mut w = World::new();
    let (a, b) = (w.session(1, 1), w.session(2, 2));
    let lease = LeaseId { client_guid: guid(1), key: guid(1) };
    let open = w.opened(request(a).leased(1, RWH)).open;
    w.waits(request(b));
    w.now += 35_000;
    assert_eq!(w.run(Command::Expire), Outcome::Expired { opens: vec![], breaks: 1 });
    assert_eq!(w.lease(1, 1).state, NONE);
    w.opened(request(b));
    assert!(w.state.open(open).is_some(), "the handle stays");
    // Undeliverable: without a promise the open goes.
    let open = w.opened(request(a).of(11, "b").leased(2, RWH)).open;
    w.waits(request(b).of(11, "b"));
    assert_eq!(w.run(Command::BreakUndeliverable { target: BreakTarget::Lease(lease) }), Outcome::Rejected(Rejection::NoSuchRecord));
    let lease = LeaseId { client_guid: guid(1), key: guid(2) };
    assert_eq!(w.run(Command::BreakUndeliverable { target: BreakTarget::Lease(lease) }), Outcome::Done);
    assert!(w.state.open(open).is_none());
    w.opened(request(b).of(11, "b"));
    // A persistent one keeps everything until its client is back.
    let open = w.opened(request(a).of(12, "c").persistent(1).leased(3, RWH)).open;
    w.waits(request(b).of(12, "c"));
    let lease = LeaseId { client_guid: guid(1), key: guid(3) };
    w.run(Command::BreakUndeliverable { target: BreakTarget::Lease(lease) });
    assert!(w.state.open(open).is_some() && w.lease(1, 3).state == RWH && w.lease(1, 3).notification_pending);
    w.waits(request(b).of(12, "c"));
}

#[test]
fn one_key_one_file() {
    let mut w = World::new();
    let a = w.session(1, 1);
    w.opened(request(a).leased(1, RH));
    assert_eq!(w.refused(request(a).of(11, "b").leased(1, RH)), NtStatus::INVALID_PARAMETER);
    let b = w.session(2, 1);
    w.opened(request(b).of(11, "b").leased(1, RH));
    assert_eq!(w.lease(2, 1).state, RH, "keys of two clients have nothing to do with each other");
}

#[test]
fn directory_leases() {
    let mut w = World::new();
    let (a, b) = (w.session(1, 1), w.session(2, 2));
    for at in [a, b] {
        w.opened(request(at).of(5, "dir").directory().access(READ, ShareAccess::ALL).leased(at.client, RH));
    }
    let by = Some(LeaseId { client_guid: guid(1), key: guid(1) });
    w.run(Command::DirectoryChanged { parent: file(5), by });
    assert_eq!(w.breaks(), [(NONE, true)]);
    assert!(w.lease(2, 2).breaking && !w.lease(1, 1).breaking);
}
