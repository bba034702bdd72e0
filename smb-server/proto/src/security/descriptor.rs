//! A self-relative security descriptor (MS-DTYP 2.4.6).

use smb_types::Sid;

use super::Acl;
use crate::error::DecodeError;
use crate::wire::{Put, Reader, flags, len_u32, patch_u32};

flags! {
    /// Control bits of a descriptor.
    SecurityControl(u16) {
        /// SE_OWNER_DEFAULTED.
        OWNER_DEFAULTED = 0x1;
        /// SE_GROUP_DEFAULTED.
        GROUP_DEFAULTED = 0x2;
        /// SE_DACL_PRESENT.
        DACL_PRESENT = 0x4;
        /// SE_DACL_DEFAULTED.
        DACL_DEFAULTED = 0x8;
        /// SE_SACL_PRESENT.
        SACL_PRESENT = 0x10;
        /// SE_SACL_DEFAULTED.
        SACL_DEFAULTED = 0x20;
        /// SE_DACL_AUTO_INHERIT_REQ.
        DACL_AUTO_INHERIT_REQ = 0x100;
        /// SE_SACL_AUTO_INHERIT_REQ.
        SACL_AUTO_INHERIT_REQ = 0x200;
        /// SE_DACL_AUTO_INHERITED.
        DACL_AUTO_INHERITED = 0x400;
        /// SE_SACL_AUTO_INHERITED.
        SACL_AUTO_INHERITED = 0x800;
        /// SE_DACL_PROTECTED.
        DACL_PROTECTED = 0x1000;
        /// SE_SACL_PROTECTED.
        SACL_PROTECTED = 0x2000;
        /// SE_SELF_RELATIVE.
        SELF_RELATIVE = 0x8000;
    }
}

flags! {
    /// Which parts of a descriptor QUERY_INFO and SET_INFO mean (AdditionalInformation).
    SecurityInformation(u32) {
        /// OWNER_SECURITY_INFORMATION.
        OWNER = 0x1;
        /// GROUP_SECURITY_INFORMATION.
        GROUP = 0x2;
        /// DACL_SECURITY_INFORMATION.
        DACL = 0x4;
        /// SACL_SECURITY_INFORMATION.
        SACL = 0x8;
        /// LABEL_SECURITY_INFORMATION.
        LABEL = 0x10;
        /// ATTRIBUTE_SECURITY_INFORMATION.
        ATTRIBUTE = 0x20;
        /// SCOPE_SECURITY_INFORMATION.
        SCOPE = 0x40;
        /// BACKUP_SECURITY_INFORMATION.
        BACKUP = 0x1_0000;
    }
}

/// Length of the descriptor's header.
const HEADER: usize = 20;

/// A descriptor. A DACL that is present but None allows everybody everything; see `control`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SecurityDescriptor {
    /// Control; SELF_RELATIVE, DACL_PRESENT and SACL_PRESENT are added as needed when encoding.
    pub control: SecurityControl,
    /// Owner.
    pub owner: Option<Sid>,
    /// Primary group.
    pub group: Option<Sid>,
    /// System list.
    pub sacl: Option<Acl>,
    /// Discretionary list.
    pub dacl: Option<Acl>,
}

impl SecurityDescriptor {
    /// Tells whether a discretionary list is given, be it a null one.
    #[must_use]
    pub const fn has_dacl(&self) -> bool {
        self.dacl.is_some() || self.control.contains(SecurityControl::DACL_PRESENT)
    }

    /// Decodes a descriptor.
    pub fn decode(buf: &[u8]) -> Result<Self, DecodeError> {
        let bad = |what| DecodeError::SecurityDescriptor { what };
        let mut r = Reader::new(buf.get(..HEADER).ok_or(bad("header"))?);
        let revision = r.u8()?;
        r.skip(1)?;
        let control: SecurityControl = r.get()?;
        if revision != 1 || !control.contains(SecurityControl::SELF_RELATIVE) {
            return Err(bad("revision"));
        }
        let (owner, group, sacl, dacl) = (r.len32()?, r.len32()?, r.len32()?, r.len32()?);
        let at = |offset: usize| if offset < HEADER { Err(bad("offset")) } else { buf.get(offset..).ok_or(bad("offset")) };
        let sid = |offset: usize| match offset {
            0 => Ok(None),
            _ => Sid::from_bytes(at(offset)?).map(|(s, _)| Some(s)).ok_or(bad("SID")),
        };
        let acl = |offset: usize, present: SecurityControl| {
            if offset == 0 || !control.contains(present) { Ok(None) } else { Acl::decode(at(offset)?).map(Some) }
        };
        Ok(Self {
            control,
            owner: sid(owner)?,
            group: sid(group)?,
            sacl: acl(sacl, SecurityControl::SACL_PRESENT)?,
            dacl: acl(dacl, SecurityControl::DACL_PRESENT)?,
        })
    }

