//! What identifies a file on every node.

use std::fmt;

use crate::name;

/// Identifies a file or one of its named streams: equal on every node that mounts the same directory, and never given to another file
/// while the file system reports birth times.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct FileKey {
    /// The inode number.
    pub inode: u64,
    /// The birth time in nanoseconds since 1970, or 0 where the file system has none.
    pub generation: u64,
    /// 0 for the unnamed stream, else a hash of the upper-cased stream name that is never 0.
    pub stream: u64,
}

impl FileKey {
    /// The key of the unnamed stream of `inode`.
    #[must_use]
    pub const fn new(inode: u64, generation: u64) -> Self {
        Self { inode, generation, stream: 0 }
    }

    /// The key of the named stream of the same file; case of the name does not matter.
    #[must_use]
    pub fn with_stream(self, stream_name: &str) -> Self {
        Self { stream: fnv1a(name::fold(stream_name).bytes()).max(1), ..self }
    }

    /// The key of the file a stream belongs to.
    #[must_use]
    pub const fn base(self) -> Self {
        Self { stream: 0, ..self }
    }
}

impl fmt::Debug for FileKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}.{:x}", self.inode, self.generation)?;
        if self.stream != 0 {
            write!(f, ":{:x}", self.stream)?;
        }
        Ok(())
    }
}

/// FNV-1a, 64 bits: the same on every node and in every version.
pub(crate) fn fnv1a(bytes: impl IntoIterator<Item = u8>) -> u64 {
    bytes.into_iter().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stream_keys_ignore_case_and_differ_from_the_file() {
        let key = FileKey::new(7, 9);
        assert_eq!(key.with_stream("Zone.Identifier"), key.with_stream("ZONE.IDENTIFIER"));
        assert_ne!(key.with_stream("a"), key.with_stream("b"));
        assert_ne!(key.with_stream("a"), key);
        assert_eq!(key.with_stream("a").base(), key);
        // The hash is part of stored records: it must never change.
        assert_eq!(fnv1a(*b"a"), 0xaf63_dc4c_8601_ec8c);
    }
}
