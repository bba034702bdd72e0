//! The descriptor of a file that never got one: from its POSIX owner, bits and access list, as Samba derives it. Pure.
//!
//! It gives no right that the file system would refuse the owner's, the group's or another local user, and no local user loses one by it. The
//! built-in administrators and the system may do everything: the first administer the server, the second is the server.

use smb_backend::{FileKind, PosixEntry, PosixWho, Security};
use smb_proto::security::{Ace, AceFlags, Acl, SecurityControl, SecurityDescriptor};
use smb_types::{AccessMask, Sid};

use super::{identity::Identities, mask};

/// Read permission.
const READ: u32 = 4;
/// Write permission.
const WRITE: u32 = 2;
/// Execute, or search, permission.
const EXECUTE: u32 = 1;
/// Only a file's owner, or the directory's, removes a name.
pub(super) const STICKY: u32 = 0o1000;
/// On entries that a directory hands down and that do not count for itself.
const HANDED_DOWN: AceFlags = AceFlags(AceFlags::OBJECT_INHERIT.0 | AceFlags::CONTAINER_INHERIT.0 | AceFlags::INHERIT_ONLY.0);

/// How specific a class is: the most specific one that concerns a user decides alone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Owner,
    User,
    Group,
    Other,
}

/// A class of users with its permissions.
struct Class {
    rank: Rank,
    sid: Sid,
    permissions: u32,
}

/// Derives the descriptor.
#[must_use]
pub(super) fn derive(security: &Security, identities: &dyn Identities) -> SecurityDescriptor {
    let is_directory = security.kind == FileKind::Directory;
    let (owner, group) = (identities.of_uid(security.uid), identities.of_gid(security.gid));
    let own = classes(&security.acl, security.mode, &owner, &group, identities);
    let mut entries = system_entries(AceFlags::NONE);
    entries.extend(aces(&own, is_directory, security.mode & STICKY != 0, AceFlags::NONE));
    if is_directory {
        // Whoever makes something there owns it with what the directory's owner has, or with what its default list says.
        let (creator, creator_group) = (Sid::creator_owner(), Sid::creator_group());
        let of_new = classes(&security.default_acl, security.mode, &creator, &creator_group, identities);
        entries.extend(system_entries(HANDED_DOWN));
        entries.extend(aces(&of_new, true, security.mode & STICKY != 0, HANDED_DOWN));
    }
    SecurityDescriptor {
        control: SecurityControl::DACL_PRESENT | SecurityControl::DACL_AUTO_INHERITED,
        owner: Some(owner),
        group: Some(group),
        sacl: None,
        dacl: Some(Acl::new(entries)),
    }
}

/// Entries of those who always may.
fn system_entries(flags: AceFlags) -> Vec<Ace> {
    [Sid::administrators(), Sid::system()].into_iter().map(|sid| Ace::allow(sid, AccessMask::FILE_ALL, flags)).collect()
}

/// The classes of a list, or of the bits where there is no list; most specific first.
fn classes(acl: &[PosixEntry], mode: u32, owner: &Sid, group: &Sid, identities: &dyn Identities) -> Vec<Class> {
    let class = |rank, sid: &Sid, permissions| Class { rank, sid: sid.clone(), permissions };
    if acl.is_empty() {
        let bits = |shift: u32| mode >> shift & 7;
        let everyone = Sid::everyone();
        return vec![class(Rank::Owner, owner, bits(6)), class(Rank::Group, group, bits(3)), class(Rank::Other, &everyone, bits(0))];
    }
    let most = acl.iter().find(|entry| entry.who == PosixWho::Mask).map_or(7, |entry| entry.permissions);
    let of_entry = |entry: &PosixEntry| {
        let limited = entry.permissions & most;
        Some(match entry.who {
            PosixWho::Owner => class(Rank::Owner, owner, entry.permissions),
            PosixWho::User(uid) => class(Rank::User, &identities.of_uid(uid), limited),
            PosixWho::Group => class(Rank::Group, group, limited),
            PosixWho::NamedGroup(gid) => class(Rank::Group, &identities.of_gid(gid), limited),
            PosixWho::Other => class(Rank::Other, &Sid::everyone(), entry.permissions),
            PosixWho::Mask => return None,
        })
    };
    let mut found: Vec<Class> = acl.iter().filter_map(of_entry).collect();
    found.sort_by_key(|class| class.rank);
    found
}

