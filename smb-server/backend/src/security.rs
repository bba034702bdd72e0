//! Whom a file belongs to, and what the file system keeps about rights to it. Knows nothing of what rights mean, nor of accounts.

use crate::FileKind;

/// What is on disk about the rights to one file or directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Security {
    /// File or directory.
    pub kind: FileKind,
    /// The descriptor that was given to it.
    pub stored: StoredDescriptor,
    /// POSIX owner.
    pub uid: u32,
    /// POSIX group.
    pub gid: u32,
    /// POSIX permission bits (07777).
    pub mode: u32,
    /// The POSIX access list, where it says more than the bits. Only looked for without a stored descriptor.
    pub acl: Vec<PosixEntry>,
    /// The list that new entries of a directory get. Only looked for without a stored descriptor.
    pub default_acl: Vec<PosixEntry>,
}

/// A security descriptor as kept on disk.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum StoredDescriptor {
    /// The file never got one.
    #[default]
    None,
    /// The bytes that were stored.
    Bytes(Vec<u8>),
    /// Something is stored and makes no sense.
    Damaged,
}

/// Where a backend keeps descriptors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DescriptorStore {
    /// Where only the server can change them.
    Protected,
    /// Where local users who may write a file can change them, too.
    Unprotected,
    /// Nowhere: the file system has no extended attributes for it.
    Unsupported,
}

impl std::fmt::Display for DescriptorStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Protected => "protected",
            Self::Unprotected => "unprotected",
            Self::Unsupported => "unsupported",
        })
    }
}

/// Whom a new file belongs to on disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnixOwner {
    /// POSIX owner.
    pub uid: u32,
    /// POSIX group; None: as the file system gives it.
    pub gid: Option<u32>,
}

/// An entry of a POSIX access list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PosixEntry {
    /// For whom.
    pub who: PosixWho,
    /// Read 4, write 2, execute 1.
    pub permissions: u32,
}

/// For whom an entry of a POSIX access list is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PosixWho {
    /// The owner.
    Owner,
    /// A further user.
    User(u32),
    /// The file's group.
    Group,
    /// A further group.
    NamedGroup(u32),
    /// The most that all entries but the owner's and the others' give.
    Mask,
    /// Everybody else.
    Other,
}

/// Version of the kernel's representation.
const ACL_VERSION: u32 = 2;
/// Most entries that are read.
const ACL_ENTRIES_MAX: usize = 1024;

/// Reads the value of `system.posix_acl_access` or `system.posix_acl_default`; None when it makes no sense.
pub(crate) fn decode_posix_acl(value: &[u8]) -> Option<Vec<PosixEntry>> {
    let (version, entries) = value.split_first_chunk::<4>()?;
    if u32::from_le_bytes(*version) != ACL_VERSION || !entries.len().is_multiple_of(8) || entries.len() / 8 > ACL_ENTRIES_MAX {
        return None;
    }
    let entry = |bytes: &[u8]| {
        let &[tag_low, tag_high, low, high, a, b, c, d] = bytes else { return None };
        let id = u32::from_le_bytes([a, b, c, d]);
        let who = match u16::from_le_bytes([tag_low, tag_high]) {
            0x01 => PosixWho::Owner,
            0x02 => PosixWho::User(id),
            0x04 => PosixWho::Group,
            0x08 => PosixWho::NamedGroup(id),
            0x10 => PosixWho::Mask,
            0x20 => PosixWho::Other,
            _ => return None,
        };
        Some(PosixEntry { who, permissions: u32::from(u16::from_le_bytes([low, high])) & 7 })
    };
    entries.chunks(8).map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_as_the_kernel_keeps_them() {
        // setfacl -m u:1001:rwx,g:50:r-x file; getfattr -n system.posix_acl_access -e hex file
        let mut value = vec![2, 0, 0, 0];
        for (tag, permissions, id) in
            [(1_u16, 6_u16, u32::MAX), (2, 7, 1001), (4, 4, u32::MAX), (8, 5, 50), (16, 7, u32::MAX), (32, 0, u32::MAX)]
        {
            value.extend_from_slice(&tag.to_le_bytes());
            value.extend_from_slice(&permissions.to_le_bytes());
            value.extend_from_slice(&id.to_le_bytes());
        }
        let entries = decode_posix_acl(&value).unwrap();
        assert_eq!(entries.len(), 6);
        assert_eq!(entries[1], PosixEntry { who: PosixWho::User(1001), permissions: 7 });
        assert_eq!(entries[3], PosixEntry { who: PosixWho::NamedGroup(50), permissions: 5 });
        assert_eq!(decode_posix_acl(&value[..value.len() - 1]), None);
        value[4] = 3;
        assert_eq!(decode_posix_acl(&value), None, "no such tag");
        assert_eq!(decode_posix_acl(&[]), None);
        assert_eq!(decode_posix_acl(&[2, 0, 0, 0]), Some(Vec::new()));
    }
}
