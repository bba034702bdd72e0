//! Shares that one node owns, and the addresses at which clients reach a living node.
#![allow(clippy::unwrap_used, reason = "a failing test may panic")]

mod common;
use common::*;
use persistence_model::*;

const N1: NodeId = NodeId(1);
const N2: NodeId = NodeId(2);
const N3: NodeId = NodeId(3);

fn add(w: &mut World, name: &str, owner: Option<NodeId>) -> Outcome {
    w.run(Command::AsymmetricShareAdd { name: name.into(), settings: settings(true, true), owner })
}

fn owner(w: &World, name: &str) -> Option<NodeId> {
    w.state.share_by_name(name).unwrap().owner
}

fn give(w: &mut World, name: &str, to: Option<NodeId>, instead_of: Option<NodeId>) -> Outcome {
    let share = w.state.share_by_name(name).unwrap().id;
    w.run(Command::ShareMove { share, to, instead_of })
}

fn rejected(why: Rejection) -> Outcome {
    Outcome::Rejected(why)
}

#[test]
fn an_owner_is_named_or_chosen_and_changes_by_command() {
    let mut w = World::new();
    assert_eq!(owner(&w, "ca"), None, "symmetric");
    assert_eq!(add(&mut w, "vm", Some(N2)), Outcome::ShareAdded { share: ShareId(4) });
    assert_eq!(w.last.events, [Event::ShareChanged { share: ShareId(4) }]);
    // Without a wish: who has the fewest, and of those the first.
    for (name, expected) in [("a", N1), ("b", N3), ("c", N1)] {
        assert!(matches!(add(&mut w, name, None), Outcome::ShareAdded { .. }));
        assert_eq!(owner(&w, name), Some(expected), "{name}");
    }
    assert_eq!(add(&mut w, "VM", None), rejected(Rejection::Exists));
    assert_eq!(add(&mut w, "d", Some(NodeId(9))), rejected(Rejection::NoSuchNode));

    assert_eq!(give(&mut w, "vm", Some(N3), None), Outcome::Done);
    assert_eq!((owner(&w, "vm"), w.last.events.clone()), (Some(N3), vec![Event::ShareMoved { share: ShareId(4), owner: N3 }]));
    assert_eq!((give(&mut w, "vm", Some(N3), None), w.last.events.len()), (Outcome::Done, 0), "it is there already");
    assert_eq!(give(&mut w, "vm", Some(N1), Some(N2)), rejected(Rejection::OwnerChanged), "node 2 does not own it any more");
    assert_eq!(give(&mut w, "vm", Some(N1), Some(N3)), Outcome::Done);
    assert_eq!(give(&mut w, "ca", Some(N1), None), rejected(Rejection::NotAsymmetric));
    let nowhere = Command::ShareMove { share: ShareId(99), to: None, instead_of: None };
    assert_eq!(w.run(nowhere), rejected(Rejection::NoSuchShare));
    // Other settings leave it where it is, and what is loaded again is the same.
    let before = w.state.share(ShareId(4)).unwrap().settings.clone();
    let other = ShareSettings { comment: "other".into(), ..before.clone() };
    let change = |settings: &ShareSettings, instead_of: &ShareSettings| Command::ShareChange {
        share: ShareId(4),
        settings: settings.clone(),
        instead_of: Box::new(instead_of.clone()),
    };
    assert_eq!(w.run(change(&other, &before)), Outcome::Done);
    assert_eq!(owner(&w, "vm"), Some(N1));
    assert_eq!((w.run(change(&other, &other)), w.last.events.len()), (Outcome::Done, 0), "it is so already");
    assert_eq!(w.run(change(&before, &before)), rejected(Rejection::Changed), "made from settings that are others by now");
    let elsewhere = ShareSettings { path: "/elsewhere".into(), ..other.clone() };
    assert_eq!(w.run(change(&elsewhere, &other)), rejected(Rejection::Changed), "handles are of one directory");
    assert_eq!(State::load(w.state.all_records()).unwrap(), w.state);
}