/// The entries of classes.
// POSIX lets the most specific class decide alone, while of a Windows list all entries for the token's SIDs count: what a class lacks and a
// less specific one has is denied before that one comes. Groups are one class: a member of several has what any of them gives, so their
// denials follow all that they allow.
fn aces(classes: &[Class], is_directory: bool, is_sticky: bool, flags: AceFlags) -> Vec<Ace> {
    let deny = |class: &Class| {
        let less_specific = classes.iter().filter(|other| other.rank > class.rank);
        let others = less_specific.filter(|other| other.rank != Rank::User).fold(0, |all, other| all | other.permissions);
        let rights = denied(others & !class.permissions, is_directory);
        (!rights.is_empty()).then(|| Ace::deny(class.sid.clone(), rights, flags))
    };
    let allow = |class: &Class| {
        let removes_names = class.rank == Rank::Owner || !is_sticky;
        let mut rights = allowed(class.permissions, is_directory && removes_names);
        if flags.contains(AceFlags::INHERIT_ONLY) && class.permissions == READ | WRITE | EXECUTE && removes_names {
            // Of what is made there: its creator may do everything, the others all but say who may.
            let all = AccessMask::FILE_ALL;
            rights = if class.rank == Rank::Owner { all } else { all.without(AccessMask::WRITE_DAC | AccessMask::WRITE_OWNER) };
        }
        (!rights.is_empty()).then(|| Ace::allow(class.sid.clone(), rights, flags))
    };
    let of = |rank: Rank| classes.iter().filter(move |class| class.rank == rank);
    let mut aces = Vec::new();
    for class in of(Rank::Owner).chain(of(Rank::User)) {
        aces.extend(deny(class));
        aces.extend(allow(class));
    }
    aces.extend(of(Rank::Group).filter_map(allow));
    aces.extend(of(Rank::Group).filter_map(deny));
    aces.extend(of(Rank::Other).filter_map(allow));
    aces
}

/// What permissions come to, as Samba maps them. To delete a file takes the directory's permissions, not its own.
fn allowed(permissions: u32, removes_names: bool) -> AccessMask {
    let mut rights = AccessMask::NONE;
    if permissions & READ != 0 {
        rights |= mask::FILE_GENERIC_READ;
    }
    if permissions & WRITE != 0 {
        rights |= mask::FILE_GENERIC_WRITE;
        if removes_names {
            rights |= AccessMask::DELETE_CHILD;
        }
    }
    if permissions & EXECUTE != 0 {
        rights |= mask::FILE_GENERIC_EXECUTE;
    }
    rights
}

/// What the lack of permissions comes to: only what these permissions and no others give.
fn denied(permissions: u32, is_directory: bool) -> AccessMask {
    let mut rights = AccessMask::NONE;
    if permissions & READ != 0 {
        rights |= AccessMask::READ_DATA | AccessMask::READ_EA;
    }
    if permissions & WRITE != 0 {
        rights |= AccessMask::WRITE_DATA | AccessMask::APPEND_DATA | AccessMask::WRITE_EA | AccessMask::WRITE_ATTRIBUTES;
        if is_directory {
            rights |= AccessMask::DELETE_CHILD;
        }
    }
    if permissions & EXECUTE != 0 {
        rights |= AccessMask::EXECUTE;
    }
    rights
}

#[cfg(test)]
mod tests {
    use smb_backend::StoredDescriptor;

    use super::*;
    use crate::access::{Token, descriptor::by_list};

    /// Users 1 and 2 and groups 10, 11, each with a SID of that number.
    struct Numbers;

    impl Identities for Numbers {
        fn of_uid(&self, uid: u32) -> Sid {
            sid(uid)
        }
        fn of_gid(&self, gid: u32) -> Sid {
            sid(gid)
        }
        fn uid(&self, _sid: &Sid) -> Option<u32> {
            None
        }
        fn gid(&self, _sid: &Sid) -> Option<u32> {
            None
        }
    }

    fn sid(rid: u32) -> Sid {
        Sid::new(5, &[21, 1, 2, 3, rid])
    }

