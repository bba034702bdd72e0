//! The access list of a share as operators see and edit it: who may do how much, in three words. Pure.

use std::{fmt, str::FromStr};

use smb_proto::{
    DecodeError,
    security::{Ace, AceFlags, AceKind, Acl, SecurityControl, SecurityDescriptor},
};
use smb_types::{AccessMask, Sid};

use super::map_generic;

/// What an entry allows or denies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShareRights {
    /// Everything that the files allow.
    Full,
    /// Reading, writing and deleting; not: changing owners and lists.
    Change,
    /// Reading.
    Read,
    /// What no word says.
    Other(AccessMask),
}

/// The words, and the masks that Windows sets for them.
const WORDS: [(&str, ShareRights, AccessMask); 3] = [
    ("full", ShareRights::Full, AccessMask(0x001F_01FF)),
    ("change", ShareRights::Change, AccessMask(0x0013_01BF)),
    ("read", ShareRights::Read, AccessMask(0x0012_00A9)),
];

impl ShareRights {
    fn of(mask: AccessMask) -> Self {
        let mask = map_generic(mask);
        WORDS.iter().find(|(_, _, known)| *known == mask).map_or(Self::Other(mask), |(_, rights, _)| *rights)
    }

    fn mask(self) -> AccessMask {
        match self {
            Self::Other(mask) => mask,
            known => WORDS.iter().find(|(_, rights, _)| *rights == known).map_or(AccessMask::NONE, |(_, _, mask)| *mask),
        }
    }
}

impl fmt::Display for ShareRights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (WORDS.iter().find(|(_, rights, _)| rights == self), self) {
            (Some((word, _, _)), _) => f.pad(word),
            (None, other) => f.pad(&format!("0x{:08x}", other.mask().0)),
        }
    }
}

impl FromStr for ShareRights {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = WORDS.iter().find(|(word, _, _)| text.eq_ignore_ascii_case(word)).map(|(_, rights, _)| *rights);
        known.ok_or_else(|| format!("{text:?} is none of full, change, read"))
    }
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareEntry {
    /// For whom.
    pub sid: Sid,
    /// How much.
    pub rights: ShareRights,
    /// It denies them; else it allows them.
    pub denies: bool,
}

/// The descriptor of a share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareAcl {
    descriptor: SecurityDescriptor,
}

impl Default for ShareAcl {
    /// Everybody may do what the files allow.
    fn default() -> Self {
        Self { descriptor: of_entries(vec![Ace::allow(Sid::everyone(), ShareRights::Full.mask(), AceFlags::NONE)]) }
    }
}

fn of_entries(entries: Vec<Ace>) -> SecurityDescriptor {
    SecurityDescriptor {
        control: SecurityControl::DACL_PRESENT | SecurityControl::SELF_RELATIVE,
        owner: Some(Sid::administrators()),
        group: Some(Sid::administrators()),
        sacl: None,
        dacl: Some(Acl::new(entries)),
    }
}

impl ShareAcl {
    /// Reads what is stored with a share.
    ///
    /// # Errors
    /// It is no descriptor.
    pub fn decode(stored: Option<&[u8]>) -> Result<Self, DecodeError> {
        stored.map_or_else(|| Ok(Self::default()), |bytes| Ok(Self { descriptor: SecurityDescriptor::decode(bytes)? }))
    }

    /// What is stored with a share; None for the default.
    #[must_use]
    pub fn encode(&self) -> Option<Vec<u8>> {
        (*self != Self::default()).then(|| self.to_bytes())
    }

