//! The descriptor of what is made: from what the client sends, what the directory hands down, and who makes it (MS-DTYP 2.5.3.4). Pure.

use smb_proto::security::{Ace, AceFlags, AceKind, Acl, SecurityControl, SecurityDescriptor};
use smb_types::{AccessMask, NtStatus, Sid};

use super::{Token, map_generic};
use crate::error::Refusal;

/// The descriptor of a new file or directory.
///
/// # Errors
/// INVALID_OWNER when the client names an owner to whom it may not give files; what a descriptor deserves that makes no sense;
/// PRIVILEGE_NOT_HELD for an audit list without the privilege.
// MS-DTYP 2.5.3.4.1, 2.5.3.3
// A list that the client sends stands for itself. Without one the directory's inheritable entries count, and where it has none the owner
// and the system may do everything, and no others.
pub(super) fn of_new(
    sent: Option<&[u8]>,
    parent: &SecurityDescriptor,
    token: &Token,
    may_audit: bool,
    is_directory: bool,
) -> Result<SecurityDescriptor, Refusal> {
    let sent = sent.map(SecurityDescriptor::decode).transpose()?.unwrap_or_default();
    let owner = match sent.owner {
        Some(owner) if !token.may_give_to(&owner) => {
            return Err(Refusal::new(NtStatus::INVALID_OWNER, "the new file cannot be given to this owner"));
        }
        Some(owner) => owner,
        None => token.user().clone(),
    };
    let group = sent.group.unwrap_or_else(|| token.primary_group().clone());
    let mut made = SecurityDescriptor { owner: Some(owner.clone()), group: Some(group.clone()), ..SecurityDescriptor::default() };
    if sent.control.contains(SecurityControl::DACL_PRESENT) {
        made.control =
            sent.control & (SecurityControl::DACL_PRESENT | SecurityControl::DACL_PROTECTED | SecurityControl::DACL_AUTO_INHERITED);
        made.dacl = sent.dacl.map(|list| with_creator(list, &owner, &group));
    } else {
        made.control = SecurityControl::DACL_PRESENT;
        let automatic = parent.control & SecurityControl::DACL_AUTO_INHERITED;
        let mark = if automatic.is_empty() { AceFlags::NONE } else { AceFlags::INHERITED };
        let inherited = parent.dacl.as_ref().map(|list| handed_down(list, mark, &owner, &group, is_directory)).unwrap_or_default();
        if inherited.is_empty() {
            made.dacl = Some(of_owner_alone(&owner));
        } else {
            made.control |= automatic;
            made.dacl = Some(Acl::new(inherited));
        }
    }
    if sent.control.contains(SecurityControl::SACL_PRESENT) {
        if !may_audit {
            return Err(Refusal::new(NtStatus::PRIVILEGE_NOT_HELD, "an audit list needs the right to audit"));
        }
        made.control |= sent.control & (SecurityControl::SACL_PRESENT | SecurityControl::SACL_PROTECTED);
        made.sacl = sent.sacl;
    } else {
        let automatic = parent.control & SecurityControl::SACL_AUTO_INHERITED;
        let mark = if automatic.is_empty() { AceFlags::NONE } else { AceFlags::INHERITED };
        let inherited = parent.sacl.as_ref().map(|list| handed_down(list, mark, &owner, &group, is_directory)).unwrap_or_default();
        if !inherited.is_empty() {
            made.control |= SecurityControl::SACL_PRESENT | automatic;
            made.sacl = Some(Acl::new(inherited));
        }
    }
    Ok(made)
}

/// The list where nothing else is said.
// MS-DTYP 2.5.3.4.1
// The default list of a token: the user and the system.
fn of_owner_alone(owner: &Sid) -> Acl {
    let all = |sid: Sid| Ace::allow(sid, AccessMask::FILE_ALL, AceFlags::NONE);
    Acl::new(vec![all(owner.clone()), all(Sid::system())])
}

/// The list of the client with specific rights, and the creator in the place of CREATOR OWNER where an entry counts for the object itself.
fn with_creator(list: Acl, owner: &Sid, group: &Sid) -> Acl {
    let entries = list.entries.into_iter().map(|ace| {
        if ace.flags.contains(AceFlags::INHERIT_ONLY) {
            return ace;
        }
        Ace { kind: concrete(&ace.kind, owner, group), ..ace }
    });
    Acl { entries: entries.collect(), revision: list.revision }
}

