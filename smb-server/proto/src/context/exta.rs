//! `ExtA`: extended attributes of a new file (MS-SMB2 2.2.13.2.1).

use crate::error::DecodeError;
use crate::info::full_ea::{self, FullEa};

/// The context's name.
pub const NAME: &[u8] = b"ExtA";

/// The attributes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct EaBuffer {
    /// In order.
    pub attributes: Vec<FullEa>,
}

impl EaBuffer {
    /// Decodes the data.
    pub fn decode(data: &[u8]) -> Result<Self, DecodeError> {
        full_ea::decode_list(data).map(|attributes| Self { attributes })
    }

    /// The data.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        full_ea::encode_list(&self.attributes)
    }
}
