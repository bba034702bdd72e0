//! File-system classes of QUERY_INFO (MS-FSCC 2.5).

pub mod attribute;
pub mod control;
pub mod device;
pub mod full_size;
pub mod object_id;
pub mod sector_size;
pub mod size;
pub mod volume;

pub use attribute::{FileFsAttributeInformation, FsAttributes};
pub use control::FileFsControlInformation;
pub use device::FileFsDeviceInformation;
pub use full_size::FileFsFullSizeInformation;
pub use object_id::FileFsObjectIdInformation;
pub use sector_size::FileFsSectorSizeInformation;
pub use size::FileFsSizeInformation;
pub use volume::FileFsVolumeInformation;

/// FileFsVolumeInformation.
pub const FS_VOLUME: u8 = 1;
/// FileFsLabelInformation (set only; not for the network).
pub const FS_LABEL: u8 = 2;
/// FileFsSizeInformation.
pub const FS_SIZE: u8 = 3;
/// FileFsDeviceInformation.
pub const FS_DEVICE: u8 = 4;
/// FileFsAttributeInformation.
pub const FS_ATTRIBUTE: u8 = 5;
/// FileFsControlInformation.
pub const FS_CONTROL: u8 = 6;
/// FileFsFullSizeInformation.
pub const FS_FULL_SIZE: u8 = 7;
/// FileFsObjectIdInformation.
pub const FS_OBJECT_ID: u8 = 8;
/// FileFsSectorSizeInformation.
pub const FS_SECTOR_SIZE: u8 = 11;
