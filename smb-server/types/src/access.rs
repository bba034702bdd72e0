//! Access masks, share modes, dispositions, options, attributes (MS-SMB2 2.2.13, MS-FSCC 2.6).

use serde::{Deserialize, Serialize};

macro_rules! bits {
    ($(#[$doc:meta])* $name:ident($int:ty) { $($(#[$cdoc:meta])* $c:ident = $v:expr;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        pub struct $name(pub $int);
        impl $name {
            $($(#[$cdoc])* pub const $c: Self = Self($v);)*
            /// No bit set.
            pub const NONE: Self = Self(0);
            /// Tells whether every bit of `other` is set.
            #[must_use]
            pub const fn contains(self, other: Self) -> bool { self.0 & other.0 == other.0 }
            /// Tells whether at least one bit of `other` is set.
            #[must_use]
            pub const fn intersects(self, other: Self) -> bool { self.0 & other.0 != 0 }
            /// Tells whether no bit is set.
            #[must_use]
            pub const fn is_empty(self) -> bool { self.0 == 0 }
            /// The bits of both.
            #[must_use]
            pub const fn union(self, other: Self) -> Self { Self(self.0 | other.0) }
            /// The bits of `self` that are not in `other`.
            #[must_use]
            pub const fn without(self, other: Self) -> Self { Self(self.0 & !other.0) }
        }
        impl std::ops::BitOr for $name { type Output = Self; fn bitor(self, o: Self) -> Self { Self(self.0 | o.0) } }
        impl std::ops::BitAnd for $name { type Output = Self; fn bitand(self, o: Self) -> Self { Self(self.0 & o.0) } }
        impl std::ops::BitOrAssign for $name { fn bitor_assign(&mut self, o: Self) { self.0 |= o.0; } }
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { write!(f, concat!(stringify!($name), "({:#x})"), self.0) }
        }
    };
}
pub(crate) use bits;

bits! {
    /// ACCESS_MASK (MS-SMB2 2.2.13.1).
    AccessMask(u32) {
        /// FILE_READ_DATA / FILE_LIST_DIRECTORY.
        READ_DATA = 0x1;
        /// FILE_WRITE_DATA / FILE_ADD_FILE.
        WRITE_DATA = 0x2;
        /// FILE_APPEND_DATA / FILE_ADD_SUBDIRECTORY.
        APPEND_DATA = 0x4;
        /// FILE_READ_EA.
        READ_EA = 0x8;
        /// FILE_WRITE_EA.
        WRITE_EA = 0x10;
        /// FILE_EXECUTE / FILE_TRAVERSE.
        EXECUTE = 0x20;
        /// FILE_DELETE_CHILD.
        DELETE_CHILD = 0x40;
        /// FILE_READ_ATTRIBUTES.
        READ_ATTRIBUTES = 0x80;
        /// FILE_WRITE_ATTRIBUTES.
        WRITE_ATTRIBUTES = 0x100;
        /// DELETE.
        DELETE = 0x1_0000;
        /// READ_CONTROL.
        READ_CONTROL = 0x2_0000;
        /// WRITE_DAC.
        WRITE_DAC = 0x4_0000;
        /// WRITE_OWNER.
        WRITE_OWNER = 0x8_0000;
        /// SYNCHRONIZE.
        SYNCHRONIZE = 0x10_0000;
        /// ACCESS_SYSTEM_SECURITY.
        ACCESS_SYSTEM_SECURITY = 0x0100_0000;
        /// MAXIMUM_ALLOWED.
        MAXIMUM_ALLOWED = 0x0200_0000;
        /// GENERIC_ALL.
        GENERIC_ALL = 0x1000_0000;
        /// GENERIC_EXECUTE.
        GENERIC_EXECUTE = 0x2000_0000;
        /// GENERIC_WRITE.
        GENERIC_WRITE = 0x4000_0000;
        /// GENERIC_READ.
        GENERIC_READ = 0x8000_0000;
        /// Every specific and standard right of a file.
        FILE_ALL = 0x001F_01FF;
    }
}

bits! {
    /// ShareAccess of CREATE.
    ShareAccess(u32) {
        /// FILE_SHARE_READ.
        READ = 0x1;
        /// FILE_SHARE_WRITE.
        WRITE = 0x2;
        /// FILE_SHARE_DELETE.
        DELETE = 0x4;
        /// All three.
        ALL = 0x7;
    }
}

bits! {
    /// CreateOptions of CREATE.
    CreateOptions(u32) {
        /// FILE_DIRECTORY_FILE.
        DIRECTORY_FILE = 0x1;
        /// FILE_WRITE_THROUGH.
        WRITE_THROUGH = 0x2;
        /// FILE_SEQUENTIAL_ONLY.
        SEQUENTIAL_ONLY = 0x4;
        /// FILE_NO_INTERMEDIATE_BUFFERING.
        NO_INTERMEDIATE_BUFFERING = 0x8;
        /// FILE_SYNCHRONOUS_IO_ALERT.
        SYNCHRONOUS_IO_ALERT = 0x10;
        /// FILE_SYNCHRONOUS_IO_NONALERT.
        SYNCHRONOUS_IO_NONALERT = 0x20;
        /// FILE_NON_DIRECTORY_FILE.
        NON_DIRECTORY_FILE = 0x40;
        /// FILE_COMPLETE_IF_OPLOCKED.
        COMPLETE_IF_OPLOCKED = 0x100;
        /// FILE_NO_EA_KNOWLEDGE.
        NO_EA_KNOWLEDGE = 0x200;
        /// FILE_RANDOM_ACCESS.
        RANDOM_ACCESS = 0x800;
        /// FILE_DELETE_ON_CLOSE.
        DELETE_ON_CLOSE = 0x1000;
        /// FILE_OPEN_BY_FILE_ID.
        OPEN_BY_FILE_ID = 0x2000;
        /// FILE_OPEN_FOR_BACKUP_INTENT.
        OPEN_FOR_BACKUP_INTENT = 0x4000;
        /// FILE_NO_COMPRESSION.
        NO_COMPRESSION = 0x8000;
        /// FILE_RESERVE_OPFILTER.
        RESERVE_OPFILTER = 0x10_0000;
        /// FILE_OPEN_REPARSE_POINT.
        OPEN_REPARSE_POINT = 0x20_0000;
        /// FILE_OPEN_NO_RECALL.
        OPEN_NO_RECALL = 0x40_0000;
        /// FILE_OPEN_FOR_FREE_SPACE_QUERY.
        OPEN_FOR_FREE_SPACE_QUERY = 0x80_0000;
    }
}

bits! {
    /// FileAttributes (MS-FSCC 2.6).
    FileAttributes(u32) {
        /// FILE_ATTRIBUTE_READONLY.
        READONLY = 0x1;
        /// FILE_ATTRIBUTE_HIDDEN.
        HIDDEN = 0x2;
        /// FILE_ATTRIBUTE_SYSTEM.
        SYSTEM = 0x4;
        /// FILE_ATTRIBUTE_DIRECTORY.
        DIRECTORY = 0x10;
        /// FILE_ATTRIBUTE_ARCHIVE.
        ARCHIVE = 0x20;
        /// FILE_ATTRIBUTE_NORMAL: only alone.
        NORMAL = 0x80;
        /// FILE_ATTRIBUTE_TEMPORARY.
        TEMPORARY = 0x100;
        /// FILE_ATTRIBUTE_SPARSE_FILE.
        SPARSE_FILE = 0x200;
        /// FILE_ATTRIBUTE_REPARSE_POINT.
        REPARSE_POINT = 0x400;
        /// FILE_ATTRIBUTE_COMPRESSED.
        COMPRESSED = 0x800;
        /// FILE_ATTRIBUTE_OFFLINE.
        OFFLINE = 0x1000;
        /// FILE_ATTRIBUTE_NOT_CONTENT_INDEXED.
        NOT_CONTENT_INDEXED = 0x2000;
        /// FILE_ATTRIBUTE_ENCRYPTED.
        ENCRYPTED = 0x4000;
    }
}

/// CreateDisposition of CREATE.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum CreateDisposition {
    /// 0: replace if it exists, else create.
    Supersede,
    /// 1: open, fail if missing.
    Open,
    /// 2: create, fail if it exists.
    Create,
    /// 3: open or create.
    OpenIf,
    /// 4: truncate, fail if missing.
    Overwrite,
    /// 5: truncate or create.
    OverwriteIf,
}

impl CreateDisposition {
    /// Decodes the wire value; None when it is above 5.
    #[must_use]
    pub const fn from_wire(v: u32) -> Option<Self> {
        Some(match v {
            0 => Self::Supersede,
            1 => Self::Open,
            2 => Self::Create,
            3 => Self::OpenIf,
            4 => Self::Overwrite,
            5 => Self::OverwriteIf,
            _ => return None,
        })
    }

    /// The wire value.
    #[must_use]
    pub const fn to_wire(self) -> u32 {
        match self {
            Self::Supersede => 0,
            Self::Open => 1,
            Self::Create => 2,
            Self::OpenIf => 3,
            Self::Overwrite => 4,
            Self::OverwriteIf => 5,
        }
    }

    /// Tells whether existing data is thrown away.
    #[must_use]
    pub const fn overwrites(self) -> bool {
        matches!(self, Self::Supersede | Self::Overwrite | Self::OverwriteIf)
    }
}
