//! FileFsVolumeInformation, class 1 (MS-FSCC 2.5.9).

use smb_types::FileTime;

use crate::error::DecodeError;
use crate::utf16;
use crate::wire::{Put, Reader, len_u32};

/// The volume's name and number.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FileFsVolumeInformation {
    /// VolumeCreationTime.
    pub volume_creation_time: FileTime,
    /// VolumeSerialNumber.
    pub volume_serial_number: u32,
    /// SupportsObjects.
    pub supports_objects: bool,
    /// VolumeLabel.
    pub volume_label: String,
}

impl FileFsVolumeInformation {
    /// Length of the fixed part, for `crate::info::fit`.
    pub const FIXED: usize = 18;

    /// Decodes the buffer.
    pub fn decode(buf: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(buf);
        let (volume_creation_time, volume_serial_number, length) = (r.get()?, r.u32()?, r.len32()?);
        let supports_objects = r.get()?;
        r.skip(1)?;
        let volume_label = utf16::decode(r.bytes(length)?, "VolumeLabel")?;
        Ok(Self { volume_creation_time, volume_serial_number, supports_objects, volume_label })
    }

    /// Appends the buffer.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put(&self.volume_creation_time);
        out.put_u32(self.volume_serial_number);
        out.put_u32(len_u32(utf16::byte_len(&self.volume_label)));
        out.put(&self.supports_objects);
        out.put_u8(0);
        utf16::encode(&self.volume_label, out);
    }
}
