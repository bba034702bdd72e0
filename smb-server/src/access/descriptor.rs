//! What a security descriptor gives to a token (MS-DTYP 2.5.3.2), and how SET_INFO changes one (MS-FSA 2.1.5.17). Pure.

use smb_proto::security::{Ace, AceFlags, AceKind, Acl, SecurityControl, SecurityDescriptor, SecurityInformation};
use smb_types::{AccessMask, Sid};

use super::{Privileges, Token, map_generic, mask};

/// ACE types that deny and are kept as bytes: object, callback, callback object.
// MS-DTYP 2.4.4.1
const TYPES_DENIED: [u8; 3] = [0x06, 0x0A, 0x0C];
/// Of these, the ones with two optional GUIDs before the SID.
const TYPES_OBJECT: [u8; 2] = [0x06, 0x0C];
/// Control bits that speak of the DACL.
const DACL_BITS: SecurityControl = SecurityControl(0x150C);
/// Control bits that speak of the SACL.
const SACL_BITS: SecurityControl = SecurityControl(0x2A30);

/// The most that a token may do with an object that has this descriptor, privileges included. A null list allows everything.
// MS-DTYP 2.5.3.2
// Entries count in order: the first that speaks of a right decides.
#[must_use]
pub(super) fn maximal(descriptor: &SecurityDescriptor, token: &Token, for_backup: bool) -> AccessMask {
    let mut allowed = by_list(descriptor, token);
    if token.holds(Privileges::TAKE_OWNERSHIP) {
        allowed |= AccessMask::WRITE_OWNER;
    }
    if token.holds(Privileges::SECURITY) {
        allowed |= AccessMask::ACCESS_SYSTEM_SECURITY;
    }
    // MS-FSA 2.1.5.1
    // Open.HasBackupAccess and Open.HasRestoreAccess
    if for_backup && token.holds(Privileges::BACKUP) {
        allowed |= mask::FILE_GENERIC_READ | AccessMask::EXECUTE | AccessMask::ACCESS_SYSTEM_SECURITY;
    }
    if for_backup && token.holds(Privileges::RESTORE) {
        let more = AccessMask::DELETE | AccessMask::WRITE_DAC | AccessMask::WRITE_OWNER | AccessMask::ACCESS_SYSTEM_SECURITY;
        allowed |= mask::FILE_GENERIC_WRITE | more;
    }
    allowed
}

/// What the discretionary list and ownership give.
#[must_use]
pub(super) fn by_list(descriptor: &SecurityDescriptor, token: &Token) -> AccessMask {
    let Some(list) = &descriptor.dacl else { return AccessMask::FILE_ALL };
    let owner_rights = Sid::owner_rights();
    let is_owner = descriptor.owner.as_ref().is_some_and(|owner| token.is(owner));
    let concerns = |sid: &Sid| token.is(sid) || (is_owner && *sid == owner_rights);
    let (mut allowed, mut denied) = (AccessMask::NONE, AccessMask::NONE);
    let mut is_limited = false;
    for ace in list.entries.iter().filter(|ace| !ace.flags.contains(AceFlags::INHERIT_ONLY)) {
        match &ace.kind {
            AceKind::Allowed { mask, sid } if concerns(sid) => allowed |= map_generic(*mask).without(denied),
            AceKind::Denied { mask, sid } if concerns(sid) => denied |= map_generic(*mask).without(allowed),
            AceKind::Other { ace_type, data } => {
                // A condition, or a part of the object, that is not understood: as if it were met.
                if let Some((mask, sid)) = denied_by(*ace_type, data).filter(|(_, sid)| concerns(sid)) {
                    denied |= map_generic(mask).without(allowed);
                    is_limited |= sid == owner_rights;
                }
            }
            AceKind::Allowed { .. } | AceKind::Denied { .. } | AceKind::Audit { .. } => {}
        }
        is_limited |= matches!(&ace.kind, AceKind::Allowed { sid, .. } | AceKind::Denied { sid, .. } if *sid == owner_rights);
    }
    // MS-DTYP 2.5.3.2
    // The owner may always read and change the list, unless an entry says what owners may.
    if is_owner && !is_limited {
        allowed |= AccessMask::READ_CONTROL | AccessMask::WRITE_DAC;
    }
    allowed & AccessMask::FILE_ALL
}

