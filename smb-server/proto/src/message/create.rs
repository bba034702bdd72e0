//! CREATE (MS-SMB2 2.2.13, 2.2.14).

use smb_types::{AccessMask, CreateDisposition, CreateOptions, FileAttributes, FileId, FileTime, OplockLevel, ShareAccess};

use crate::context::{CreateContexts, RequestContext, ResponseContext, chain};
use crate::error::DecodeError;
use crate::header::HEADER_SIZE;
use crate::utf16;
use crate::wire::{Put, Reader, align, body_part, len_u16, len_u32, patch_u32};

/// Oplock byte "see the lease context".
pub const OPLOCK_LEVEL_LEASE: u8 = 0xFF;

/// Length of the fixed part of a request, which the name follows.
const REQUEST_FIXED: usize = 56;
/// Length of the fixed part of a response, which the contexts follow.
const RESPONSE_FIXED: usize = 88;

/// CREATE request.
#[derive(Clone, PartialEq, Debug)]
pub struct CreateRequest {
    /// RequestedOplockLevel as sent; see `oplock_level` and `requests_lease`.
    pub requested_oplock_level: u8,
    /// ImpersonationLevel as sent; above 3 the server answers BAD_IMPERSONATION_LEVEL.
    pub impersonation_level: u32,
    /// DesiredAccess.
    pub desired_access: AccessMask,
    /// FileAttributes.
    pub file_attributes: FileAttributes,
    /// ShareAccess.
    pub share_access: ShareAccess,
    /// CreateDisposition.
    pub create_disposition: CreateDisposition,
    /// CreateOptions.
    pub create_options: CreateOptions,
    /// Path relative to the share's root, as sent.
    pub name: String,
    /// Create contexts, in order.
    pub contexts: Vec<RequestContext>,
}

impl Default for CreateRequest {
    fn default() -> Self {
        Self {
            requested_oplock_level: 0,
            impersonation_level: 2,
            desired_access: AccessMask::NONE,
            file_attributes: FileAttributes::NONE,
            share_access: ShareAccess::NONE,
            create_disposition: CreateDisposition::Open,
            create_options: CreateOptions::NONE,
            name: String::new(),
            contexts: Vec::new(),
        }
    }
}

impl CreateRequest {
    /// The oplock asked for; None for a lease. Unknown levels count as no oplock.
    #[must_use]
    pub fn oplock_level(&self) -> Option<OplockLevel> {
        if self.requests_lease() { None } else { Some(OplockLevel::from_wire(self.requested_oplock_level).unwrap_or_default()) }
    }

    /// Tells whether the lease context counts.
    #[must_use]
    pub const fn requests_lease(&self) -> bool {
        self.requested_oplock_level == OPLOCK_LEVEL_LEASE
    }

    /// The known contexts, each at its place.
    #[must_use]
    pub fn sorted_contexts(&self) -> CreateContexts<'_> {
        CreateContexts::sort(&self.contexts)
    }

    /// Decodes the element `msg`.
    pub fn decode(msg: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::body(msg, 57)?;
        r.skip(1)?;
        let requested_oplock_level = r.u8()?;
        let impersonation_level = r.u32()?;
        r.skip(16)?;
        let (desired_access, file_attributes, share_access) = (r.get()?, r.get()?, r.get()?);
        let create_disposition = CreateDisposition::from_wire(r.u32()?).ok_or(DecodeError::malformed("CreateDisposition"))?;
        let create_options = r.get()?;
        let (name_offset, name_length) = (r.len16()?, r.len16()?);
        let (contexts_offset, contexts_length) = (r.len32()?, r.len32()?);
        let name = utf16::decode(body_part(msg, name_offset, name_length, "CREATE name")?, "CREATE name")?;
        let contexts = chain::decode_requests(body_part(msg, contexts_offset, contexts_length, "create contexts")?)?;
        Ok(Self {
            requested_oplock_level,
            impersonation_level,
            desired_access,
            file_attributes,
            share_access,
            create_disposition,
            create_options,
            name,
            contexts,
        })
    }

    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.put_u16(57);
        out.put_u8(0);
        out.put_u8(self.requested_oplock_level);
        out.put_u32(self.impersonation_level);
        out.put_zeros(16);
        out.put(&self.desired_access);
        out.put(&self.file_attributes);
        out.put(&self.share_access);
        out.put_u32(self.create_disposition.to_wire());
        out.put(&self.create_options);
        out.put_u16(len_u16(HEADER_SIZE + REQUEST_FIXED));
        out.put_u16(len_u16(utf16::byte_len(&self.name)));
        let contexts_at = out.len();
        out.put_zeros(8);
        utf16::encode(&self.name, out);
        if self.contexts.is_empty() {
            // The structure size counts one byte of the buffer, so there must be one.
            if self.name.is_empty() {
                out.put_u8(0);
            }
            return;
        }
        align(out, start, 8);
        let (offset, from) = (out.len() - start + HEADER_SIZE, out.len());
        chain::encode_requests(&self.contexts, out);
        let length = out.len() - from;
        patch_u32(out, contexts_at, len_u32(offset));
        patch_u32(out, contexts_at + 4, len_u32(length));
    }
}