    /// The descriptor's bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut control = self.control | SecurityControl::SELF_RELATIVE;
        if self.dacl.is_some() {
            control |= SecurityControl::DACL_PRESENT;
        }
        if self.sacl.is_some() {
            control |= SecurityControl::SACL_PRESENT;
        }
        out.put_u8(1);
        out.put_u8(0);
        out.put(&control);
        out.put_zeros(16);
        for (at, sid) in [(4, &self.owner), (8, &self.group)] {
            if let Some(s) = sid {
                let offset = len_u32(out.len());
                patch_u32(&mut out, at, offset);
                out.put_bytes(&s.to_bytes());
            }
        }
        for (at, acl) in [(12, &self.sacl), (16, &self.dacl)] {
            if let Some(a) = acl {
                let offset = len_u32(out.len());
                patch_u32(&mut out, at, offset);
                a.encode(&mut out);
            }
        }
        out
    }

    /// Only the parts that `which` names, as a QUERY_INFO answers it.
    #[must_use]
    pub fn select(&self, which: SecurityInformation) -> Self {
        let dacl = which.contains(SecurityInformation::DACL);
        let sacl_parts =
            SecurityInformation::SACL | SecurityInformation::LABEL | SecurityInformation::ATTRIBUTE | SecurityInformation::SCOPE;
        let sacl = which.intersects(sacl_parts);
        let mut control = self.control;
        if !dacl {
            // Bits 2, 3, 8, 10 and 12 speak of the DACL.
            control = control.without(SecurityControl(0x150C));
        }
        if !sacl {
            // Bits 4, 5, 9, 11 and 13 speak of the SACL.
            control = control.without(SecurityControl(0x2A30));
        }
        Self {
            control,
            owner: self.owner.clone().filter(|_| which.contains(SecurityInformation::OWNER)),
            group: self.group.clone().filter(|_| which.contains(SecurityInformation::GROUP)),
            sacl: self.sacl.clone().filter(|_| sacl),
            dacl: self.dacl.clone().filter(|_| dacl),
        }
    }
}

#[cfg(test)]
mod tests {
    use smb_types::AccessMask;

    use super::*;
    use crate::security::{Ace, AceFlags, AceKind};

    fn example() -> SecurityDescriptor {
        SecurityDescriptor {
            control: SecurityControl::SELF_RELATIVE | SecurityControl::DACL_PRESENT | SecurityControl::DACL_PROTECTED,
            owner: Some(Sid::system()),
            group: Some(Sid::administrators()),
            sacl: None,
            dacl: Some(Acl::new(vec![
                Ace::deny(Sid::anonymous(), AccessMask::WRITE_DATA, AceFlags::NONE),
                Ace::allow(Sid::everyone(), AccessMask::FILE_ALL, AceFlags::OBJECT_INHERIT | AceFlags::CONTAINER_INHERIT),
                Ace { flags: AceFlags::NONE, kind: AceKind::Other { ace_type: 9, data: vec![1, 2, 3, 4] } },
            ])),
        }
    }

    #[test]
    fn descriptor_there_and_back() {
        let b = example().to_bytes();
        assert_eq!(SecurityDescriptor::decode(&b), Ok(example()));
        for cut in 0..b.len() {
            assert!(SecurityDescriptor::decode(&b[..cut]).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn selection_drops_parts_and_their_bits() {
        let s = example().select(SecurityInformation::OWNER);
        assert_eq!((s.owner.is_some(), s.group.is_some(), s.has_dacl()), (true, false, false));
        assert_eq!(s.control, SecurityControl::SELF_RELATIVE);
        assert_eq!(example().select(SecurityInformation(0xF)), example());
    }
}
