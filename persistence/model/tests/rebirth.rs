//! A new cluster that begins with a backup: what goes on, what is over, and that nothing is given twice.
#![allow(clippy::unwrap_used, reason = "a failing test may panic")]

mod common;
use common::*;
use persistence_model::*;
use smb_types::ShareAccess;

/// Three nodes at work: plain, durable and persistent opens, a file on its way out, a user, a token.
fn busy() -> (World, At, OpenId) {
    let mut w = World::new();
    w.run(Command::UserAdd { name: "Ann".into(), nt_hash: [7; 16], sid: None, unix: None });
    w.run(Command::TokenAdd { hash: [9; 32], ttl_ms: 60_000 });
    let (a, b) = (w.session(1, 1), w.session(2, 2));
    let kept = w.opened(request(a).persistent(1).access(RW_ACCESS, ShareAccess::ALL).leased(1, RWH)).open;
    assert_eq!(w.lock(a, kept, 0, 10, true), Outcome::LockGranted);
    let going = w.opened(request(b).of(77, "going.txt")).open;
    assert_eq!(w.run(Command::SetDeletePending { open: going, on: true, by: b.incarnation }), Outcome::Done);
    (w, a, kept)
}

fn join_first(state: &mut State, now: u64) -> Incarnation {
    let join = Command::NodeJoin { node: NodeId(1), name: "n".into(), addresses: addresses(), boot_id: "b".into() };
    match state.apply(LogTime(now), &join).outcome {
        Outcome::Joined { incarnation } => incarnation,
        other => panic!("{other:?}"),
    }
}

#[test]
fn accounts_and_shares_go_on_and_the_rest_is_over() {
    let (w, _, _) = busy();
    let old = w.state.clone();
    let (mut state, left) = w.state.reborn(LogTime(5000), &Rebirth::default()).unwrap();
    assert_eq!(left, LeftBehind { nodes: 3, sessions: 2, opens: 2, opens_kept: 0, deletes: 1 });
    assert_eq!(state.users().collect::<Vec<_>>(), old.users().collect::<Vec<_>>());
    assert_eq!(state.shares().collect::<Vec<_>>(), old.shares().collect::<Vec<_>>());
    assert_eq!(state.cluster().unwrap().net_name, "HOLDFAST");
    assert_eq!(state.cluster().unwrap().server_guid, guid(0xC1));
    assert_eq!((state.nodes().count(), state.sessions().count(), state.opens().count(), state.files().count()), (0, 0, 0, 0));
    assert_eq!(state.pending_deletes().count(), 0, "what the old cluster wanted to remove may be wanted again");
    let spent = state.apply(LogTime(5001), &Command::TokenUse { hash: [9; 32] }).outcome;
    assert_eq!(spent, Outcome::Rejected(Rejection::TokenInvalid));
}

#[test]
fn nothing_is_given_twice() {
    let (mut w, _, kept) = busy();
    let backup = w.state.clone();
    // The old cluster goes on for a while after the backup.
    w.kill(3);
    let late = w.join(3);
    let c = w.session(3, 3);
    let late_open = w.opened(request(c).of(99, "late.txt")).open;
    let Outcome::UserAdded { sid: late_sid } = w.run(Command::UserAdd { name: "Late".into(), nt_hash: [1; 16], sid: None, unix: None })
    else {
        panic!("no user");
    };
    let (mut state, _) = backup.reborn(LogTime(5000), &Rebirth::default()).unwrap();
    let first = join_first(&mut state, 6000);
    assert!(first > late, "{first:?} is not {late:?} again");
    let next_open = state.cluster().unwrap().next_open;
    assert!(next_open > late_open.0 && next_open > kept.0);
    let Outcome::UserAdded { sid } =
        state.apply(LogTime(6001), &Command::UserAdd { name: "New".into(), nt_hash: [2; 16], sid: None, unix: None }).outcome
    else {
        panic!("no user");
    };
    assert_ne!(sid, late_sid, "files of a forgotten user do not become another's");
}

#[test]
fn persistent_handles_wait_for_their_clients_when_they_shall() {
    let (w, a, open) = busy();
    let (mut state, left) = w.state.reborn(LogTime(5000), &Rebirth { keep_handles: true, ..Rebirth::default() }).unwrap();
    assert_eq!((left.opens_kept, left.opens), (1, 1));
    let record = state.open(open).unwrap();
    assert_eq!((record.away.as_ref().map(|away| away.since), record.locks.len()), (Some(LogTime(5000)), 1));
    let incarnation = join_first(&mut state, 5010);
    let session = SessionId::of(incarnation, 1);
    let opened = Command::SessionOpen {
        session,
        node: NodeId(1),
        incarnation,
        client_guid: guid(1),
        user: user(1),
        user_name: "u".into(),
        client_address: "c".into(),
        previous_session: Some(a.session),
    };
    assert!(matches!(state.apply(LogTime(5020), &opened).outcome, Outcome::SessionOpened { .. }));
    let back = At { client: 1, node: NodeId(1), incarnation, session };
    let reclaimed = state.apply(LogTime(5030), &Command::ReclaimOpen(Box::new(reconnect(back, open, 1, Some(1))))).outcome;
    assert!(matches!(&reclaimed, Outcome::Reclaimed(grant) if grant.open == open), "{reclaimed:?}");
    state.check_invariants().unwrap();
}

#[test]
fn a_copy_gets_its_own_name() {
    let (w, _, _) = busy();
    let renamed = Some(("COPY".to_owned(), guid(0xC2)));
    let (state, _) = w.state.reborn(LogTime(5000), &Rebirth { renamed, ..Rebirth::default() }).unwrap();
    assert_eq!((state.cluster().unwrap().net_name.as_str(), state.cluster().unwrap().server_guid), ("COPY", guid(0xC2)));
    assert!(State::new().reborn(LogTime(1), &Rebirth::default()).is_err(), "a backup without a cluster is none");
}