    fn security(kind: FileKind, mode: u32, acl: &[(PosixWho, u32)]) -> Security {
        let acl = acl.iter().map(|(who, permissions)| PosixEntry { who: *who, permissions: *permissions }).collect();
        Security { kind, stored: StoredDescriptor::None, uid: 1, gid: 10, mode, acl, default_acl: Vec::new() }
    }

    /// rwx as this token has it.
    fn permissions(security: &Security, user: u32, groups: &[u32]) -> u32 {
        let token = Token::with(sid(user), groups.iter().map(|group| sid(*group)));
        let rights = by_list(&derive(security, &Numbers), &token);
        [(AccessMask::READ_DATA, READ), (AccessMask::WRITE_DATA, WRITE), (AccessMask::EXECUTE, EXECUTE)]
            .into_iter()
            .filter(|(right, _)| rights.contains(*right))
            .fold(0, |all, (_, bit)| all | bit)
    }

    #[test]
    fn every_mode_gives_each_class_what_the_kernel_would() {
        for mode in 0..0o1000 {
            for kind in [FileKind::File, FileKind::Directory] {
                let file = security(kind, mode, &[]);
                assert_eq!(permissions(&file, 1, &[]), mode >> 6 & 7, "owner of {mode:o}");
                assert_eq!(permissions(&file, 1, &[10]), mode >> 6 & 7, "owner of {mode:o}, in its group");
                assert_eq!(permissions(&file, 2, &[10]), mode >> 3 & 7, "group of {mode:o}");
                assert_eq!(permissions(&file, 2, &[11]), mode & 7, "another of {mode:o}");
            }
        }
    }

    #[test]
    fn access_lists_count_and_the_mask_limits_them() {
        use PosixWho::{Group, Mask, NamedGroup, Other, Owner, User};
        // The bits of the group in the mode are the mask: they are not the group's.
        let list = [(Owner, 6), (User(2), 7), (Group, 0), (NamedGroup(11), 6), (Mask, 5), (Other, 1)];
        let file = security(FileKind::File, 0o651, &list);
        assert_eq!(permissions(&file, 1, &[10, 11]), 6, "the mask does not limit the owner");
        assert_eq!(permissions(&file, 2, &[]), 5, "a named user, limited by the mask");
        assert_eq!(permissions(&file, 2, &[11]), 5, "a named user's entry decides alone");
        assert_eq!(permissions(&file, 3, &[10]), 0, "the group has less than others");
        assert_eq!(permissions(&file, 3, &[11]), 4);
        assert_eq!(permissions(&file, 3, &[10, 11]), 4, "any of several groups gives");
        assert_eq!(permissions(&file, 3, &[]), 1);
    }

    #[test]
    fn names_are_removed_by_who_may_write_the_directory() {
        let of = |mode, user, groups: &[u32]| {
            let token = Token::with(sid(user), groups.iter().map(|group| sid(*group)));
            by_list(&derive(&security(FileKind::Directory, mode, &[]), &Numbers), &token)
        };
        assert!(of(0o775, 2, &[10]).contains(AccessMask::DELETE_CHILD));
        assert!(!of(0o775, 2, &[]).contains(AccessMask::DELETE_CHILD));
        assert!(!of(0o1777, 2, &[]).contains(AccessMask::DELETE_CHILD), "sticky: only what is one's own");
        assert!(of(0o1777, 1, &[]).contains(AccessMask::DELETE_CHILD), "the directory's owner");
        let file = by_list(&derive(&security(FileKind::File, 0o777, &[]), &Numbers), &Token::with(sid(2), []));
        let never = AccessMask::DELETE | AccessMask::WRITE_DAC | AccessMask::WRITE_OWNER;
        assert!(!file.intersects(never), "a file's bits never let others delete it or say who may");
        assert!(by_list(&derive(&security(FileKind::File, 0, &[]), &Numbers), &Token::with(sid(1), [])).contains(AccessMask::WRITE_DAC));
        let admin = Token::with(sid(9), [Sid::administrators()]);
        assert_eq!(by_list(&derive(&security(FileKind::File, 0, &[]), &Numbers), &admin), AccessMask::FILE_ALL);
    }
}
