//! The classes of QUERY_DIRECTORY (MS-FSCC 2.4.10, 2.4.8, 2.4.15, 2.4.18 to 2.4.25, 2.4.33): one entry, many layouts.

mod entry;

pub use entry::DirectoryEntry;

/// Layout of the entries.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum DirectoryClass {
    /// FileDirectoryInformation, 1.
    Directory,
    /// FileFullDirectoryInformation, 2.
    FullDirectory,
    /// FileBothDirectoryInformation, 3.
    BothDirectory,
    /// FileNamesInformation, 12.
    Names,
    /// FileIdBothDirectoryInformation, 37.
    IdBothDirectory,
    /// FileIdFullDirectoryInformation, 38.
    IdFullDirectory,
    /// FileIdExtdDirectoryInformation, 60.
    IdExtdDirectory,
    /// FileId64ExtdDirectoryInformation, 78.
    Id64ExtdDirectory,
    /// FileId64ExtdBothDirectoryInformation, 79.
    Id64ExtdBothDirectory,
    /// FileIdAllExtdDirectoryInformation, 80.
    IdAllExtdDirectory,
    /// FileIdAllExtdBothDirectoryInformation, 81.
    IdAllExtdBothDirectory,
}

impl DirectoryClass {
    /// Every class.
    pub const ALL: [Self; 11] = [
        Self::Directory,
        Self::FullDirectory,
        Self::BothDirectory,
        Self::Names,
        Self::IdBothDirectory,
        Self::IdFullDirectory,
        Self::IdExtdDirectory,
        Self::Id64ExtdDirectory,
        Self::Id64ExtdBothDirectory,
        Self::IdAllExtdDirectory,
        Self::IdAllExtdBothDirectory,
    ];

    /// The wire value.
    #[must_use]
    pub const fn to_wire(self) -> u8 {
        match self {
            Self::Directory => 1,
            Self::FullDirectory => 2,
            Self::BothDirectory => 3,
            Self::Names => 12,
            Self::IdBothDirectory => 37,
            Self::IdFullDirectory => 38,
            Self::IdExtdDirectory => 60,
            Self::Id64ExtdDirectory => 78,
            Self::Id64ExtdBothDirectory => 79,
            Self::IdAllExtdDirectory => 80,
            Self::IdAllExtdBothDirectory => 81,
        }
    }

    /// Decodes the wire value; None for a class that is not one of directories (INVALID_INFO_CLASS).
    #[must_use]
    pub fn from_wire(v: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|c| c.to_wire() == v)
    }

    /// Where the name begins: the length of the fixed part.
    #[must_use]
    pub const fn name_offset(self) -> usize {
        match self {
            Self::Names => 12,
            Self::Directory => 64,
            Self::FullDirectory => 68,
            Self::IdFullDirectory | Self::Id64ExtdDirectory => 80,
            Self::IdExtdDirectory => 88,
            Self::BothDirectory => 94,
            Self::IdAllExtdDirectory => 96,
            Self::IdBothDirectory => 104,
            Self::Id64ExtdBothDirectory => 106,
            Self::IdAllExtdBothDirectory => 122,
        }
    }
}
