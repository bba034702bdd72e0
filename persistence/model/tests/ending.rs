//! A life that ends in parts (`NodeEnd`): what is seen of it meanwhile. That it comes to the same as an end at once is tested in `random.rs`.
#![allow(clippy::unwrap_used, reason = "a failing test may panic")]

mod common;
use common::*;
use persistence_model::*;
use smb_types::{NtStatus, ShareAccess};

const DEAD: NodeId = NodeId(2);

/// A client of node 2 with persistent opens of the files 10 to 14, one each.
fn five() -> (World, At, Vec<OpenId>) {
    let mut w = World::new();
    let at = w.session(1, DEAD.0);
    let opens = (10..15u8).map(|n| w.opened(request(at).of(u64::from(n), &format!("f{n}")).leased(n, RWH).persistent(n)).open).collect();
    (w, at, opens)
}

fn end(w: &mut World, at: At, at_most: u32) -> Outcome {
    w.run(Command::NodeEnd { node: DEAD, incarnation: at.incarnation, at_most })
}

fn left(w: &World) -> usize {
    w.state.opens_of_node(DEAD).count()
}

#[test]
fn the_oldest_have_their_turn_first() {
    let (mut w, at, opens) = five();
    assert_eq!(end(&mut w, at, 2), Outcome::Done);
    assert!(
        w.last.events.contains(&Event::NodeDown { node: DEAD, incarnation: at.incarnation }),
        "the first part says that the node is dead"
    );
    assert!(!w.state.node(DEAD).unwrap().is_live() && w.state.is_ending(DEAD));
    let detached: Vec<bool> = opens.iter().map(|id| w.state.open(*id).unwrap().is_detached()).collect();
    assert_eq!(detached, [true, true, false, false, false]);
    w.now += 500;
    assert_eq!(end(&mut w, at, 2), Outcome::Done);
    assert!(!w.last.events.iter().any(|e| matches!(e, Event::NodeDown { .. })), "nobody dies twice");
    assert_eq!(left(&w), 1);
    assert_eq!(end(&mut w, at, 2), Outcome::Done);
    assert!(w.last.events.contains(&Event::SessionEnded { session: at.session, node: DEAD }));
    assert!(!w.state.is_ending(DEAD));
    let away: Vec<_> = opens.iter().map(|id| w.state.open(*id).unwrap().away.as_ref().map(|away| away.since)).collect();
    assert_eq!(away, [Some(LogTime(1000)); 5], "their time runs from the death of their node");
    assert_eq!(end(&mut w, at, 2), Outcome::Rejected(Rejection::StaleIncarnation));
}

#[test]
fn at_least_one_has_its_turn() {
    let (mut w, at, _) = five();
    end(&mut w, at, 0);
    assert_eq!(left(&w), 4);
}

#[test]
fn a_client_finds_its_handle_before_its_turn() {
    let (mut w, at, opens) = five();
    end(&mut w, at, 1);
    let again = w.session(1, 1);
    let back = ReclaimRequest { path: "f14".into(), ..reconnect(again, opens[4], 14, Some(14)) };
    assert!(matches!(w.reclaim(back), Outcome::Reclaimed(_)));
    assert_eq!((left(&w), w.state.open(opens[4]).unwrap().owner.unwrap().node), (3, NodeId(1)));
    // The rest comes to its end, and what was reclaimed stays.
    end(&mut w, at, 10);
    assert_eq!(w.state.open(opens[4]).unwrap().owner.unwrap().node, NodeId(1));
}

#[test]
fn a_client_logs_on_anew_before_its_old_session_has_its_turn() {
    let (mut w, at, opens) = five();
    end(&mut w, at, 1);
    let again = w.session_after(1, 3, Some(at.session));
    assert_eq!(w.last.outcome, Outcome::SessionOpened { ended: None }, "that session went with its node");
    assert!(!w.state.is_ending(DEAD));
    assert!(opens.iter().all(|id| w.state.open(*id).unwrap().is_detached()));
    assert_eq!(again.node, NodeId(3));
}

#[test]
fn a_handle_without_promise_is_in_nobodys_way() {
    let mut w = World::new();
    let (at, other) = (w.session(1, DEAD.0), w.session(2, 1));
    w.opened(request(at).of(9, "first"));
    w.opened(request(at).access(RW_ACCESS, ShareAccess(0)));
    assert_eq!(w.refused(request(other)), NtStatus::SHARING_VIOLATION);
    end(&mut w, at, 1);
    assert_eq!(left(&w), 1);
    w.opened(request(other));
    assert_eq!(left(&w), 0);
}