/// What a CREATE did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum CreateAction {
    /// FILE_SUPERSEDED.
    Superseded,
    /// FILE_OPENED.
    #[default]
    Opened,
    /// FILE_CREATED.
    Created,
    /// FILE_OVERWRITTEN.
    Overwritten,
}

impl CreateAction {
    /// Decodes the wire value; None when it is above 3.
    #[must_use]
    pub const fn from_wire(v: u32) -> Option<Self> {
        Some(match v {
            0 => Self::Superseded,
            1 => Self::Opened,
            2 => Self::Created,
            3 => Self::Overwritten,
            _ => return None,
        })
    }

    /// The wire value.
    #[must_use]
    pub const fn to_wire(self) -> u32 {
        match self {
            Self::Superseded => 0,
            Self::Opened => 1,
            Self::Created => 2,
            Self::Overwritten => 3,
        }
    }
}

/// Flag of a response: the last component is a reparse point.
pub const CREATE_FLAG_REPARSEPOINT: u8 = 1;

/// CREATE response.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct CreateResponse {
    /// OplockLevel; 0xFF with a lease.
    pub oplock_level: u8,
    /// Flags.
    pub flags: u8,
    /// CreateAction.
    pub create_action: CreateAction,
    /// CreationTime.
    pub creation_time: FileTime,
    /// LastAccessTime.
    pub last_access_time: FileTime,
    /// LastWriteTime.
    pub last_write_time: FileTime,
    /// ChangeTime.
    pub change_time: FileTime,
    /// AllocationSize.
    pub allocation_size: u64,
    /// EndofFile.
    pub end_of_file: u64,
    /// FileAttributes.
    pub file_attributes: FileAttributes,
    /// FileId.
    pub file_id: FileId,
    /// Create contexts, in order.
    pub contexts: Vec<ResponseContext>,
}

impl CreateResponse {
    /// Decodes the element `msg`.
    pub fn decode(msg: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::body(msg, 89)?;
        let (oplock_level, flags) = (r.u8()?, r.u8()?);
        let create_action = CreateAction::from_wire(r.u32()?).ok_or(DecodeError::malformed("CreateAction"))?;
        let (creation_time, last_access_time, last_write_time, change_time) = (r.get()?, r.get()?, r.get()?, r.get()?);
        let (allocation_size, end_of_file, file_attributes) = (r.u64()?, r.u64()?, r.get()?);
        r.skip(4)?;
        let file_id = r.get()?;
        let (offset, length) = (r.len32()?, r.len32()?);
        let contexts = chain::decode_responses(body_part(msg, offset, length, "create contexts")?)?;
        Ok(Self {
            oplock_level,
            flags,
            create_action,
            creation_time,
            last_access_time,
            last_write_time,
            change_time,
            allocation_size,
            end_of_file,
            file_attributes,
            file_id,
            contexts,
        })
    }

    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u16(89);
        out.put_u8(self.oplock_level);
        out.put_u8(self.flags);
        out.put_u32(self.create_action.to_wire());
        for t in [self.creation_time, self.last_access_time, self.last_write_time, self.change_time] {
            out.put(&t);
        }
        out.put_u64(self.allocation_size);
        out.put_u64(self.end_of_file);
        out.put(&self.file_attributes);
        out.put_u32(0);
        out.put(&self.file_id);
        let contexts_at = out.len();
        out.put_zeros(8);
        if self.contexts.is_empty() {
            return;
        }
        let from = out.len();
        chain::encode_responses(&self.contexts, out);
        let length = out.len() - from;
        patch_u32(out, contexts_at, len_u32(HEADER_SIZE + RESPONSE_FIXED));
        patch_u32(out, contexts_at + 4, len_u32(length));
    }
}