    /// The descriptor itself, self-relative (MS-DTYP 2.4.6).
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.descriptor.to_bytes()
    }

    /// The entries that allow or deny, in their order.
    #[must_use]
    pub fn entries(&self) -> Vec<ShareEntry> {
        let Some(list) = &self.descriptor.dacl else { return Self::default().entries() };
        let entry = |ace: &Ace| match &ace.kind {
            AceKind::Allowed { mask, sid } => Some(ShareEntry { sid: sid.clone(), rights: ShareRights::of(*mask), denies: false }),
            AceKind::Denied { mask, sid } => Some(ShareEntry { sid: sid.clone(), rights: ShareRights::of(*mask), denies: true }),
            AceKind::Audit { .. } | AceKind::Other { .. } => None,
        };
        list.entries.iter().filter_map(entry).collect()
    }

    /// Puts an entry in the place of one of the same kind for the same account. Entries that deny come first.
    pub fn put(&mut self, entry: &ShareEntry) {
        let make = if entry.denies { Ace::deny } else { Ace::allow };
        let ace = make(entry.sid.clone(), entry.rights.mask(), AceFlags::NONE);
        let list = self.list();
        list.retain(|old| !is_of(old, &entry.sid) || matches!(old.kind, AceKind::Denied { .. }) != entry.denies);
        let at = if entry.denies { list.iter().take_while(|ace| matches!(ace.kind, AceKind::Denied { .. })).count() } else { list.len() };
        list.insert(at, ace);
    }

    /// Takes the entries of an account out. Tells whether there were any.
    pub fn take(&mut self, sid: &Sid) -> bool {
        let list = self.list();
        let before = list.len();
        list.retain(|ace| !is_of(ace, sid));
        list.len() < before
    }

    /// The entries; those of the default where there is no list, which allows the same.
    fn list(&mut self) -> &mut Vec<Ace> {
        self.descriptor.control |= SecurityControl::DACL_PRESENT;
        let everyone = || Acl::new(vec![Ace::allow(Sid::everyone(), ShareRights::Full.mask(), AceFlags::NONE)]);
        &mut self.descriptor.dacl.get_or_insert_with(everyone).entries
    }
}

fn is_of(ace: &Ace, wanted: &Sid) -> bool {
    matches!(&ace.kind, AceKind::Allowed { sid, .. } | AceKind::Denied { sid, .. } if sid == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ann() -> Sid {
        Sid::new(5, &[21, 1, 2, 3, 1000])
    }

    fn shown(acl: &ShareAcl) -> Vec<String> {
        let line = |entry: ShareEntry| format!("{}{}:{}", if entry.denies { "deny " } else { "" }, entry.sid, entry.rights);
        acl.entries().into_iter().map(line).collect()
    }

    #[test]
    fn the_default_allows_everybody_everything_and_is_not_stored() {
        let acl = ShareAcl::decode(None).unwrap();
        assert_eq!((shown(&acl), acl.encode()), (vec!["S-1-1-0:full".to_owned()], None));
        // MS-DTYP 2.4.6
        // A null list allows the same.
        let null = SecurityDescriptor { control: SecurityControl::DACL_PRESENT, ..SecurityDescriptor::default() }.to_bytes();
        let mut null = ShareAcl::decode(Some(&null)).unwrap();
        assert_eq!(shown(&null), ["S-1-1-0:full"]);
        assert!(null.take(&Sid::everyone()) && shown(&null).is_empty() && null.encode().is_some(), "an empty list lets nobody in");
        assert!(ShareAcl::decode(Some(&[1, 2])).is_err());
    }

    #[test]
    fn an_account_has_one_entry_of_each_kind_and_those_that_deny_come_first() {
        let mut acl = ShareAcl::default();
        let put = |acl: &mut ShareAcl, rights, denies| acl.put(&ShareEntry { sid: ann(), rights, denies });
        put(&mut acl, ShareRights::Read, false);
        put(&mut acl, ShareRights::Change, false);
        put(&mut acl, ShareRights::Full, true);
        let ann = ann();
        assert_eq!(shown(&acl), [format!("deny {ann}:full"), "S-1-1-0:full".into(), format!("{ann}:change")]);
        let again = ShareAcl::decode(acl.encode().as_deref()).unwrap();
        assert_eq!(again, acl);
        assert!(acl.take(&ann) && !acl.take(&ann));
        assert_eq!(shown(&acl), ["S-1-1-0:full"]);
    }

    #[test]
    fn words() {
        for (word, rights, mask) in WORDS {
            assert_eq!((word.parse(), ShareRights::of(mask), rights.to_string()), (Ok(rights), rights, word.to_owned()));
        }
        assert_eq!(ShareRights::of(AccessMask::GENERIC_ALL), ShareRights::Full);
        assert_eq!(ShareRights::of(AccessMask(2)).to_string(), "0x00000002");
        assert!("write".parse::<ShareRights>().is_err());
    }
}
