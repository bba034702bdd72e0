//! Users and groups found by what else they are known by, and which groups an account belongs to. Knows nothing of rights.

use std::collections::{BTreeMap, BTreeSet};

use smb_types::Sid;

use super::State;
use crate::id::LogTime;
use crate::record::{Group, UnixUser, User};

/// An account of the cluster's own list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Account<'a> {
    /// A user.
    User(&'a User),
    /// A group.
    Group(&'a Group),
}

impl Account<'_> {
    /// Its name as the operator wrote it.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::User(user) => &user.name,
            Self::Group(group) => &group.name,
        }
    }

    /// Its SID.
    #[must_use]
    pub fn sid(&self) -> &Sid {
        match self {
            Self::User(user) => &user.sid,
            Self::Group(group) => &group.sid,
        }
    }
}

/// Folded names of users and groups, by SID and by their numbers on disk.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Accounts {
    users: BTreeMap<Sid, String>,
    groups: BTreeMap<Sid, String>,
    by_uid: BTreeMap<u32, String>,
    by_gid: BTreeMap<u32, String>,
    /// Groups by each of their members.
    groups_of: BTreeSet<(Sid, Sid)>,
    /// Users that are locked out, by the end of that.
    locked_out: BTreeSet<(LogTime, String)>,
}

impl Accounts {
    /// Takes note of a user that came, changed or went.
    pub(crate) fn user_changed(&mut self, old: Option<&User>, new: Option<&User>) {
        if let Some(user) = old {
            self.users.remove(&user.sid);
            user.unix.map(|unix| self.by_uid.remove(&unix.uid));
            user.failures.locked_until.map(|until| self.locked_out.remove(&(until, user.name.to_uppercase())));
        }
        if let Some(user) = new {
            let key = user.name.to_uppercase();
            user.unix.map(|unix| self.by_uid.insert(unix.uid, key.clone()));
            self.locked_out.extend(user.failures.locked_until.map(|until| (until, key.clone())));
            self.users.insert(user.sid.clone(), key);
        }
    }

    /// Folded names of the users whose lockout is over by then.
    pub(crate) fn locked_out_until(&self, now: LogTime) -> impl Iterator<Item = &str> {
        self.locked_out.iter().take_while(move |(until, _)| *until <= now).map(|(_, user)| &**user)
    }

    /// When the next lockout is over.
    pub(crate) fn next_unlock(&self) -> Option<LogTime> {
        self.locked_out.first().map(|(until, _)| *until)
    }

    /// Takes note of a group that came, changed or went.
    pub(crate) fn group_changed(&mut self, old: Option<&Group>, new: Option<&Group>) {
        if let Some(group) = old {
            self.groups.remove(&group.sid);
            group.gid.map(|gid| self.by_gid.remove(&gid));
            for member in &group.members {
                self.groups_of.remove(&(member.clone(), group.sid.clone()));
            }
        }
        if let Some(group) = new {
            let key = group.name.to_uppercase();
            group.gid.map(|gid| self.by_gid.insert(gid, key.clone()));
            self.groups_of.extend(group.members.iter().map(|member| (member.clone(), group.sid.clone())));
            self.groups.insert(group.sid.clone(), key);
        }
    }
}

impl State {
    /// A group, by name without regard to case.
    #[must_use]
    pub fn group_by_name(&self, name: &str) -> Option<&Group> {
        self.groups.get(&name.to_uppercase())
    }

    /// All groups, ascending by folded name.
    pub fn groups(&self) -> impl Iterator<Item = &Group> {
        self.groups.values()
    }

    /// A user or group, by name without regard to case.
    #[must_use]
    pub fn account_by_name(&self, name: &str) -> Option<Account<'_>> {
        self.user_by_name(name).map(Account::User).or_else(|| self.group_by_name(name).map(Account::Group))
    }

    /// A user or group, by SID.
    #[must_use]
    pub fn account_by_sid(&self, sid: &Sid) -> Option<Account<'_>> {
        self.user_by_sid(sid).map(Account::User).or_else(|| self.group_by_sid(sid).map(Account::Group))
    }

    /// A user, by SID.
    #[must_use]
    pub fn user_by_sid(&self, sid: &Sid) -> Option<&User> {
        self.users.get(self.index.accounts.users.get(sid)?)
    }

    /// A group, by SID.
    #[must_use]
    pub fn group_by_sid(&self, sid: &Sid) -> Option<&Group> {
        self.groups.get(self.index.accounts.groups.get(sid)?)
    }

    /// The user that a number on disk stands for.
    #[must_use]
    pub fn user_by_uid(&self, uid: u32) -> Option<&User> {
        self.users.get(self.index.accounts.by_uid.get(&uid)?)
    }

    /// The group that a number on disk stands for.
    #[must_use]
    pub fn group_by_gid(&self, gid: u32) -> Option<&Group> {
        self.groups.get(self.index.accounts.by_gid.get(&gid)?)
    }

    /// The groups to which these accounts belong, themselves or through other groups; ascending, without those that were given.
    #[must_use]
    pub fn groups_of(&self, accounts: &BTreeSet<Sid>) -> BTreeSet<Sid> {
        let mut found = BTreeSet::new();
        let mut fresh: Vec<Sid> = accounts.iter().cloned().collect();
        while let Some(member) = fresh.pop() {
            let of_member = self.index.accounts.groups_of.range((member.clone(), Sid::new(0, &[]))..);
            for (_, group) in of_member.take_while(|(of, _)| *of == member) {
                if !accounts.contains(group) && found.insert(group.clone()) {
                    fresh.push(group.clone());
                }
            }
        }
        found
    }

    pub(crate) fn is_uid_free(&self, unix: Option<UnixUser>, but_for: &str) -> bool {
        unix.and_then(|unix| self.user_by_uid(unix.uid)).is_none_or(|user| user.name.to_uppercase() == but_for)
    }

    pub(crate) fn is_gid_free(&self, gid: Option<u32>, but_for: &str) -> bool {
        gid.and_then(|gid| self.group_by_gid(gid)).is_none_or(|group| group.name.to_uppercase() == but_for)
    }
}
