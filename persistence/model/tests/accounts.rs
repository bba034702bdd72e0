//! Users and groups: names, SIDs, numbers on disk, members of members.
#![allow(clippy::unwrap_used, reason = "a failing test may panic")]

mod common;
use std::collections::BTreeSet;

use common::*;
use persistence_model::*;
use smb_types::Sid;

fn add_user(w: &mut World, name: &str, uid: Option<u32>) -> Sid {
    let unix = uid.map(|uid| UnixUser { uid, gid: None });
    match w.run(Command::UserAdd { name: name.into(), nt_hash: [1; 16], sid: None, unix }) {
        Outcome::UserAdded { sid } => sid,
        other => panic!("{other:?}"),
    }
}

fn add_group(w: &mut World, name: &str, gid: Option<u32>) -> Sid {
    match w.run(Command::GroupAdd { name: name.into(), comment: String::new(), gid }) {
        Outcome::GroupAdded { sid } => sid,
        other => panic!("{other:?}"),
    }
}

fn member(group: &str, member: &Sid, on: bool) -> Command {
    Command::GroupMember { group: group.into(), member: member.clone(), on }
}

fn groups_of(w: &World, sid: &Sid) -> Vec<Sid> {
    w.state.groups_of(&BTreeSet::from([sid.clone()])).into_iter().collect()
}

#[test]
fn every_cluster_has_its_built_in_groups() {
    let mut w = World::new();
    let names: Vec<(String, String)> = w.state.groups().map(|group| (group.name.clone(), group.sid.to_string())).collect();
    let expected = [("Administrators", "S-1-5-32-544"), ("Backup Operators", "S-1-5-32-551"), ("Users", "S-1-5-32-545")];
    assert_eq!(names, expected.map(|(name, sid)| (name.to_owned(), sid.to_owned())));
    // Who has logged on is one of Users, without being entered.
    assert_eq!(groups_of(&w, &Sid::authenticated_users()), [Sid::users()]);
    assert_eq!(w.run(Command::GroupRemove { name: "administrators".into() }), Outcome::Rejected(Rejection::BuiltIn));
    assert_eq!(w.run(Command::GroupRemove { name: "nobody".into() }), Outcome::Rejected(Rejection::NoSuchGroup));
}

#[test]
fn members_of_members_belong_and_no_group_contains_itself() {
    let mut w = World::new();
    let (ann, bob) = (add_user(&mut w, "ann", None), add_user(&mut w, "bob", None));
    let (inner, middle, outer) = (add_group(&mut w, "inner", None), add_group(&mut w, "middle", None), add_group(&mut w, "outer", None));
    assert_eq!(w.run(member("inner", &ann, true)), Outcome::Done);
    assert_eq!(w.run(member("Middle", &inner, true)), Outcome::Done);
    assert_eq!(w.run(member("outer", &middle, true)), Outcome::Done);
    assert_eq!(w.run(member("administrators", &middle, true)), Outcome::Done);
    let mut all = vec![inner.clone(), middle.clone(), outer.clone(), Sid::administrators()];
    all.sort();
    assert_eq!(groups_of(&w, &ann), all);
    assert!(groups_of(&w, &bob).is_empty());
    for (group, sid) in [("inner", &outer), ("inner", &middle), ("inner", &inner)] {
        assert_eq!(w.run(member(group, sid, true)), Outcome::Rejected(Rejection::MemberOfItself), "{group}");
    }
    // Twice in is once; twice out is a mistake.
    assert_eq!(w.run(member("inner", &ann, true)), Outcome::Done);
    assert_eq!(w.run(member("inner", &ann, false)), Outcome::Done);
    assert_eq!(w.run(member("inner", &ann, false)), Outcome::Rejected(Rejection::NoSuchRecord));
    assert!(groups_of(&w, &ann).is_empty());
    // A group that goes takes its members out of what it belonged to; a user that goes leaves every group.
    w.run(member("inner", &bob, true));
    assert_eq!(w.run(Command::GroupRemove { name: "middle".into() }), Outcome::Done);
    assert_eq!(groups_of(&w, &bob), [inner]);
    assert!(w.state.group_by_name("outer").unwrap().members.is_empty());
    w.run(Command::UserRemove { name: "bob".into() });
    assert!(w.state.group_by_name("inner").unwrap().members.is_empty());
    assert!(w.last.events.contains(&Event::GroupChanged { name: "inner".into() }));
}

