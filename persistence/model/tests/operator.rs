//! What an operator ends: sessions, opens, and clients that are shut out.
#![allow(clippy::unwrap_used, reason = "a failing test may panic")]

mod common;
use common::*;
use persistence_model::*;

fn close_session(w: &mut World, at: At) -> Outcome {
    w.run(Command::SessionClose { session: at.session })
}

fn close_open(w: &mut World, open: OpenId) -> Outcome {
    w.run(Command::OpenClose { open })
}

fn block(w: &mut World, network: &str) -> Outcome {
    w.run(Command::ClientBlock { network: network.parse().unwrap(), reason: "broken host".into() })
}

fn session_from(w: &mut World, client_address: &str) -> Outcome {
    let incarnation = w.state.node(NodeId(1)).unwrap().incarnation;
    let session = SessionId::of(incarnation, 100 + w.next_session);
    w.next_session += 1;
    w.run(Command::SessionOpen {
        session,
        node: NodeId(1),
        incarnation,
        client_guid: guid(9),
        user: user(9),
        user_name: "u".into(),
        client_address: client_address.into(),
        previous_session: None,
    })
}

// MS-SMB2 3.3.4.12
#[test]
fn a_closed_session_leaves_nothing_behind_whatever_was_promised() {
    let mut w = World::new();
    let (at, other) = (w.session(1, 1), w.session(2, 2));
    let kept = w.opened(request(at).persistent(1)).open;
    let reserved = match w.run(Command::ReserveOpen(Box::new(OpenRequest { file: None, ..request(at).of(11, "new").persistent(2) }))) {
        Outcome::Reserved { open, .. } => open,
        other => panic!("{other:?}"),
    };
    let neighbour = w.opened(request(other)).open;
    let Outcome::Disconnected { mut closed, detached, deletes } = close_session(&mut w, at) else { panic!("{:?}", w.last) };
    closed.sort_unstable();
    assert_eq!((closed, detached, deletes), (vec![kept, reserved], vec![], vec![]));
    assert!(w.last.events.contains(&Event::SessionEnded { session: at.session, node: at.node }));
    assert!(w.last.interested.contains(&at.node), "its node knows before anybody else is let in");
    assert_eq!(w.state.opens().map(|open| open.id).collect::<Vec<_>>(), [neighbour]);
    assert_eq!(close_session(&mut w, at), Outcome::Rejected(Rejection::NoSuchSession));
}

#[test]
fn a_closed_session_deletes_what_was_to_go_with_its_last_close() {
    let mut w = World::new();
    let at = w.session(1, 2);
    let open = w.opened(request(at).persistent(1)).open;
    assert_eq!(w.run(Command::SetDeletePending { open, on: true, by: at.incarnation }), Outcome::Done);
    close_session(&mut w, at);
    let due = w.last.events.iter().find_map(|event| if let Event::DeleteDue { delete } = event { Some(delete.clone()) } else { None });
    assert_eq!(due.map(|delete| (delete.file, delete.node)), Some((file(10), NodeId(2))));
}

// MS-SMB2 3.3.4.13
#[test]
fn an_open_is_closed_wherever_its_client_is() {
    let mut w = World::new();
    let at = w.session(1, 1);
    let here = w.opened(request(at).persistent(1).of(10, "a.txt")).open;
    let away = w.opened(request(at).persistent(2).of(11, "b.txt")).open;
    assert_eq!(close_open(&mut w, here), Outcome::Done);
    assert!(w.last.events.contains(&Event::OpenTaken { open: here, node: at.node, incarnation: at.incarnation }));
    w.lose(at);
    assert!(w.state.open(away).unwrap().is_detached());
    assert_eq!(close_open(&mut w, away), Outcome::Done);
    assert_eq!(w.state.opens().count(), 0);
    assert_eq!(close_open(&mut w, away), Outcome::Rejected(Rejection::NoSuchRecord));
}

