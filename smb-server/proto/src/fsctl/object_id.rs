//! FSCTL_CREATE_OR_GET_OBJECT_ID and FSCTL_GET_OBJECT_ID (MS-FSCC 2.1.3).

use smb_types::Guid;

use crate::wire::record;

record! {
    /// A file's object id.
    ObjectIdBuffer [64] {
        /// ObjectId.
        object_id: Guid;
        /// BirthVolumeId.
        birth_volume_id: Guid;
        /// BirthObjectId.
        birth_object_id: Guid;
        /// DomainId.
        domain_id: Guid;
    }
}
