//! FileFsObjectIdInformation, class 8 (MS-FSCC 2.5.6).

use smb_types::Guid;

use crate::wire::record;

record! {
    /// Id of the volume.
    info FileFsObjectIdInformation [64] {
        /// ObjectId.
        object_id: Guid, pad 48;
    }
}
