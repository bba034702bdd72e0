//! Who may log on, and what ends with that: disabling, removal, another password, too many failures; the cluster's settings.
#![allow(clippy::unwrap_used, reason = "a failing test may panic")]

mod common;
use common::*;
use persistence_model::*;
use smb_types::NtStatus;

/// Ann is the user of client 1, Bob that of client 2.
fn world() -> World {
    let mut w = World::new();
    for (n, name) in [(1, "Ann"), (2, "Bob")] {
        w.run(Command::UserAdd { name: name.into(), nt_hash: [1; 16], sid: Some(user(n)), unix: None });
    }
    w
}

fn enable(enabled: bool) -> Command {
    Command::UserEnable { name: "ANN".into(), enabled }
}

fn failed() -> Command {
    Command::LogonFailed { name: "ann".into() }
}

fn ann(w: &World) -> &User {
    w.state.user_by_name("ann").unwrap()
}

fn set(w: &mut World, change: impl FnOnce(&mut ClusterSettings)) -> Outcome {
    let instead_of = w.state.settings();
    let mut settings = instead_of.clone();
    change(&mut settings);
    w.run(Command::ClusterSet { settings, instead_of: Box::new(instead_of) })
}

#[test]
fn a_user_that_is_shut_out_has_nothing_open_any_more() {
    for command in [enable(false), Command::UserRemove { name: "ann".into() }] {
        let mut w = world();
        let (here, there, gone) = (w.session(1, 1), w.session(1, 2), w.session(1, 3));
        let bobs = w.session(2, 1);
        let plain = w.opened(request(here)).open;
        let persistent = w.opened(request(there).of(11, "b").persistent(1)).open;
        let away = w.opened(request(gone).of(12, "c").persistent(2)).open;
        let his = w.opened(request(bobs).of(13, "d").persistent(3)).open;
        w.lose(gone);
        assert!(w.state.open(away).unwrap().is_detached());
        // Nobody may open what is only for her; with her it is free.
        w.opened(request(there).of(14, "e").access(RW_ACCESS, smb_types::ShareAccess::NONE).persistent(4));
        assert_eq!(w.refused(request(bobs).of(14, "e")), NtStatus::SHARING_VIOLATION);
        assert_eq!(w.run(command.clone()), Outcome::Done);
        for open in [plain, persistent, away] {
            assert!(w.state.open(open).is_none(), "{command:?}");
        }
        assert!(w.state.open(his).is_some() && w.state.session(bobs.session).is_some());
        assert!(w.state.sessions().all(|session| *session.user != user(1)));
        // Every node hears of its own, and the operator's answer waits for them.
        for at in [here, there] {
            assert!(w.last.events.contains(&Event::SessionEnded { session: at.session, node: at.node }));
        }
        assert!(w.last.events.contains(&Event::OpenTaken { open: persistent, node: there.node, incarnation: there.incarnation }));
        assert_eq!(w.last.interested, [NodeId(1), NodeId(2)]);
        assert!(w.last.events.contains(&Event::UserChanged { name: "Ann".into() }));
        w.opened(request(bobs).of(14, "e"));
    }
}

#[test]
fn what_a_shut_out_user_was_to_delete_is_deleted() {
    let mut w = world();
    let here = w.session(1, 2);
    let mut gone = request(here).access(smb_types::AccessMask::DELETE, smb_types::ShareAccess::ALL);
    gone.create_options = smb_types::CreateOptions::DELETE_ON_CLOSE;
    w.opened(gone);
    w.run(enable(false));
    let due = w.last.events.iter().find_map(|event| if let Event::DeleteDue { delete } = event { Some(delete) } else { None });
    assert_eq!(due.unwrap().file, file(10));
}

#[test]
fn another_password_ends_sessions_and_keeps_durable_handles() {
    let mut w = world();
    let here = w.session(1, 1);
    let plain = w.opened(request(here)).open;
    let persistent = w.opened(request(here).of(11, "a.txt").persistent(1)).open;
    let before = ann(&w).generation;
    assert_eq!(w.run(Command::UserSetPassword { name: "ann".into(), nt_hash: [2; 16] }), Outcome::Done);
    assert_ne!(ann(&w).generation, before);
    assert!(w.state.session(here.session).is_none() && w.state.open(plain).is_none());
    assert!(w.state.open(persistent).unwrap().is_detached());
    let again = w.session(1, 2);
    assert!(matches!(w.reclaim(reconnect(again, persistent, 1, None)), Outcome::Reclaimed(_)), "whoever knows the new one has them back");
}

#[test]
fn sessions_of_a_dead_node_end_with_it() {
    let mut w = world();
    let there = w.session(1, 3);
    let open = w.opened(request(there).persistent(1)).open;
    // The life is over, and nothing of it has had its turn.
    w.run(Command::NodeEnd { node: there.node, incarnation: there.incarnation, at_most: 1 });
    w.run(Command::UserSetPassword { name: "ann".into(), nt_hash: [2; 16] });
    assert!(w.state.open(open).unwrap().is_detached());
    w.run(enable(false));
    assert!(w.state.open(open).is_none());
    w.run(Command::NodeEnd { node: there.node, incarnation: there.incarnation, at_most: 10 });
    assert!(w.state.sessions().next().is_none());
}