/// The entries that a directory's list hands down. `mark`: says that they are inherited.
// MS-DTYP 2.5.3.4.1
// Entries for objects go to files, entries for containers to directories, which hand them on.
// windows: they are marked as inherited where the directory's own list takes part in that, and only there.
fn handed_down(list: &Acl, mark: AceFlags, owner: &Sid, group: &Sid, is_directory: bool) -> Vec<Ace> {
    let mut aces = Vec::new();
    for ace in &list.entries {
        let (to_files, to_directories) = (ace.flags.contains(AceFlags::OBJECT_INHERIT), ace.flags.contains(AceFlags::CONTAINER_INHERIT));
        let hands_on = is_directory && (to_directories || to_files) && !ace.flags.contains(AceFlags::NO_PROPAGATE_INHERIT);
        let effective = if is_directory { to_directories } else { to_files };
        let audits = ace.flags & (AceFlags::SUCCESSFUL_ACCESS | AceFlags::FAILED_ACCESS);
        let handed = (ace.flags & (AceFlags::OBJECT_INHERIT | AceFlags::CONTAINER_INHERIT)) | mark | audits;
        if effective {
            let kind = concrete(&ace.kind, owner, group);
            if hands_on && kind == ace.kind {
                aces.push(Ace { flags: handed, kind });
                continue;
            }
            aces.push(Ace { flags: mark | audits, kind });
        }
        if hands_on {
            aces.push(Ace { flags: handed | AceFlags::INHERIT_ONLY, kind: ace.kind.clone() });
        }
    }
    aces
}

/// Puts owner and group in the place of CREATOR OWNER and CREATOR GROUP, and specific rights in that of generic ones.
fn concrete(kind: &AceKind, owner: &Sid, group: &Sid) -> AceKind {
    let person = |sid: &Sid| {
        if *sid == Sid::creator_owner() {
            owner.clone()
        } else if *sid == Sid::creator_group() {
            group.clone()
        } else {
            sid.clone()
        }
    };
    match kind {
        AceKind::Allowed { mask, sid } => AceKind::Allowed { mask: map_generic(*mask), sid: person(sid) },
        AceKind::Denied { mask, sid } => AceKind::Denied { mask: map_generic(*mask), sid: person(sid) },
        AceKind::Audit { mask, sid } => AceKind::Audit { mask: map_generic(*mask), sid: person(sid) },
        AceKind::Other { .. } => kind.clone(),
    }
}

