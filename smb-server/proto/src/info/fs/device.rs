//! FileFsDeviceInformation, class 4 (MS-FSCC 2.5.10).

use crate::wire::record;

record! {
    /// Kind of device: 7 is a disk, 0x11 a pipe.
    info FileFsDeviceInformation [8] {
        /// DeviceType.
        device_type: u32;
        /// Characteristics: 0x20 is mounted.
        characteristics: u32;
    }
}
