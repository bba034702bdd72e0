//! Access masks: what is legal to ask, what generic rights mean, what a security descriptor allows, what a new file inherits.
//!
//! Pure. Knows nothing of share modes: those are between opens and belong to the records.

use smb_proto::security::{Ace, AceFlags, AceKind, Acl, SecurityControl, SecurityDescriptor};
use smb_types::{AccessMask, NtStatus, Sid};

use crate::error::Refusal;

/// Bits that mean nothing in a DesiredAccess.
const UNDEFINED: AccessMask = AccessMask(0x0CE0_FE00);
/// GENERIC_READ of a file.
const FILE_GENERIC_READ: AccessMask = AccessMask(0x0012_0089);
/// GENERIC_WRITE of a file.
const FILE_GENERIC_WRITE: AccessMask = AccessMask(0x0012_0116);
/// GENERIC_EXECUTE of a file.
const FILE_GENERIC_EXECUTE: AccessMask = AccessMask(0x0012_00A0);

/// Checks a DesiredAccess and replaces its generic rights. MAXIMUM_ALLOWED stays.
///
/// # Errors
/// ACCESS_DENIED, PRIVILEGE_NOT_HELD.
// MS-SMB2 3.3.5.9
// A mask without a defined bit is refused.
pub(crate) fn resolve(desired: AccessMask) -> Result<AccessMask, Refusal> {
    if desired.is_empty() || desired.intersects(UNDEFINED) {
        return Err(Refusal::new(NtStatus::ACCESS_DENIED, "DesiredAccess has no, or undefined, bits"));
    }
    if desired.contains(AccessMask::ACCESS_SYSTEM_SECURITY) {
        return Err(Refusal::new(NtStatus::PRIVILEGE_NOT_HELD, "nobody has the right to audit rules"));
    }
    Ok(map_generic(desired))
}

/// Replaces generic rights by what they mean for files.
#[must_use]
pub(crate) fn map_generic(mask: AccessMask) -> AccessMask {
    let mut mapped =
        mask.without(AccessMask::GENERIC_ALL | AccessMask::GENERIC_EXECUTE | AccessMask::GENERIC_WRITE | AccessMask::GENERIC_READ);
    for (generic, specific) in [
        (AccessMask::GENERIC_READ, FILE_GENERIC_READ),
        (AccessMask::GENERIC_WRITE, FILE_GENERIC_WRITE),
        (AccessMask::GENERIC_EXECUTE, FILE_GENERIC_EXECUTE),
        (AccessMask::GENERIC_ALL, AccessMask::FILE_ALL),
    ] {
        if mask.contains(generic) {
            mapped |= specific;
        }
    }
    mapped
}

/// What a user may do at most with a file that has this descriptor. Without one, or without a list in it, everything.
// MS-DTYP 2.5.3.2
// Entries count in order: the first that speaks of a right decides. The owner may always read and change the list.
#[must_use]
pub(crate) fn maximal(descriptor: Option<&SecurityDescriptor>, user: &Sid) -> AccessMask {
    let Some(descriptor) = descriptor else { return AccessMask::FILE_ALL };
    let Some(list) = &descriptor.dacl else { return AccessMask::FILE_ALL };
    let owner_rights = Sid::new(3, &[4]);
    let is_owner = descriptor.owner.as_ref() == Some(user);
    let concerns = |sid: &Sid| {
        sid == user
            || *sid == Sid::everyone()
            || *sid == Sid::new(5, &[11])
            || *sid == Sid::new(5, &[2])
            || (is_owner && *sid == owner_rights)
    };
    let (mut allowed, mut denied) = (AccessMask::NONE, AccessMask::NONE);
    let mut owner_limited = false;
    for ace in list.entries.iter().filter(|ace| !ace.flags.contains(AceFlags::INHERIT_ONLY)) {
        match &ace.kind {
            AceKind::Allowed { mask, sid } if concerns(sid) => allowed |= map_generic(*mask).without(denied),
            AceKind::Denied { mask, sid } if concerns(sid) => denied |= map_generic(*mask).without(allowed),
            AceKind::Allowed { .. } | AceKind::Denied { .. } | AceKind::Audit { .. } | AceKind::Other { .. } => {}
        }
        owner_limited |= matches!(&ace.kind, AceKind::Allowed { sid, .. } | AceKind::Denied { sid, .. } if *sid == owner_rights);
    }
    if is_owner && !owner_limited {
        allowed |= AccessMask::READ_CONTROL | AccessMask::WRITE_DAC;
    }
    allowed & AccessMask::FILE_ALL
}

