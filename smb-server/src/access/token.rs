//! A token: the SIDs that an access check compares, and the privileges that stand above descriptors (MS-DTYP 2.5.2).
//!
//! Made at logon from the records, and again when groups change. Knows nothing of passwords.

use std::collections::BTreeSet;

use persistence_model::{State, UnixUser};
use smb_types::Sid;

/// Relative id of the group that accounts of a domain have when nothing else is said.
const RID_NONE: u32 = 513;

/// Privileges (MS-LSAD 3.1.1.2.1), as far as a file server asks for them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Privileges(u8);

impl Privileges {
    /// None.
    pub const NONE: Self = Self(0);
    /// SeBackupPrivilege: reads every file that is opened for a backup.
    pub const BACKUP: Self = Self(1);
    /// SeRestorePrivilege: writes every file that is opened for a backup, and gives files to any owner.
    pub const RESTORE: Self = Self(2);
    /// SeSecurityPrivilege: reads and writes audit lists.
    pub const SECURITY: Self = Self(4);
    /// SeTakeOwnershipPrivilege: becomes the owner of any file.
    pub const TAKE_OWNERSHIP: Self = Self(8);
    /// SeManageVolumePrivilege: says how much of a file is valid.
    pub const MANAGE_VOLUME: Self = Self(16);

    /// Those of both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Tells whether all of `other` are held.
    #[must_use]
    pub const fn contain(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// Who asks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Token {
    user: Sid,
    groups: BTreeSet<Sid>,
    privileges: Privileges,
    primary_group: Sid,
    unix: Option<UnixUser>,
}

impl Token {
    /// The token of a user of the cluster's own list; None when there is no such user any more.
    #[must_use]
    pub fn of_user(state: &State, user: &Sid) -> Option<Self> {
        let account = state.user_by_sid(user)?;
        let mut own = BTreeSet::from([user.clone(), Sid::everyone(), Sid::network(), Sid::authenticated_users()]);
        own.extend(account.unix.map(|unix| Sid::unix_user(unix.uid)));
        let mut groups = state.groups_of(&own);
        let gids = groups.iter().filter_map(|group| state.group_by_sid(group)?.gid).chain(account.unix.and_then(|unix| unix.gid));
        let on_disk: Vec<Sid> = gids.map(Sid::unix_group).collect();
        own.remove(user);
        groups.extend(own);
        groups.extend(on_disk);
        let of_gid = account.unix.and_then(|unix| state.group_by_gid(unix.gid?)).map(|group| group.sid.clone());
        let privileges = privileges_of(&groups);
        Some(Self { user: user.clone(), groups, privileges, primary_group: of_gid.unwrap_or_else(|| none_of(user)), unix: account.unix })
    }

    /// The token of who has proved no name: not even one of Everyone, as on Windows by default.
    #[must_use]
    pub fn anonymous() -> Self {
        let user = Sid::anonymous();
        Self { primary_group: user.clone(), user, groups: BTreeSet::from([Sid::network()]), privileges: Privileges::NONE, unix: None }
    }

    /// A token with these SIDs, for tests of what is decided from it.
    #[cfg(test)]
    pub(crate) fn with(user: Sid, groups: impl IntoIterator<Item = Sid>) -> Self {
        let mut groups: BTreeSet<Sid> = groups.into_iter().collect();
        groups.extend([Sid::everyone(), Sid::authenticated_users()]);
        let privileges = privileges_of(&groups);
        Self { primary_group: none_of(&user), user, groups, privileges, unix: None }
    }

    /// A token that is one of these alone: what a permission bit for a class of users says.
    pub(crate) fn of_class(sids: impl IntoIterator<Item = Sid>) -> Self {
        let groups = sids.into_iter().collect();
        Self { user: Sid::new(0, &[0]), groups, privileges: Privileges::NONE, primary_group: Sid::new(0, &[0]), unix: None }
    }

    /// The user.
    #[must_use]
    pub fn user(&self) -> &Sid {
        &self.user
    }

    /// Tells whether the token is this user, or belongs to this group.
    #[must_use]
    pub fn is(&self, sid: &Sid) -> bool {
        self.user == *sid || self.groups.contains(sid)
    }

    /// Tells whether it is one of the built-in administrators.
    #[must_use]
    pub fn is_administrator(&self) -> bool {
        self.groups.contains(&Sid::administrators())
    }

    /// Tells whether it holds these privileges.
    #[must_use]
    pub fn holds(&self, privileges: Privileges) -> bool {
        self.privileges.contain(privileges)
    }

    /// Tells whether files can be given to this owner.
    // MS-DTYP 2.5.3.1.1
    // To oneself, to a group that may own (the administrators), and by who may restore files to any owner.
    #[must_use]
    pub fn may_give_to(&self, owner: &Sid) -> bool {
        self.user == *owner || (*owner == Sid::administrators() && self.is_administrator()) || self.holds(Privileges::RESTORE)
    }

    /// The group of what it makes.
    #[must_use]
    pub fn primary_group(&self) -> &Sid {
        &self.primary_group
    }

    /// The user on disk.
    #[must_use]
    pub fn unix(&self) -> Option<UnixUser> {
        self.unix
    }
}

/// What groups give (Windows' default rights of the built-in ones).
fn privileges_of(groups: &BTreeSet<Sid>) -> Privileges {
    let backup = Privileges::BACKUP.and(Privileges::RESTORE);
    let mut held = Privileges::NONE;
    if groups.contains(&Sid::administrators()) {
        held = held.and(backup).and(Privileges::SECURITY).and(Privileges::TAKE_OWNERSHIP).and(Privileges::MANAGE_VOLUME);
    }
    if groups.contains(&Sid::backup_operators()) {
        held = held.and(backup);
    }
    held
}

/// The group "None" of the account's domain.
fn none_of(user: &Sid) -> Sid {
    let mut group = user.clone();
    if let Some(rid) = group.sub_authorities.last_mut() {
        *rid = RID_NONE;
    }
    group
}
