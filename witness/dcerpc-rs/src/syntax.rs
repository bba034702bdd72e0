//! Syntax identifiers: an interface or a transfer syntax with its version. It knows nothing of who serves them.

use std::fmt;

use uuid::{Uuid, uuid};

/// A UUID with a version, as presentation contexts and towers carry it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SyntaxId {
    /// Which interface or transfer syntax.
    pub uuid: Uuid,
    /// Its major version.
    pub major: u16,
    /// Its minor version.
    pub minor: u16,
}

/// The transfer syntax that every peer speaks.
pub const NDR20: SyntaxId = SyntaxId::new(uuid!("8a885d04-1ceb-11c9-9fe8-08002b104860"), 2, 0);
/// The 64-bit transfer syntax, which 64-bit Windows offers besides.
pub const NDR64: SyntaxId = SyntaxId::new(uuid!("71710533-beba-4937-8319-b5dbef9ccc36"), 1, 0);
/// No syntax: what a refused presentation context carries.
pub const NO_SYNTAX: SyntaxId = SyntaxId::new(Uuid::nil(), 0, 0);

const FEATURE_PREFIX: [u8; 8] = [0x2C, 0x1C, 0xB7, 0x6C, 0x12, 0x98, 0x40, 0x45];

impl SyntaxId {
    /// Size on the wire.
    pub const BYTES: usize = 20;

    /// Makes a syntax identifier.
    pub const fn new(uuid: Uuid, major: u16, minor: u16) -> Self {
        Self { uuid, major, minor }
    }

    /// The bits of a bind-time feature element, if this is one.
    // MS-RPCE 3.3.1.5.3: the last eight bytes of the transfer UUID are a mask of what the client can do.
    pub fn bind_time_features(&self) -> Option<u64> {
        let bytes = self.uuid.to_bytes_le();
        let (prefix, bits) = bytes.split_at(8);
        if prefix != FEATURE_PREFIX || self.major != 1 {
            return None;
        }
        Some(u64::from_le_bytes(bits.try_into().expect("eight bytes of sixteen remain")))
    }

    /// The bind-time feature syntax for these bits.
    pub fn of_features(bits: u64) -> Self {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&FEATURE_PREFIX);
        bytes[8..].copy_from_slice(&bits.to_le_bytes());
        Self::new(Uuid::from_bytes_le(bytes), 1, 0)
    }

    /// The 20 bytes on the wire.
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let mut out = [0; Self::BYTES];
        out[..16].copy_from_slice(&self.uuid.to_bytes_le());
        out[16..18].copy_from_slice(&self.major.to_le_bytes());
        out[18..].copy_from_slice(&self.minor.to_le_bytes());
        out
    }

    /// Reads the 20 bytes of the wire.
    pub fn from_bytes(bytes: &[u8; Self::BYTES]) -> Self {
        let mut uuid = [0; 16];
        uuid.copy_from_slice(&bytes[..16]);
        Self::new(Uuid::from_bytes_le(uuid), u16::from_le_bytes([bytes[16], bytes[17]]), u16::from_le_bytes([bytes[18], bytes[19]]))
    }

    /// True if a server of `self` may serve a client that asks for `wanted`.
    pub fn serves(&self, wanted: &Self) -> bool {
        self.uuid == wanted.uuid && self.major == wanted.major && wanted.minor <= self.minor
    }
}

/// A transfer syntax that the runtime speaks: how values become bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum TransferSyntax {
    /// NDR 2.0: pointers and counts have 32 bits.
    #[default]
    Ndr20,
    /// NDR64: pointers and counts have 64 bits, structures are padded at their end.
    Ndr64,
}

impl TransferSyntax {
    /// Both, the older first.
    pub const ALL: [Self; 2] = [Self::Ndr20, Self::Ndr64];

    /// How it is named on the wire.
    pub const fn id(self) -> SyntaxId {
        match self {
            Self::Ndr20 => NDR20,
            Self::Ndr64 => NDR64,
        }
    }

    /// The one of this name, if we speak it.
    pub fn from_id(id: &SyntaxId) -> Option<Self> {
        Self::ALL.into_iter().find(|syntax| syntax.id() == *id)
    }

    /// Size and alignment of a pointer's referent, of a count and of an offset.
    // MS-RPCE 2.2.5
    pub const fn pointer_bytes(self) -> usize {
        match self {
            Self::Ndr20 => 4,
            Self::Ndr64 => 8,
        }
    }
}

impl fmt::Debug for SyntaxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} v{}.{}", self.uuid, self.major, self.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_recognised() {
        assert_eq!(SyntaxId::of_features(3).bind_time_features(), Some(3));
        assert_eq!(SyntaxId::of_features(3).uuid.to_string(), "6cb71c2c-9812-4540-0300-000000000000");
        assert_eq!(NDR20.bind_time_features(), None);
    }

    #[test]
    fn a_lower_minor_version_is_served() {
        let ours = SyntaxId::new(NDR20.uuid, 1, 1);
        assert!(ours.serves(&SyntaxId { minor: 0, ..ours }));
        assert!(!ours.serves(&SyntaxId { minor: 2, ..ours }));
        assert!(!ours.serves(&SyntaxId { major: 2, ..ours }));
    }
}