/// The access an open gets: what was asked for, or all there is for MAXIMUM_ALLOWED.
///
/// # Errors
/// ACCESS_DENIED when something was asked for by name that is not allowed.
pub(crate) fn grant(asked: AccessMask, maximal: AccessMask) -> Result<AccessMask, Refusal> {
    let named = asked.without(AccessMask::MAXIMUM_ALLOWED);
    if !maximal.contains(named) {
        return Err(Refusal::new(NtStatus::ACCESS_DENIED, "the security descriptor, or the share, does not allow it"));
    }
    let granted = if asked.contains(AccessMask::MAXIMUM_ALLOWED) { named | maximal } else { named };
    if granted.is_empty() {
        return Err(Refusal::new(NtStatus::ACCESS_DENIED, "nothing is allowed"));
    }
    Ok(granted)
}

/// The descriptor that a new file or directory inherits; None when its directory hands nothing down.
// MS-DTYP 2.5.3.4.1
// Entries for objects go to files, entries for containers to directories, which hand them on; CREATOR OWNER becomes the creator.
#[must_use]
pub(crate) fn inherit(parent: Option<&SecurityDescriptor>, creator: &Sid, is_directory: bool) -> Option<SecurityDescriptor> {
    let list = parent?.dacl.as_ref()?;
    let mut aces = Vec::new();
    for ace in &list.entries {
        let (to_files, to_directories) = (ace.flags.contains(AceFlags::OBJECT_INHERIT), ace.flags.contains(AceFlags::CONTAINER_INHERIT));
        let hands_on = is_directory && (to_directories || to_files) && !ace.flags.contains(AceFlags::NO_PROPAGATE_INHERIT);
        let effective = if is_directory { to_directories } else { to_files };
        let handed_flags = (ace.flags & (AceFlags::OBJECT_INHERIT | AceFlags::CONTAINER_INHERIT)) | AceFlags::INHERITED;
        if effective {
            let concrete = for_creator(&ace.kind, creator);
            if hands_on && concrete == ace.kind {
                aces.push(Ace { flags: handed_flags, kind: concrete });
                continue;
            }
            aces.push(Ace { flags: AceFlags::INHERITED, kind: concrete });
        }
        if hands_on {
            aces.push(Ace { flags: handed_flags | AceFlags::INHERIT_ONLY, kind: ace.kind.clone() });
        }
    }
    if aces.is_empty() {
        return None;
    }
    Some(SecurityDescriptor {
        control: SecurityControl::DACL_PRESENT | SecurityControl::DACL_AUTO_INHERITED,
        owner: Some(creator.clone()),
        group: Some(creator.clone()),
        sacl: None,
        dacl: Some(Acl::new(aces)),
    })
}

/// The descriptor of a new file: what the client sends; what it leaves out is inherited. None when neither says anything.
// MS-DTYP 2.5.3.4.1
// A descriptor without a list asks for the inherited one; only a list that is present and empty, or null, stands for itself.
#[must_use]
pub(crate) fn of_new(sent: Option<&[u8]>, inherited: Option<SecurityDescriptor>) -> Option<Vec<u8>> {
    let Some(bytes) = sent else { return inherited.map(|descriptor| descriptor.to_bytes()) };
    let Ok(sent) = SecurityDescriptor::decode(bytes) else { return Some(bytes.to_vec()) };
    if sent.control.contains(SecurityControl::DACL_PRESENT) {
        return Some(bytes.to_vec());
    }
    if let Some(inherited) = inherited {
        let owner = sent.owner.or(inherited.owner);
        return Some(SecurityDescriptor { owner, group: sent.group.or(inherited.group), sacl: sent.sacl, ..inherited }.to_bytes());
    }
    if sent.owner.is_none() && sent.group.is_none() && sent.sacl.is_none() {
        return None;
    }
    let everyone = Acl::new(vec![Ace::allow(Sid::everyone(), AccessMask::FILE_ALL, AceFlags::NONE)]);
    Some(SecurityDescriptor { control: sent.control | SecurityControl::DACL_PRESENT, dacl: Some(everyone), ..sent }.to_bytes())
}