/// Mask and SID of an entry that denies in a form that is kept as bytes.
// MS-DTYP 2.4.4.4, 2.4.4.7, 2.4.4.9
fn denied_by(ace_type: u8, data: &[u8]) -> Option<(AccessMask, Sid)> {
    if !TYPES_DENIED.contains(&ace_type) {
        return None;
    }
    let word = |at: usize| data.get(at..at + 4).and_then(|word| word.try_into().ok()).map(u32::from_le_bytes);
    let mask = AccessMask(word(0)?);
    let sid_at = if TYPES_OBJECT.contains(&ace_type) {
        let present = word(4)? & 3;
        8 + 16 * present.count_ones() as usize
    } else {
        4
    };
    Sid::from_bytes(data.get(sid_at..)?).map(|(sid, _)| (mask, sid))
}

/// The descriptor with the parts of `change` that `which` names.
// MS-FSA 2.1.5.17
#[must_use]
pub(crate) fn merge(mut current: SecurityDescriptor, change: SecurityDescriptor, which: SecurityInformation) -> SecurityDescriptor {
    if which.contains(SecurityInformation::OWNER) && change.owner.is_some() {
        current.owner = change.owner;
    }
    if which.contains(SecurityInformation::GROUP) && change.group.is_some() {
        current.group = change.group;
    }
    if which.contains(SecurityInformation::DACL) {
        let mut control = change.control & DACL_BITS;
        // MS-DTYP 2.5.3.4.2
        // Who asks for inheritance and has done it himself gets the mark; the request's bit is not kept.
        if !control.contains(SecurityControl::DACL_AUTO_INHERIT_REQ) {
            control = control.without(SecurityControl::DACL_AUTO_INHERITED);
        }
        control = control.without(SecurityControl::DACL_AUTO_INHERIT_REQ);
        current.control = current.control.without(DACL_BITS) | control | SecurityControl::DACL_PRESENT;
        current.dacl = change.dacl.map(specific);
    }
    if which.intersects(SecurityInformation::SACL | SecurityInformation::ATTRIBUTE | SecurityInformation::SCOPE) {
        current.control = current.control.without(SACL_BITS) | (change.control & SACL_BITS);
        current.sacl = change.sacl;
    }
    current
}

/// The list with specific rights in the place of generic ones.
fn specific(list: Acl) -> Acl {
    let entries = list.entries.into_iter().map(|ace| Ace { kind: specific_kind(&ace), ..ace }).collect();
    Acl { entries, ..list }
}