#[test]
fn an_open_says_whom_it_waits_for() {
    let mut w = World::new();
    assert!(matches!(session_from(&mut w, "192.0.2.7:50000"), Outcome::SessionOpened { .. }));
    let session = w.state.sessions().next().unwrap().clone();
    assert_eq!(session.opened_at, LogTime(w.now));
    let at = At { client: 9, node: session.node, incarnation: session.incarnation, session: session.id };
    w.now += 10;
    let open = w.opened(request(at).persistent(1)).open;
    assert_eq!((w.state.open(open).unwrap().opened_at, w.state.open(open).unwrap().away.clone()), (LogTime(w.now), None));
    w.now += 10;
    w.lose(at);
    let away = |w: &World| w.state.open(open).unwrap().away.clone();
    let expected = Away { since: LogTime(w.now), node: NodeId(1), user_name: "u".into(), client_address: "192.0.2.7:50000".into() };
    assert_eq!(away(&w).as_deref(), Some(&expected));
    let back = w.session(9, 2);
    w.now += 10;
    assert!(matches!(w.reclaim(reconnect(back, open, 1, None)), Outcome::Reclaimed { .. }), "{:?}", w.last);
    assert_eq!(away(&w), None);
    w.now += 10;
    w.kill(2);
    assert_eq!(away(&w).map(|away| (away.since, away.node, away.client_address)), Some((LogTime(w.now), NodeId(2), "c".into())));
    assert_eq!(w.state.open(open).unwrap().opened_at, LogTime(1010), "a handle is as old as before");
}

#[test]
fn nobody_comes_in_from_blocked_addresses() {
    let mut w = World::new();
    let network = |text: &str| text.parse::<Network>().unwrap();
    assert_eq!(block(&mut w, "192.0.2.77/24"), Outcome::Done);
    assert!(w.last.events.contains(&Event::ClientsBlocked { network: network("192.0.2.0/24") }));
    assert_eq!(block(&mut w, "2001:db8::1"), Outcome::Done);
    for address in ["192.0.2.1:1", "[::ffff:192.0.2.255]:1", "192.0.2.9", "[2001:db8::1]:445"] {
        assert_eq!(session_from(&mut w, address), Outcome::Rejected(Rejection::ClientBlocked), "{address}");
    }
    for address in ["192.0.3.1:1", "[2001:db8::2]:445", "c"] {
        assert!(matches!(session_from(&mut w, address), Outcome::SessionOpened { .. }), "{address}");
    }
    assert_eq!(block(&mut w, "192.0.2.0/24"), Outcome::Done, "said twice, it is done once");
    assert_eq!(w.state.client_blocks().map(|block| block.network.to_string()).collect::<Vec<_>>(), ["192.0.2.0/24", "2001:db8::1/128"]);
    assert_eq!(w.run(Command::ClientUnblock { network: network("192.0.2.1/24") }), Outcome::Done);
    assert_eq!(w.run(Command::ClientUnblock { network: network("192.0.2.1/24") }), Outcome::Rejected(Rejection::NoSuchRecord));
    assert!(matches!(session_from(&mut w, "192.0.2.1:1"), Outcome::SessionOpened { .. }));
    assert_eq!(State::load(w.state.all_records()).unwrap(), w.state);
}

#[test]
fn a_network_has_one_spelling() {
    let normal = |text: &str| text.parse::<Network>().unwrap().normal().to_string();
    assert_eq!(normal("10.1.2.3/8"), "10.0.0.0/8");
    assert_eq!(normal("10.1.2.3"), "10.1.2.3/32");
    assert_eq!(normal("0.0.0.0/0"), "0.0.0.0/0");
    assert_eq!(normal("::ffff:10.1.2.3/120"), "10.1.2.0/24");
    assert_eq!(normal("2001:db8::ff/64"), "2001:db8::/64");
    assert_eq!(normal("::1/0"), "::/0");
}