/// Puts the creator in the place of CREATOR OWNER and CREATOR GROUP, and specific rights in that of generic ones.
fn for_creator(kind: &AceKind, creator: &Sid) -> AceKind {
    let person = |sid: &Sid| if *sid == Sid::new(3, &[0]) || *sid == Sid::new(3, &[1]) { creator.clone() } else { sid.clone() };
    match kind {
        AceKind::Allowed { mask, sid } => AceKind::Allowed { mask: map_generic(*mask), sid: person(sid) },
        AceKind::Denied { mask, sid } => AceKind::Denied { mask: map_generic(*mask), sid: person(sid) },
        AceKind::Audit { .. } | AceKind::Other { .. } => kind.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor(aces: Vec<Ace>, owner: Sid) -> SecurityDescriptor {
        SecurityDescriptor {
            control: SecurityControl::DACL_PRESENT,
            owner: Some(owner),
            group: None,
            sacl: None,
            dacl: Some(Acl::new(aces)),
        }
    }

    #[test]
    fn masks_that_mean_nothing_are_refused() {
        for bad in [0, 0x200, 0x8000, 0x0020_0000, 0x0400_0000] {
            assert_eq!(resolve(AccessMask(bad)).unwrap_err().status, NtStatus::ACCESS_DENIED, "{bad:#x}");
        }
        assert_eq!(resolve(AccessMask::GENERIC_READ).unwrap(), FILE_GENERIC_READ);
        assert_eq!(resolve(AccessMask::MAXIMUM_ALLOWED).unwrap(), AccessMask::MAXIMUM_ALLOWED);
    }

    #[test]
    fn entries_count_in_order_and_owners_keep_a_way_in() {
        let (user, other) = (Sid::new(5, &[21, 7]), Sid::new(5, &[21, 8]));
        let aces = vec![
            Ace::deny(user.clone(), AccessMask::WRITE_DATA, AceFlags::NONE),
            Ace::allow(Sid::everyone(), FILE_GENERIC_READ | AccessMask::WRITE_DATA, AceFlags::NONE),
        ];
        let found = maximal(Some(&descriptor(aces.clone(), other.clone())), &user);
        assert_eq!(found, FILE_GENERIC_READ);
        assert!(maximal(Some(&descriptor(aces, user.clone())), &user).contains(AccessMask::WRITE_DAC));
        assert_eq!(maximal(None, &user), AccessMask::FILE_ALL);
        assert!(grant(AccessMask::WRITE_DATA, found).is_err());
        assert_eq!(grant(AccessMask::MAXIMUM_ALLOWED, found).unwrap(), FILE_GENERIC_READ);
        assert!(grant(AccessMask::MAXIMUM_ALLOWED, AccessMask::NONE).is_err());
    }

    #[test]
    fn what_a_new_file_gets() {
        let user = Sid::new(5, &[21, 7]);
        let empty = SecurityDescriptor::default().to_bytes();
        assert_eq!(of_new(Some(&empty), None), None);
        let inherited = descriptor(vec![Ace::allow(user.clone(), AccessMask::READ_DATA, AceFlags::INHERITED)], user.clone());
        let made = SecurityDescriptor::decode(&of_new(Some(&empty), Some(inherited.clone())).unwrap()).unwrap();
        assert_eq!(made.dacl, inherited.dacl);
        let own = descriptor(Vec::new(), user).to_bytes();
        assert_eq!(of_new(Some(&own), Some(inherited)), Some(own));
    }

    #[test]
    fn what_is_handed_down() {
        let (creator, boss) = (Sid::new(5, &[21, 7]), Sid::new(5, &[21, 8]));
        let both = AceFlags::OBJECT_INHERIT | AceFlags::CONTAINER_INHERIT;
        let parent = descriptor(
            vec![
                Ace::allow(boss.clone(), AccessMask::READ_DATA, both),
                Ace::allow(Sid::new(3, &[0]), AccessMask::GENERIC_ALL, AceFlags::OBJECT_INHERIT | AceFlags::INHERIT_ONLY),
                Ace::allow(Sid::everyone(), AccessMask::FILE_ALL, AceFlags::NONE),
            ],
            boss.clone(),
        );
        let file = inherit(Some(&parent), &creator, false).unwrap().dacl.unwrap().entries;
        assert_eq!(file.len(), 2);
        assert_eq!(file[1].kind, AceKind::Allowed { mask: AccessMask::FILE_ALL, sid: creator.clone() });
        assert_eq!(file[0].flags, AceFlags::INHERITED);
        let directory = inherit(Some(&parent), &creator, true).unwrap().dacl.unwrap().entries;
        assert_eq!(directory[0].flags, both | AceFlags::INHERITED);
        assert!(directory[1].flags.contains(AceFlags::INHERIT_ONLY), "an entry for files only passes through");
        assert_eq!(inherit(None, &creator, true), None);
    }
}