#[test]
fn names_sids_and_numbers_on_disk_are_never_shared() {
    let mut w = World::new();
    let ann = add_user(&mut w, "Ann", Some(1001));
    let staff = add_group(&mut w, "Staff", Some(50));
    let add =
        |name: &str, sid, uid| Command::UserAdd { name: name.into(), nt_hash: [1; 16], sid, unix: Some(UnixUser { uid, gid: Some(7) }) };
    assert_eq!(w.run(add("staff", None, 1)), Outcome::Rejected(Rejection::Exists));
    assert_eq!(w.run(add("bob", Some(staff.clone()), 1)), Outcome::Rejected(Rejection::Exists));
    assert_eq!(w.run(add("bob", None, 1001)), Outcome::Rejected(Rejection::UnixIdTaken));
    let group = |name: &str, gid| Command::GroupAdd { name: name.into(), comment: "x".into(), gid: Some(gid) };
    assert_eq!(w.run(group("ann", 51)), Outcome::Rejected(Rejection::Exists));
    assert_eq!(w.run(group("other", 50)), Outcome::Rejected(Rejection::UnixIdTaken));
    assert_eq!(w.run(group("a/b", 51)), Outcome::Rejected(Rejection::InvalidName));
    assert_eq!((w.state.user_by_uid(1001).unwrap().sid.clone(), w.state.group_by_gid(50).unwrap().sid.clone()), (ann.clone(), staff));
    // What is not said of a group stays.
    let change = |comment: Option<&str>, gid| Command::GroupChange { name: "STAFF".into(), comment: comment.map(str::to_owned), gid };
    let is = |w: &World| w.state.group_by_name("staff").map(|group| (group.comment.clone(), group.gid)).unwrap();
    let before = is(&w);
    assert_eq!((w.run(change(Some("all of us"), None)), is(&w)), (Outcome::Done, ("all of us".to_owned(), before.1)));
    assert_eq!((w.run(change(None, Some(None))), is(&w)), (Outcome::Done, ("all of us".to_owned(), None)));
    assert_eq!((w.run(change(Some(""), Some(before.1))), is(&w)), (Outcome::Done, before));
    // A number can be kept, changed, and given to another afterwards.
    let map = |name: &str, uid: Option<u32>| Command::UserMap { name: name.into(), unix: uid.map(|uid| UnixUser { uid, gid: None }) };
    assert_eq!(w.run(map("ann", Some(1001))), Outcome::Done);
    assert_eq!(w.run(map("ann", Some(1002))), Outcome::Done);
    assert_eq!((w.state.user_by_uid(1001), w.state.user_by_uid(1002).map(|user| user.name.as_str())), (None, Some("Ann")));
    assert_eq!(w.run(map("nobody", None)), Outcome::Rejected(Rejection::NoSuchUser));
    add_user(&mut w, "bob", Some(1001));
    assert_eq!(w.run(map("bob", Some(1002))), Outcome::Rejected(Rejection::UnixIdTaken));
    let change = Command::GroupChange { name: "STAFF".into(), comment: Some("all".into()), gid: Some(None) };
    assert_eq!(w.run(change), Outcome::Done);
    assert_eq!((w.state.group_by_gid(50), w.state.group_by_name("staff").unwrap().comment.as_str()), (None, "all"));
    assert_eq!(w.state.account_by_sid(&ann).map(|account| account.name().to_owned()), Some("Ann".to_owned()));
    // What is stored and loaded again is the same, with its indexes.
    let loaded = State::load(w.state.all_records()).unwrap();
    assert_eq!(loaded, w.state);
    loaded.check_invariants().unwrap();
    assert_eq!(loaded.user_by_uid(1002).unwrap().sid, ann);
}