fn specific_kind(ace: &Ace) -> AceKind {
    // What is only handed down keeps its generic rights: they mean something else on what inherits them.
    if ace.flags.contains(AceFlags::INHERIT_ONLY) {
        return ace.kind.clone();
    }
    match &ace.kind {
        AceKind::Allowed { mask, sid } => AceKind::Allowed { mask: map_generic(*mask), sid: sid.clone() },
        AceKind::Denied { mask, sid } => AceKind::Denied { mask: map_generic(*mask), sid: sid.clone() },
        other @ (AceKind::Audit { .. } | AceKind::Other { .. }) => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor(owner: &Sid, aces: Vec<Ace>) -> SecurityDescriptor {
        SecurityDescriptor { owner: Some(owner.clone()), dacl: Some(Acl::new(aces)), ..SecurityDescriptor::default() }
    }

    fn sid(rid: u32) -> Sid {
        Sid::new(5, &[21, 1, 2, 3, rid])
    }

    #[test]
    fn entries_count_in_order_and_owners_keep_a_way_in() {
        let token = Token::with(sid(7), []);
        let aces = vec![
            Ace::deny(sid(7), AccessMask::WRITE_DATA, AceFlags::NONE),
            Ace::allow(Sid::everyone(), mask::FILE_GENERIC_READ | AccessMask::WRITE_DATA, AceFlags::NONE),
        ];
        assert_eq!(by_list(&descriptor(&sid(8), aces.clone()), &token), mask::FILE_GENERIC_READ);
        let reversed: Vec<Ace> = aces.iter().rev().cloned().collect();
        assert!(by_list(&descriptor(&sid(8), reversed), &token).contains(AccessMask::WRITE_DATA), "the first entry decides");
        assert!(by_list(&descriptor(&sid(7), aces.clone()), &token).contains(AccessMask::WRITE_DAC));
        let mut limited = aces;
        limited.push(Ace::allow(Sid::owner_rights(), AccessMask::READ_CONTROL, AceFlags::NONE));
        let found = by_list(&descriptor(&sid(7), limited), &token);
        assert!(found.contains(AccessMask::READ_CONTROL) && !found.intersects(AccessMask::WRITE_DAC));
    }

    #[test]
    fn a_null_list_allows_all_an_empty_one_nothing() {
        let token = Token::with(sid(7), []);
        let null = SecurityDescriptor { owner: Some(sid(8)), control: SecurityControl::DACL_PRESENT, ..SecurityDescriptor::default() };
        assert_eq!(by_list(&null, &token), AccessMask::FILE_ALL);
        assert_eq!(by_list(&descriptor(&sid(8), Vec::new()), &token), AccessMask::NONE);
        assert_eq!(maximal(&descriptor(&sid(8), Vec::new()), &Token::anonymous(), true), AccessMask::NONE);
    }

    #[test]
    fn groups_count_as_their_members_and_nested_denials_hold() {
        let token = Token::with(sid(7), [sid(100), sid(101)]);
        let by_group = vec![Ace::allow(sid(100), AccessMask::FILE_ALL, AceFlags::NONE)];
        assert_eq!(by_list(&descriptor(&sid(8), by_group.clone()), &token), AccessMask::FILE_ALL);
        assert_eq!(by_list(&descriptor(&sid(8), by_group.clone()), &Token::with(sid(9), [])), AccessMask::NONE);
        let denied: Vec<Ace> = [Ace::deny(sid(101), AccessMask::DELETE, AceFlags::NONE)].into_iter().chain(by_group).collect();
        assert_eq!(by_list(&descriptor(&sid(8), denied), &token), AccessMask::FILE_ALL.without(AccessMask::DELETE));
        // A group owns as its members do.
        assert!(by_list(&descriptor(&sid(100), Vec::new()), &token).contains(AccessMask::WRITE_DAC));
    }

    #[test]
    fn what_is_not_understood_denies_and_never_allows() {
        let token = Token::with(sid(7), []);
        let data = [&0x2_u32.to_le_bytes()[..], &sid(7).to_bytes(), b"artx"].concat();
        let callback = |ace_type| Ace { flags: AceFlags::NONE, kind: AceKind::Other { ace_type, data: data.clone() } };
        let all = Ace::allow(Sid::everyone(), AccessMask::FILE_ALL, AceFlags::NONE);
        let found = by_list(&descriptor(&sid(8), vec![callback(0x0A), all.clone()]), &token);
        assert_eq!(found, AccessMask::FILE_ALL.without(AccessMask::WRITE_DATA));
        assert_eq!(by_list(&descriptor(&sid(8), vec![callback(0x09)]), &token), AccessMask::NONE, "a conditional entry that allows");
        let object = [&0x4_u32.to_le_bytes()[..], &1_u32.to_le_bytes(), &[9; 16], &sid(7).to_bytes()].concat();
        let object = Ace { flags: AceFlags::NONE, kind: AceKind::Other { ace_type: 0x06, data: object } };
        let found = by_list(&descriptor(&sid(8), vec![object, all]), &token);
        assert_eq!(found, AccessMask::FILE_ALL.without(AccessMask::APPEND_DATA));
    }

    #[test]
    fn privileges_stand_above_the_list() {
        let nothing = descriptor(&sid(8), Vec::new());
        let admin = Token::with(sid(7), [Sid::administrators()]);
        assert_eq!(maximal(&nothing, &admin, false), AccessMask::WRITE_OWNER | AccessMask::ACCESS_SYSTEM_SECURITY);
        let operator = Token::with(sid(7), [Sid::backup_operators()]);
        assert_eq!(maximal(&nothing, &operator, false), AccessMask::NONE, "only for a backup");
        let for_backup = maximal(&nothing, &operator, true);
        assert!(for_backup.contains(AccessMask::READ_DATA | AccessMask::WRITE_DATA | AccessMask::DELETE | AccessMask::WRITE_DAC));
    }

    #[test]
    fn only_the_named_parts_change() {
        let current = SecurityDescriptor {
            group: Some(sid(513)),
            sacl: Some(Acl::default()),
            ..descriptor(&sid(7), vec![Ace::allow(Sid::everyone(), AccessMask::FILE_ALL, AceFlags::NONE)])
        };
        let change = descriptor(&sid(8), vec![Ace::allow(sid(8), AccessMask::GENERIC_READ, AceFlags::NONE)]);
        let merged = merge(current.clone(), change.clone(), SecurityInformation::DACL);
        assert_eq!((&merged.owner, &merged.group, &merged.sacl), (&current.owner, &current.group, &current.sacl));
        let expected = AceKind::Allowed { mask: mask::FILE_GENERIC_READ, sid: sid(8) };
        assert_eq!(merged.dacl.unwrap().entries[0].kind, expected);
        let merged = merge(current.clone(), change, SecurityInformation::OWNER);
        assert_eq!((merged.owner, merged.dacl), (Some(sid(8)), current.dacl));
    }
}
