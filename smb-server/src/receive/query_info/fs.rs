//! QUERY_INFO of a file system (MS-SMB2 3.3.5.20.2, MS-FSCC 2.5).

use smb_backend::VolumeInfo;
use smb_proto::{
    info::fs::{
        self, FileFsAttributeInformation, FileFsControlInformation, FileFsDeviceInformation, FileFsFullSizeInformation,
        FileFsObjectIdInformation, FileFsSectorSizeInformation, FileFsSizeInformation, FileFsVolumeInformation, FsAttributes,
    },
    message::query_info::QueryInfoRequest,
};
use smb_types::{Guid, NtStatus};

use super::{Reply, fit, whole};
use crate::{blocking::blocking, error::Refusal, state::Open};

/// Least buffer for FileFsVolumeInformation: the structure with one character and its padding.
const VOLUME_BYTES_MIN: usize = 24;
/// Least buffer for FileFsAttributeInformation.
const ATTRIBUTE_BYTES_MIN: usize = 16;
/// FILE_DEVICE_DISK.
const DEVICE_DISK: u32 = 7;
/// FILE_DEVICE_NAMED_PIPE.
const DEVICE_PIPE: u32 = 0x11;
/// FILE_DEVICE_IS_MOUNTED.
const MOUNTED: u32 = 0x20;
/// FILE_READ_ONLY_DEVICE.
const READ_ONLY: u32 = 0x2;
/// Aligned device and partition.
const SECTOR_FLAGS: u32 = 3;

/// Answers one class.
pub(super) fn query(open: &Open, request: &QueryInfoRequest) -> Result<Reply, Refusal> {
    let Some(names) = open.tree.share.names() else {
        if request.information_class == fs::FS_DEVICE {
            return whole(FileFsDeviceInformation { device_type: DEVICE_PIPE, characteristics: MOUNTED }.to_bytes(), request);
        }
        return Err(Refusal::new(NtStatus::INVALID_DEVICE_REQUEST, "pipes have no file system"));
    };
    // A short name does not make the least buffer shorter.
    let least = match request.information_class {
        fs::FS_VOLUME => VOLUME_BYTES_MIN,
        fs::FS_ATTRIBUTE => ATTRIBUTE_BYTES_MIN,
        _ => 0,
    };
    if usize::try_from(request.output_buffer_length).is_ok_and(|room| room < least) {
        return Err(Refusal::new(NtStatus::INFO_LENGTH_MISMATCH, "the buffer is too small"));
    }
    let volume = blocking(|| names.volume())?;
    match request.information_class {
        fs::FS_VOLUME => {
            let mut bytes = Vec::new();
            let reply = FileFsVolumeInformation {
                volume_creation_time: volume.creation,
                volume_serial_number: volume.serial,
                supports_objects: false,
                volume_label: open.tree.share.name.clone(),
            };
            reply.encode(&mut bytes);
            fit(bytes, VOLUME_BYTES_MIN, request)
        }
        fs::FS_SIZE => whole(size(&volume).to_bytes(), request),
        fs::FS_DEVICE => {
            let characteristics = MOUNTED | if volume.read_only { READ_ONLY } else { 0 };
            whole(FileFsDeviceInformation { device_type: DEVICE_DISK, characteristics }.to_bytes(), request)
        }
        fs::FS_ATTRIBUTE => {
            let mut bytes = Vec::new();
            attributes(&volume).encode(&mut bytes);
            fit(bytes, ATTRIBUTE_BYTES_MIN, request)
        }
        fs::FS_CONTROL => whole(FileFsControlInformation::default().to_bytes(), request),
        fs::FS_FULL_SIZE => whole(full_size(&volume).to_bytes(), request),
        fs::FS_OBJECT_ID => {
            let mut id = [0; 16];
            id[..8].copy_from_slice(&volume.id.to_le_bytes());
            whole(FileFsObjectIdInformation { object_id: Guid(id) }.to_bytes(), request)
        }
        fs::FS_SECTOR_SIZE => whole(sectors(&volume).to_bytes(), request),
        fs::FS_LABEL => Err(Refusal::new(NtStatus::NOT_SUPPORTED, "a class to set only")),
        _ => Err(Refusal::new(NtStatus::INVALID_INFO_CLASS, "no such class of file systems")),
    }
}

fn unit(volume: &VolumeInfo) -> u64 {
    u64::from(volume.cluster_bytes.max(1))
}

fn sectors_per_unit(volume: &VolumeInfo) -> u32 {
    (volume.cluster_bytes / volume.sector_bytes.max(1)).max(1)
}

fn size(volume: &VolumeInfo) -> FileFsSizeInformation {
    FileFsSizeInformation {
        total_allocation_units: volume.total_bytes / unit(volume),
        available_allocation_units: volume.available_bytes / unit(volume),
        sectors_per_allocation_unit: sectors_per_unit(volume),
        bytes_per_sector: volume.sector_bytes,
    }
}

fn full_size(volume: &VolumeInfo) -> FileFsFullSizeInformation {
    FileFsFullSizeInformation {
        total_allocation_units: volume.total_bytes / unit(volume),
        caller_available_allocation_units: volume.available_bytes / unit(volume),
        actual_available_allocation_units: volume.free_bytes / unit(volume),
        sectors_per_allocation_unit: sectors_per_unit(volume),
        bytes_per_sector: volume.sector_bytes,
    }
}

/// What the file system can do; nothing is claimed that does not work.
fn attributes(volume: &VolumeInfo) -> FileFsAttributeInformation {
    FileFsAttributeInformation {
        attributes: FsAttributes::CASE_SENSITIVE_SEARCH
            | FsAttributes::CASE_PRESERVED_NAMES
            | FsAttributes::UNICODE_ON_DISK
            | FsAttributes::PERSISTENT_ACLS
            | FsAttributes::SUPPORTS_SPARSE_FILES
            | FsAttributes::SUPPORTS_OBJECT_IDS
            | FsAttributes::NAMED_STREAMS
            | FsAttributes::SUPPORTS_HARD_LINKS
            | FsAttributes::SUPPORTS_EXTENDED_ATTRIBUTES
            | FsAttributes::SUPPORTS_BLOCK_REFCOUNTING,
        maximum_component_name_length: volume.name_units_max,
        // windows: some tools want to see this name before they use streams or security.
        file_system_name: "NTFS".to_owned(),
    }
}

fn sectors(volume: &VolumeInfo) -> FileFsSectorSizeInformation {
    FileFsSectorSizeInformation {
        logical_bytes_per_sector: volume.sector_bytes,
        physical_bytes_per_sector_for_atomicity: volume.sector_bytes,
        physical_bytes_per_sector_for_performance: volume.cluster_bytes,
        effective_physical_bytes_per_sector_for_atomicity: volume.sector_bytes,
        flags: SECTOR_FLAGS,
        byte_offset_for_sector_alignment: 0,
        byte_offset_for_partition_alignment: 0,
    }
}