#[test]
fn locks_of_the_dead_are_in_nobodys_way_unless_they_are_kept() {
    let mut w = World::new();
    let (at, other) = (w.session(1, DEAD.0), w.session(2, 1));
    w.opened(request(at).of(9, "first"));
    let plain = w.opened(request(at)).open;
    let kept = w.opened(request(at).persistent(7)).open;
    let reader = w.opened(request(other)).open;
    assert_eq!((w.lock(at, plain, 0, 10, true), w.lock(at, kept, 50, 10, true)), (Outcome::LockGranted, Outcome::LockGranted));
    let blocked = |w: &World, offset| w.state.lock_conflict(&file(10), reader, offset, 10, false);
    assert_eq!((blocked(&w, 0), blocked(&w, 50)), (true, true));
    end(&mut w, at, 1);
    assert_eq!(left(&w), 2, "neither has had its turn");
    assert_eq!((blocked(&w, 0), blocked(&w, 50)), (false, true));
    end(&mut w, at, 10);
    assert_eq!((blocked(&w, 0), blocked(&w, 50)), (false, true));
}

#[test]
fn what_has_its_turn_is_on_the_disks_of_a_majority_as_the_death_is() {
    let mut w = World::new();
    let (at, other) = (w.session(1, DEAD.0), w.session(2, 1));
    w.opened(request(at).of(9, "first"));
    w.opened(request(at));
    let plain = Command::OpenFile(Box::new(request(other)));
    assert_eq!(plain.class(&w.state), Class::Volatile);
    end(&mut w, at, 1);
    assert_eq!(plain.class(&w.state), Class::Persistent, "it closes a handle of the dead, who may have wanted the file deleted");
    let elsewhere = Command::OpenFile(Box::new(request(other).of(77, "else")));
    assert_eq!(elsewhere.class(&w.state), Class::Volatile);
    w.run(plain.clone());
    assert_eq!(plain.class(&w.state), Class::Volatile);
}

#[test]
fn a_dead_node_does_nothing_more() {
    let (mut w, at, opens) = five();
    end(&mut w, at, 1);
    assert_eq!(w.lock(at, opens[4], 0, 1, true), Outcome::Refused(NtStatus::FILE_CLOSED));
    assert_eq!(w.run(Command::CloseOpen { open: opens[3], by: at.incarnation }), Outcome::Refused(NtStatus::FILE_CLOSED));
    assert!(opens.iter().all(|id| w.state.open(*id).is_some()));
}

#[test]
fn a_node_leaves_and_returns_only_without_a_rest() {
    let (mut w, at, opens) = five();
    end(&mut w, at, 1);
    assert_eq!(w.run(Command::NodeRemove { node: DEAD }), Outcome::Rejected(Rejection::NodeIsLive));
    assert_eq!(w.run(Command::NodeDown { node: DEAD, incarnation: at.incarnation }), Outcome::Rejected(Rejection::StaleIncarnation));
    w.join(DEAD.0);
    assert!(opens.iter().all(|id| w.state.open(*id).unwrap().is_detached()));
    assert_eq!(end(&mut w, at, 1), Outcome::Rejected(Rejection::StaleIncarnation), "that was another life");
    assert!(w.state.node(DEAD).unwrap().is_live());
}

#[test]
fn a_rest_is_stored_and_loaded() {
    let (mut w, at, opens) = five();
    end(&mut w, at, 2);
    w.state = State::load(w.state.all_records()).unwrap();
    assert!(w.state.is_ending(DEAD));
    end(&mut w, at, 10);
    assert!(opens.iter().all(|id| w.state.open(*id).unwrap().is_detached()));
}

#[test]
fn a_new_cluster_begins_without_a_rest() {
    let (mut w, at, opens) = five();
    end(&mut w, at, 2);
    let rebirth = Rebirth { renamed: None, keep_handles: true };
    let (reborn, behind) = w.state.reborn(LogTime(w.now), &rebirth).unwrap();
    assert_eq!((behind.opens_kept, reborn.open_count()), (opens.len(), opens.len()));
}
