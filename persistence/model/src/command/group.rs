//! GroupAdd, GroupChange, GroupRemove, GroupMember; the groups that every cluster has.

use std::collections::BTreeSet;

use smb_types::Sid;

use super::user::{allot_sid, check_name};
use crate::effects::{Effects, Step, reject};
use crate::event::Event;
use crate::outcome::{Outcome, Rejection};
use crate::record::Group;
use crate::state::{RecordKey, State};

/// No cluster keeps more groups of its own.
const GROUPS_MAX: usize = 10_000;
/// No group has more members.
const MEMBERS_MAX: usize = 10_000;
/// Longest comment.
const COMMENT_CHARS_MAX: usize = 256;

/// Makes the groups that every cluster has.
// MS-DTYP 2.4.2.4
// Each user of the cluster is one of BUILTIN\Users.
pub(crate) fn make_built_in(state: &mut State) {
    let built_in = [
        ("Administrators", Sid::administrators(), "May do everything", None),
        ("Users", Sid::users(), "Who has logged on", Some(Sid::authenticated_users())),
        ("Backup Operators", Sid::backup_operators(), "May read and restore every file for a backup", None),
    ];
    for (name, sid, comment, member) in built_in {
        let members = member.into_iter().collect();
        insert(state, Group { name: name.to_owned(), sid, comment: comment.to_owned(), members, gid: None });
    }
}

pub(crate) fn add(state: &mut State, fx: &mut Effects, name: &str, comment: &str, gid: Option<u32>) -> Step {
    check_name(state, name)?;
    check_settings(state, comment, gid, "")?;
    if state.groups.len() >= GROUPS_MAX {
        return reject(Rejection::LimitReached);
    }
    let sid = allot_sid(state);
    let group = Group { name: name.to_owned(), sid: sid.clone(), comment: comment.to_owned(), members: BTreeSet::new(), gid };
    insert(state, group);
    fx.event(Event::GroupChanged { name: name.to_owned() });
    Ok(Outcome::GroupAdded { sid })
}

pub(crate) fn change(state: &mut State, fx: &mut Effects, name: &str, comment: Option<&str>, gid: Option<Option<u32>>) -> Step {
    check_settings(state, comment.unwrap_or_default(), gid.flatten(), &name.to_uppercase())?;
    edit(state, fx, name, |group| {
        if let Some(comment) = comment {
            comment.clone_into(&mut group.comment);
        }
        group.gid = gid.unwrap_or(group.gid);
    })
}

pub(crate) fn remove(state: &mut State, fx: &mut Effects, name: &str) -> Step {
    let key = name.to_uppercase();
    let Some(group) = state.groups.get(&key) else { return reject(Rejection::NoSuchGroup) };
    if group.is_built_in() {
        return reject(Rejection::BuiltIn);
    }
    let group = state.groups.remove(&key).expect("found above");
    state.index.accounts.group_changed(Some(&group), None);
    state.touch(RecordKey::Group(key));
    forget_member(state, fx, &group.sid);
    fx.event(Event::GroupChanged { name: group.name });
    Ok(Outcome::Done)
}

pub(crate) fn member(state: &mut State, fx: &mut Effects, name: &str, member: &Sid, on: bool) -> Step {
    let Some(group) = state.group_by_name(name) else { return reject(Rejection::NoSuchGroup) };
    if group.members.contains(member) == on {
        return if on { Ok(Outcome::Done) } else { reject(Rejection::NoSuchRecord) };
    }
    if on {
        // The group, or one that it belongs to.
        let above = state.groups_of(&BTreeSet::from([group.sid.clone()]));
        if *member == group.sid || above.contains(member) {
            return reject(Rejection::MemberOfItself);
        }
        if group.members.len() >= MEMBERS_MAX {
            return reject(Rejection::LimitReached);
        }
    }
    edit(state, fx, name, |group| {
        if on {
            group.members.insert(member.clone());
        } else {
            group.members.remove(member);
        }
    })
}

/// Takes an account that is gone out of every group.
pub(crate) fn forget_member(state: &mut State, fx: &mut Effects, member: &Sid) {
    let groups: Vec<String> = state.groups().filter(|group| group.members.contains(member)).map(|group| group.name.clone()).collect();
    for name in groups {
        let done = edit(state, fx, &name, |group| {
            group.members.remove(member);
        });
        assert!(done.is_ok(), "the group was found");
    }
}

fn check_settings(state: &State, comment: &str, gid: Option<u32>, but_for: &str) -> Step<()> {
    if comment.chars().count() > COMMENT_CHARS_MAX {
        return reject(Rejection::InvalidName);
    }
    if state.is_gid_free(gid, but_for) { Ok(()) } else { reject(Rejection::UnixIdTaken) }
}

fn insert(state: &mut State, group: Group) {
    let key = group.name.to_uppercase();
    state.index.accounts.group_changed(None, Some(&group));
    state.groups.insert(key.clone(), group);
    state.touch(RecordKey::Group(key));
}

fn edit(state: &mut State, fx: &mut Effects, name: &str, change: impl FnOnce(&mut Group)) -> Step {
    let key = name.to_uppercase();
    let Some(group) = state.groups.get_mut(&key) else { return reject(Rejection::NoSuchGroup) };
    let before = group.clone();
    change(group);
    let after = group.clone();
    state.index.accounts.group_changed(Some(&before), Some(&after));
    fx.event(Event::GroupChanged { name: after.name });
    state.touch(RecordKey::Group(key));
    Ok(Outcome::Done)
}