#[test]
fn who_is_down_or_drained_owns_nothing_new() {
    let mut w = World::new();
    add(&mut w, "vm", Some(N2));
    add(&mut w, "db", Some(N2));
    assert_eq!(w.state.shares_without_owner(), []);
    w.kill(2);
    let left = [(ShareId(4), N2), (ShareId(5), N2)];
    assert_eq!(w.state.shares_without_owner(), left);
    assert_eq!(give(&mut w, "vm", Some(N2), None), rejected(Rejection::NoOwner));
    assert_eq!(w.run(Command::NodeDrain { node: N1, on: true }), Outcome::Done);
    assert_eq!(give(&mut w, "vm", Some(N1), None), rejected(Rejection::NoOwner));
    // As whoever has authority does it.
    for (share, from) in left {
        assert_eq!(w.run(Command::ShareMove { share, to: None, instead_of: Some(from) }), Outcome::Done);
    }
    assert_eq!((owner(&w, "vm"), owner(&w, "db")), (Some(N3), Some(N3)));
    assert_eq!(w.state.shares_without_owner(), []);
    // The last one that serves keeps what it has, also while it is drained.
    assert_eq!(w.run(Command::NodeDrain { node: N3, on: true }), Outcome::Done);
    assert_eq!(w.state.shares_without_owner(), []);
    assert_eq!(give(&mut w, "vm", None, Some(N3)), rejected(Rejection::NoOwner));
    assert_eq!(add(&mut w, "x", None), rejected(Rejection::NoOwner));
    // Who comes back takes over.
    w.join(2);
    assert_eq!(w.state.shares_without_owner(), [(ShareId(4), N3), (ShareId(5), N3)]);
    assert_eq!(give(&mut w, "vm", None, Some(N3)), Outcome::Done);
    assert_eq!(owner(&w, "vm"), Some(N2));
}

#[test]
fn a_restored_share_waits_for_an_owner_that_lives() {
    let mut w = World::new();
    add(&mut w, "vm", Some(N3));
    let (mut state, _) = w.state.reborn(LogTime(5000), &Rebirth::default()).unwrap();
    assert_eq!(state.shares_without_owner(), [], "nobody is there yet");
    let join = Command::NodeJoin { node: N1, name: "n".into(), addresses: addresses(), boot_id: "b".into() };
    state.apply(LogTime(5001), &join);
    assert_eq!(state.shares_without_owner(), [(ShareId(4), N3)]);
}

#[test]
fn a_living_node_gains_and_loses_addresses() {
    let mut w = World::new();
    let at = |text: &str| text.parse::<std::net::SocketAddr>().unwrap();
    let (first, second, third) = (at("127.0.0.1:445"), at("192.0.2.2:445"), at("[2001:db8::3]:445"));
    let smb = |w: &World| w.state.node(N2).unwrap().addresses.smb.clone();
    let listen = |by: u64, add: &[_], remove: &[_]| Command::NodeListen {
        node: N2,
        by: Incarnation(by),
        add: add.to_vec(),
        remove: remove.to_vec(),
    };
    let told = [Event::NodeAddresses { node: N2 }];
    assert_eq!(w.run(listen(2, &[second, third, second], &[])), Outcome::Done);
    assert_eq!((smb(&w), &w.last.events[..]), (vec![first, second, third], &told[..]));
    assert_eq!(w.run(listen(2, &[third], &[at("192.0.2.9:445")])), Outcome::Done);
    assert_eq!((smb(&w).len(), w.last.events.len()), (3, 0), "said twice, done once");
    assert_eq!(w.run(listen(2, &[], &[first])), Outcome::Done);
    assert_eq!((smb(&w), &w.last.events[..]), (vec![second, third], &told[..]));
    assert_eq!(w.state.node(N1).unwrap().addresses, addresses(), "others keep theirs");

    assert_eq!(w.run(listen(2, &[], &[second, third])), rejected(Rejection::LastAddress));
    assert_eq!(w.run(listen(2, &[first], &[])), rejected(Rejection::Exists), "other nodes have it");
    assert_eq!(w.run(listen(2, &[at("[::ffff:127.0.0.1]:4450")], &[])), rejected(Rejection::Exists), "whatever the port");
    assert_eq!(w.run(listen(1, &[at("192.0.2.4:445")], &[])), rejected(Rejection::StaleIncarnation));
    let many: Vec<_> = (1..=64).map(|port| std::net::SocketAddr::from(([192, 0, 2, 5], port))).collect();
    assert_eq!(w.run(listen(2, &many, &[])), rejected(Rejection::LimitReached));
    w.kill(2);
    assert_eq!(w.run(listen(2, &[at("192.0.2.4:445")], &[])), rejected(Rejection::StaleIncarnation));
    assert_eq!(smb(&w), [second, third]);
    assert_eq!(State::load(w.state.all_records()).unwrap(), w.state);
}
