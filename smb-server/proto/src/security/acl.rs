//! A list of access control entries (MS-DTYP 2.4.5).

use super::Ace;
use crate::error::DecodeError;
use crate::wire::{Put, Reader, len_u16};

/// ACL_REVISION.
const REVISION: u8 = 2;
/// ACL_REVISION_DS.
const REVISION_DS: u8 = 4;
/// Length of the list's header.
const HEADER: usize = 8;

/// A list, in order of evaluation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Acl {
    /// AclRevision: 2, or 4 with object entries.
    pub revision: u8,
    /// The entries.
    pub entries: Vec<Ace>,
}

impl Default for Acl {
    fn default() -> Self {
        Self { revision: REVISION, entries: Vec::new() }
    }
}

impl Acl {
    /// A list of revision 2.
    #[must_use]
    pub const fn new(entries: Vec<Ace>) -> Self {
        Self { revision: REVISION, entries }
    }

    /// Decodes the list at the start of `buf`.
    pub fn decode(buf: &[u8]) -> Result<Self, DecodeError> {
        let bad = DecodeError::SecurityDescriptor { what: "ACL" };
        let mut head = Reader::new(buf.get(..HEADER).ok_or(bad)?);
        let revision = head.u8()?;
        head.skip(1)?;
        let (size, count) = (head.len16()?, head.len16()?);
        if !(REVISION..=REVISION_DS).contains(&revision) {
            return Err(bad);
        }
        let mut r = Reader::new(buf.get(HEADER..size).ok_or(bad)?);
        // Every entry takes four bytes at least, so `count` cannot make us reserve much.
        if r.rest().len() / 4 < count {
            return Err(bad);
        }
        let entries = (0..count).map(|_| Ace::decode(&mut r)).collect::<Result<_, _>>()?;
        Ok(Self { revision, entries })
    }

    /// Appends the list.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut body = Vec::new();
        for e in &self.entries {
            e.encode(&mut body);
        }
        out.put_u8(self.revision);
        out.put_u8(0);
        out.put_u16(len_u16(body.len().saturating_add(HEADER)));
        out.put_u16(len_u16(self.entries.len()));
        out.put_u16(0);
        out.put_bytes(&body);
    }
}