#[test]
fn what_ends_no_session_leaves_the_generation_as_it_is() {
    let mut w = world();
    let here = w.session(1, 1);
    let before = ann(&w).generation;
    w.run(enable(true));
    w.run(Command::UserMap { name: "ann".into(), unix: Some(UnixUser { uid: 7, gid: None }) });
    w.run(Command::UserUnlock { name: "ann".into() });
    assert_eq!(ann(&w).generation, before);
    assert!(w.state.session(here.session).is_some());
    w.run(enable(false));
    let shut_out = ann(&w).generation;
    assert_ne!(shut_out, before);
    w.run(enable(false));
    assert_eq!(ann(&w).generation, shut_out, "twice is once");
}

#[test]
fn too_many_failures_lock_an_account_out_for_a_time() {
    let mut w = world();
    assert_eq!(w.run(failed()), Outcome::Done);
    assert_eq!(ann(&w).failures, LogonFailures::default(), "nothing is counted while there is no lockout");
    assert_eq!(set(&mut w, |s| (s.lockout_threshold, s.lockout_minutes) = (3, 10)), Outcome::Done);
    assert!(w.last.events.contains(&Event::SettingsChanged));
    let here = w.session(1, 1);
    w.run(failed());
    w.run(failed());
    assert!(!ann(&w).is_locked_out() && w.last.events.is_empty(), "counting concerns nobody");
    w.run(Command::LogonSucceeded { name: "Ann".into() });
    assert_eq!(ann(&w).failures.count, 0, "a success is a new beginning");
    for _ in 0..3 {
        w.run(failed());
    }
    assert!(ann(&w).is_locked_out() && w.last.events == [Event::UserChanged { name: "Ann".into() }]);
    assert!(w.state.session(here.session).is_some(), "who is in stays in");
    w.run(Command::LogonSucceeded { name: "ann".into() });
    assert!(ann(&w).is_locked_out(), "one that was on its way opens nothing");
    // Loaded again it is the same, with the time of its end.
    let loaded = State::load(w.state.all_records()).unwrap();
    assert_eq!((&loaded, loaded.next_expiry()), (&w.state, Some(LogTime(w.now + 600_000))));
    w.now += 599_999;
    w.run(Command::Expire);
    assert!(ann(&w).is_locked_out());
    w.now += 1;
    w.run(Command::ExpireSome { at_most: 1 });
    assert_eq!(ann(&w).failures, LogonFailures::default());
    assert!(w.last.events.contains(&Event::UserChanged { name: "Ann".into() }));
    assert_eq!(w.state.next_expiry(), None);
}

#[test]
fn failures_are_forgotten_after_a_while_and_operators_let_in_at_once() {
    let mut w = world();
    set(&mut w, |s| (s.lockout_threshold, s.lockout_minutes) = (2, 1));
    w.run(failed());
    w.now += 60_000;
    w.run(failed());
    assert_eq!(ann(&w).failures.count, 1);
    for let_in in
        [Command::UserUnlock { name: "ann".into() }, enable(true), Command::UserSetPassword { name: "ann".into(), nt_hash: [3; 16] }]
    {
        w.run(failed());
        w.run(failed());
        assert!(ann(&w).is_locked_out());
        assert_eq!(w.run(let_in), Outcome::Done);
        assert_eq!((ann(&w).failures, w.state.next_expiry()), (LogonFailures::default(), None));
    }
    for command in [failed(), Command::LogonSucceeded { name: "ann".into() }, Command::UserUnlock { name: "ann".into() }] {
        let mut w = World::new();
        assert_eq!(w.run(command), Outcome::Rejected(Rejection::NoSuchUser));
    }
}

#[test]
fn settings_are_changed_from_what_they_are() {
    let mut w = World::new();
    let first = w.state.settings();
    assert!(first.signing_required && !first.encryption_required && !first.list_anonymously && first.lockout_threshold == 0);
    let other = ClusterSettings { signing_required: false, ..first.clone() };
    let change = |settings: &ClusterSettings, from: &ClusterSettings| Command::ClusterSet {
        settings: settings.clone(),
        instead_of: Box::new(from.clone()),
    };
    assert_eq!((w.run(change(&other, &first)), w.state.settings()), (Outcome::Done, other.clone()));
    assert_eq!(w.run(change(&first, &first)), Outcome::Rejected(Rejection::Changed), "somebody else was faster");
    assert_eq!(w.run(change(&other, &other)), Outcome::Done);
    assert!(w.last.events.is_empty(), "nothing has changed");
    let senseless = [
        ClusterSettings { lockout_minutes: 0, ..other.clone() },
        ClusterSettings { lockout_minutes: 10_081, ..other.clone() },
        ClusterSettings { lockout_threshold: 1001, ..other.clone() },
    ];
    for settings in senseless {
        assert_eq!(w.run(change(&settings, &other)), Outcome::Rejected(Rejection::InvalidSetting));
    }
    assert_eq!(State::load(w.state.all_records()).unwrap().settings(), other);
}