/// The permission bits that a descriptor comes to on disk, for files that belong there to who made them.
// The owner keeps reading and writing (and, of a directory, entering); group and others get what the list gives them. Files do not become
// programs by it.
#[must_use]
pub(super) fn mode_of(descriptor: &SecurityDescriptor, is_directory: bool) -> u32 {
    let bits = |token: &Token| {
        let rights = super::descriptor::by_list(descriptor, token);
        let mut bits = 0;
        if rights.contains(AccessMask::READ_DATA) {
            bits |= 4;
        }
        if rights.contains(AccessMask::WRITE_DATA | AccessMask::APPEND_DATA) {
            bits |= 2;
        }
        if is_directory && rights.contains(AccessMask::EXECUTE) {
            bits |= 1;
        }
        bits
    };
    let others = bits(&Token::of_class([Sid::everyone(), Sid::authenticated_users()]));
    let of_group = descriptor.group.iter().cloned().chain([Sid::everyone(), Sid::authenticated_users()]);
    let group = bits(&Token::of_class(of_group));
    let owner = if is_directory { 7 } else { 6 };
    owner << 6 | group << 3 | others
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::mask;

    fn sid(rid: u32) -> Sid {
        Sid::new(5, &[21, 1, 2, 3, rid])
    }

    fn parent(aces: Vec<Ace>) -> SecurityDescriptor {
        let control = SecurityControl::DACL_PRESENT | SecurityControl::DACL_AUTO_INHERITED;
        SecurityDescriptor { owner: Some(sid(8)), control, dacl: Some(Acl::new(aces)), ..SecurityDescriptor::default() }
    }

    const BOTH: AceFlags = AceFlags(AceFlags::OBJECT_INHERIT.0 | AceFlags::CONTAINER_INHERIT.0);

    #[test]
    fn what_is_handed_down() {
        let token = Token::with(sid(7), []);
        let parent = parent(vec![
            Ace::allow(sid(8), AccessMask::READ_DATA, BOTH),
            Ace::allow(Sid::creator_owner(), AccessMask::GENERIC_ALL, AceFlags::OBJECT_INHERIT | AceFlags::INHERIT_ONLY),
            Ace::allow(Sid::everyone(), AccessMask::FILE_ALL, AceFlags::NONE),
        ]);
        let file = of_new(None, &parent, &token, false, false).unwrap();
        assert!(file.control.contains(SecurityControl::DACL_AUTO_INHERITED));
        assert_eq!((file.owner.as_ref(), file.group.as_ref()), (Some(&sid(7)), Some(&sid(513))));
        let entries = file.dacl.unwrap().entries;
        assert_eq!(entries.len(), 2);
        assert_eq!(entries[0].flags, AceFlags::INHERITED);
        assert_eq!(entries[1].kind, AceKind::Allowed { mask: AccessMask::FILE_ALL, sid: sid(7) });
        let directory = of_new(None, &parent, &token, false, true).unwrap().dacl.unwrap().entries;
        assert_eq!(directory[0].flags, BOTH | AceFlags::INHERITED);
        assert!(directory[1].flags.contains(AceFlags::INHERIT_ONLY), "an entry for files only passes through");
        assert_eq!(directory[1].kind, AceKind::Allowed { mask: AccessMask::GENERIC_ALL, sid: Sid::creator_owner() });
        // One that does not take part in inheriting hands the same down, unmarked.
        let apart = SecurityDescriptor { control: SecurityControl::DACL_PRESENT, ..parent };
        let file = of_new(None, &apart, &token, false, false).unwrap();
        assert!(!file.control.contains(SecurityControl::DACL_AUTO_INHERITED));
        assert!(file.dacl.unwrap().entries.iter().all(|ace| ace.flags == AceFlags::NONE));
    }

    #[test]
    fn without_anything_to_inherit_the_owner_and_the_system_are_in() {
        let made = of_new(None, &parent(Vec::new()), &Token::with(sid(7), []), false, false).unwrap();
        let sids: Vec<Sid> = made
            .dacl
            .unwrap()
            .entries
            .into_iter()
            .map(|ace| match ace.kind {
                AceKind::Allowed { mask, sid } if mask == AccessMask::FILE_ALL => sid,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(sids, [sid(7), Sid::system()]);
    }

    #[test]
    fn what_the_client_sends_counts_as_far_as_it_may() {
        let token = Token::with(sid(7), []);
        let from = parent(vec![Ace::allow(sid(8), AccessMask::READ_DATA, BOTH)]);
        let own = SecurityDescriptor { dacl: Some(Acl::default()), ..SecurityDescriptor::default() };
        let made = of_new(Some(&own.to_bytes()), &from, &token, false, false).unwrap();
        assert_eq!((made.owner, made.dacl), (Some(sid(7)), Some(Acl::default())), "an empty list stands for itself");
        // One without a list asks for the inherited one.
        let empty = SecurityDescriptor { group: Some(sid(9)), ..SecurityDescriptor::default() };
        let made = of_new(Some(&empty.to_bytes()), &from, &token, false, false).unwrap();
        assert_eq!((made.group, made.dacl.unwrap().entries.len()), (Some(sid(9)), 1));
        let other = SecurityDescriptor { owner: Some(sid(8)), ..SecurityDescriptor::default() }.to_bytes();
        assert_eq!(of_new(Some(&other), &from, &token, false, false).unwrap_err().status, NtStatus::INVALID_OWNER);
        let operator = Token::with(sid(7), [Sid::backup_operators()]);
        assert_eq!(of_new(Some(&other), &from, &operator, false, false).unwrap().owner, Some(sid(8)));
        let audit = SecurityDescriptor { sacl: Some(Acl::default()), ..SecurityDescriptor::default() }.to_bytes();
        assert_eq!(of_new(Some(&audit), &from, &token, false, false).unwrap_err().status, NtStatus::PRIVILEGE_NOT_HELD);
        assert!(of_new(Some(&audit), &from, &token, true, false).unwrap().sacl.is_some());
        assert!(of_new(Some(&[1, 2, 3]), &from, &token, false, false).is_err());
    }

    #[test]
    fn bits_on_disk() {
        let of = |aces| SecurityDescriptor { group: Some(sid(513)), ..parent(aces) };
        let all = |sid: Sid| Ace::allow(sid, AccessMask::FILE_ALL, AceFlags::NONE);
        assert_eq!(mode_of(&of(vec![all(sid(8))]), false), 0o600);
        assert_eq!(mode_of(&of(vec![all(sid(8)), all(sid(513))]), true), 0o770);
        let read = Ace::allow(Sid::everyone(), mask::FILE_GENERIC_READ | AccessMask::EXECUTE, AceFlags::NONE);
        assert_eq!(mode_of(&of(vec![all(sid(8)), read.clone()]), false), 0o644);
        assert_eq!(mode_of(&of(vec![Ace::deny(sid(513), AccessMask::READ_DATA, AceFlags::NONE), read]), true), 0o715);
    }
}
