//! One access control entry (MS-DTYP 2.4.4).

use smb_types::{AccessMask, Sid};

use crate::error::DecodeError;
use crate::wire::{Put, Reader, flags, len_u16};

flags! {
    /// AceFlags.
    AceFlags(u8) {
        /// OBJECT_INHERIT_ACE.
        OBJECT_INHERIT = 0x1;
        /// CONTAINER_INHERIT_ACE.
        CONTAINER_INHERIT = 0x2;
        /// NO_PROPAGATE_INHERIT_ACE.
        NO_PROPAGATE_INHERIT = 0x4;
        /// INHERIT_ONLY_ACE.
        INHERIT_ONLY = 0x8;
        /// INHERITED_ACE.
        INHERITED = 0x10;
        /// SUCCESSFUL_ACCESS_ACE_FLAG.
        SUCCESSFUL_ACCESS = 0x40;
        /// FAILED_ACCESS_ACE_FLAG.
        FAILED_ACCESS = 0x80;
    }
}

/// ACCESS_ALLOWED_ACE_TYPE.
const TYPE_ALLOWED: u8 = 0;
/// ACCESS_DENIED_ACE_TYPE.
const TYPE_DENIED: u8 = 1;
/// SYSTEM_AUDIT_ACE_TYPE.
const TYPE_AUDIT: u8 = 2;

/// What an entry says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AceKind {
    /// ACCESS_ALLOWED_ACE.
    Allowed {
        /// The rights.
        mask: AccessMask,
        /// To whom.
        sid: Sid,
    },
    /// ACCESS_DENIED_ACE.
    Denied {
        /// The rights.
        mask: AccessMask,
        /// To whom.
        sid: Sid,
    },
    /// SYSTEM_AUDIT_ACE.
    Audit {
        /// The rights.
        mask: AccessMask,
        /// Of whom.
        sid: Sid,
    },
    /// Any other type, or one with application data behind its SID: the bytes behind the entry's header.
    Other {
        /// AceType.
        ace_type: u8,
        /// The rest.
        data: Vec<u8>,
    },
}

/// An entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ace {
    /// AceFlags.
    pub flags: AceFlags,
    /// Type and content.
    pub kind: AceKind,
}

impl Ace {
    /// An entry that allows.
    #[must_use]
    pub const fn allow(sid: Sid, mask: AccessMask, flags: AceFlags) -> Self {
        Self { flags, kind: AceKind::Allowed { mask, sid } }
    }

    /// An entry that denies.
    #[must_use]
    pub const fn deny(sid: Sid, mask: AccessMask, flags: AceFlags) -> Self {
        Self { flags, kind: AceKind::Denied { mask, sid } }
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let bad = DecodeError::SecurityDescriptor { what: "ACE" };
        let mut take = || -> Result<_, DecodeError> {
            let (ace_type, flags, size) = (r.u8()?, r.get()?, r.len16()?);
            Ok((ace_type, flags, r.bytes(size.checked_sub(4).ok_or(bad)?)?))
        };
        let (ace_type, flags, data): (u8, AceFlags, &[u8]) = take().map_err(|_| bad)?;
        let other = || AceKind::Other { ace_type, data: data.to_vec() };
        let kind = if ace_type <= TYPE_AUDIT {
            let mut b = Reader::new(data);
            let mask = b.get().map_err(|_| bad)?;
            let (sid, length) = Sid::from_bytes(b.rest()).ok_or(bad)?;
            match ace_type {
                _ if length != b.rest().len() => other(),
                TYPE_ALLOWED => AceKind::Allowed { mask, sid },
                TYPE_DENIED => AceKind::Denied { mask, sid },
                _ => AceKind::Audit { mask, sid },
            }
        } else {
            other()
        };
        Ok(Self { flags, kind })
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let (ace_type, data) = match &self.kind {
            AceKind::Allowed { mask, sid } => (TYPE_ALLOWED, simple(*mask, sid)),
            AceKind::Denied { mask, sid } => (TYPE_DENIED, simple(*mask, sid)),
            AceKind::Audit { mask, sid } => (TYPE_AUDIT, simple(*mask, sid)),
            AceKind::Other { ace_type, data } => (*ace_type, data.clone()),
        };
        out.put_u8(ace_type);
        out.put(&self.flags);
        out.put_u16(len_u16(data.len().saturating_add(4)));
        out.put_bytes(&data);
    }
}

fn simple(mask: AccessMask, sid: &Sid) -> Vec<u8> {
    let mut out = Vec::new();
    out.put(&mask);
    out.put_bytes(&sid.to_bytes());
    out
}
