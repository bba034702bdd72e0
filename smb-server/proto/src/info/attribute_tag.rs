//! FileAttributeTagInformation, class 35 (MS-FSCC 2.4.6).

use smb_types::FileAttributes;

use crate::wire::record;

record! {
    /// Attributes and reparse tag.
    info FileAttributeTagInformation [8] {
        /// FileAttributes.
        file_attributes: FileAttributes;
        /// ReparseTag.
        reparse_tag: u32;
    }
}
