//! FSCTL_SET_SPARSE (MS-FSCC 2.3.69).

/// Makes a file sparse, or not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SetSparse {
    /// SetSparse.
    pub set: bool,
}

impl SetSparse {
    /// Reads the input; nothing at all means "yes".
    #[must_use]
    pub fn decode(buf: &[u8]) -> Self {
        Self { set: buf.first().is_none_or(|&b| b != 0) }
    }

    /// The input.
    #[must_use]
    pub fn to_bytes(self) -> Vec<u8> {
        vec![u8::from(self.set)]
    }
}
