//! FileDispositionInformationEx, class 64 (MS-FSCC 2.4.12).

use crate::wire::{flags, record};

flags! {
    /// How to delete.
    DispositionFlags(u32) {
        /// FILE_DISPOSITION_DELETE; without it the file is kept.
        DELETE = 0x1;
        /// FILE_DISPOSITION_POSIX_SEMANTICS: the name goes at once.
        POSIX_SEMANTICS = 0x2;
        /// FILE_DISPOSITION_FORCE_IMAGE_SECTION_CHECK.
        FORCE_IMAGE_SECTION_CHECK = 0x4;
        /// FILE_DISPOSITION_ON_CLOSE.
        ON_CLOSE = 0x8;
        /// FILE_DISPOSITION_IGNORE_READONLY_ATTRIBUTE.
        IGNORE_READONLY_ATTRIBUTE = 0x10;
    }
}

record! {
    /// Delete, in finer words.
    info FileDispositionInformationEx [4] {
        /// Flags.
        flags: DispositionFlags;
    }
}
