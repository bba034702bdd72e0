//! FileIdInformation, class 59 (MS-FSCC 2.4.26).

use crate::wire::record;

record! {
    /// Volume and file id.
    info FileIdInformation [24] {
        /// VolumeSerialNumber.
        volume_serial_number: u64;
        /// FileId, 128 bits.
        file_id: [u8; 16];
    }
}
