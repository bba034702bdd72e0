//! FSCTL_CREATE_OR_GET_OBJECT_ID and FSCTL_GET_OBJECT_ID (MS-FSA 2.1.5.10.1): every file has one, made of its identity.

use smb_proto::{fsctl::ObjectIdBuffer, message::ioctl::IoctlRequest};
use smb_types::Guid;

use super::{Output, whole};
use crate::{error::Refusal, state::Open};

/// Tells the id: the same on every node, and never another file's.
pub(super) fn get(open: &Open, request: &IoctlRequest) -> Result<Output, Refusal> {
    let id = pair(open.file.inode, open.file.generation);
    let output = ObjectIdBuffer { object_id: id, birth_volume_id: pair(open.file.volume, 0), birth_object_id: id, domain_id: Guid::ZERO };
    whole(output.to_bytes(), request)
}

fn pair(low: u64, high: u64) -> Guid {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&low.to_le_bytes());
    bytes[8..].copy_from_slice(&high.to_le_bytes());
    Guid(bytes)
}
