//! TREE_CONNECT (MS-SMB2 2.2.9, 2.2.10).

use smb_types::AccessMask;

use crate::error::DecodeError;
use crate::header::HEADER_SIZE;
use crate::utf16;
use crate::wire::{Put, Reader, align, body_part, flags, len_u16, len_u32, part, patch_u16, patch_u32};

flags! {
    /// Flags of a request (3.1.1).
    TreeConnectFlags(u16) {
        /// SMB2_TREE_CONNECT_FLAG_CLUSTER_RECONNECT.
        CLUSTER_RECONNECT = 0x1;
        /// SMB2_TREE_CONNECT_FLAG_REDIRECT_TO_OWNER.
        REDIRECT_TO_OWNER = 0x2;
        /// SMB2_TREE_CONNECT_FLAG_EXTENSION_PRESENT.
        EXTENSION_PRESENT = 0x4;
    }
}

flags! {
    /// ShareFlags of a response.
    ShareFlags(u32) {
        /// SMB2_SHAREFLAG_DFS.
        DFS = 0x1;
        /// SMB2_SHAREFLAG_DFS_ROOT.
        DFS_ROOT = 0x2;
        /// SMB2_SHAREFLAG_AUTO_CACHING; manual caching is no bit at all.
        AUTO_CACHING = 0x10;
        /// SMB2_SHAREFLAG_VDO_CACHING.
        VDO_CACHING = 0x20;
        /// SMB2_SHAREFLAG_NO_CACHING.
        NO_CACHING = 0x30;
        /// SMB2_SHAREFLAG_RESTRICT_EXCLUSIVE_OPENS.
        RESTRICT_EXCLUSIVE_OPENS = 0x100;
        /// SMB2_SHAREFLAG_FORCE_SHARED_DELETE.
        FORCE_SHARED_DELETE = 0x200;
        /// SMB2_SHAREFLAG_ALLOW_NAMESPACE_CACHING.
        ALLOW_NAMESPACE_CACHING = 0x400;
        /// SMB2_SHAREFLAG_ACCESS_BASED_DIRECTORY_ENUM.
        ACCESS_BASED_DIRECTORY_ENUM = 0x800;
        /// SMB2_SHAREFLAG_FORCE_LEVELII_OPLOCK.
        FORCE_LEVELII_OPLOCK = 0x1000;
        /// SMB2_SHAREFLAG_ENABLE_HASH_V1.
        ENABLE_HASH_V1 = 0x2000;
        /// SMB2_SHAREFLAG_ENABLE_HASH_V2.
        ENABLE_HASH_V2 = 0x4000;
        /// SMB2_SHAREFLAG_ENCRYPT_DATA.
        ENCRYPT_DATA = 0x8000;
        /// SMB2_SHAREFLAG_IDENTITY_REMOTING.
        IDENTITY_REMOTING = 0x4_0000;
        /// SMB2_SHAREFLAG_COMPRESS_DATA.
        COMPRESS_DATA = 0x10_0000;
        /// SMB2_SHAREFLAG_ISOLATED_TRANSPORT.
        ISOLATED_TRANSPORT = 0x20_0000;
    }
}

flags! {
    /// Capabilities of a response (SMB2_SHARE_CAP_).
    ShareCapabilities(u32) {
        /// DFS.
        DFS = 0x8;
        /// CONTINUOUS_AVAILABILITY.
        CONTINUOUS_AVAILABILITY = 0x10;
        /// SCALEOUT.
        SCALEOUT = 0x20;
        /// CLUSTER.
        CLUSTER = 0x40;
        /// ASYMMETRIC (3.0.2).
        ASYMMETRIC = 0x80;
        /// REDIRECT_TO_OWNER (3.1.1).
        REDIRECT_TO_OWNER = 0x100;
    }
}

/// ShareType of a response.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ShareType {
    /// 1.
    #[default]
    Disk,
    /// 2.
    Pipe,
    /// 3.
    Print,
}

impl ShareType {
    /// Decodes the wire value.
    #[must_use]
    pub const fn from_wire(v: u8) -> Option<Self> {
        Some(match v {
            1 => Self::Disk,
            2 => Self::Pipe,
            3 => Self::Print,
            _ => return None,
        })
    }

    /// The wire value.
    #[must_use]
    pub const fn to_wire(self) -> u8 {
        match self {
            Self::Disk => 1,
            Self::Pipe => 2,
            Self::Print => 3,
        }
    }
}

/// A tree connect context: 1 is the remoted identity. Kept raw.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TreeConnectContext {
    /// ContextType.
    pub context_type: u16,
    /// Data.
    pub data: Vec<u8>,
}

/// Most tree connect contexts in one request.
pub const TREE_CONNECT_CONTEXTS_MAX: usize = 16;
/// Length of a request's fixed part.
const REQUEST_FIXED: usize = 8;
/// Length of the extension's fixed part.
const EXTENSION_FIXED: usize = 16;

/// TREE_CONNECT request.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TreeConnectRequest {
    /// Flags; EXTENSION_PRESENT is added when there are contexts.
    pub flags: TreeConnectFlags,
    /// `\\server\share`.
    pub path: String,
    /// Contexts of the extension.
    pub contexts: Vec<TreeConnectContext>,
}

impl TreeConnectRequest {
    /// The share's name: what follows the last backslash.
    #[must_use]
    pub fn share_name(&self) -> &str {
        self.path.rsplit('\\').next().unwrap_or_default()
    }

    /// The server's name as the client wrote it.
    #[must_use]
    pub fn server_name(&self) -> &str {
        self.path.trim_start_matches('\\').split('\\').next().unwrap_or_default()
    }

    /// Decodes the element `msg`.
    pub fn decode(msg: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::body(msg, 9)?;
        let flags: TreeConnectFlags = r.get()?;
        let (offset, length) = (r.len16()?, r.len16()?);
        let path = utf16::decode(body_part(msg, offset, length, "TREE_CONNECT path")?, "TREE_CONNECT path")?;
        let contexts = if flags.contains(TreeConnectFlags::EXTENSION_PRESENT) {
            let (contexts_offset, count) = (r.len32()?, r.len16()?);
            r.skip(10)?;
            Self::contexts(msg.get(HEADER_SIZE..).unwrap_or_default(), contexts_offset, count)?
        } else {
            Vec::new()
        };
        Ok(Self { flags, path, contexts })
    }

    fn contexts(body: &[u8], offset: usize, count: usize) -> Result<Vec<TreeConnectContext>, DecodeError> {
        // MS-SMB2 2.2.9.1: this offset counts from the request, not from the header.
        let bad = DecodeError::malformed("tree connect context");
        if count > TREE_CONNECT_CONTEXTS_MAX {
            return Err(bad);
        }
        let mut at = offset;
        let mut all = Vec::new();
        for _ in 0..count {
            let mut r = Reader::new(part(body, at, 8, "tree connect context")?);
            let (context_type, length) = (r.u16()?, r.len16()?);
            let data_at = at.checked_add(8).ok_or(bad)?;
            all.push(TreeConnectContext { context_type, data: part(body, data_at, length, "tree connect context")?.to_vec() });
            at = data_at.checked_add(length).ok_or(bad)?.next_multiple_of(8);
        }
        Ok(all)
    }

    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        let extended = !self.contexts.is_empty() || self.flags.contains(TreeConnectFlags::EXTENSION_PRESENT);
        let flags = if extended { self.flags | TreeConnectFlags::EXTENSION_PRESENT } else { self.flags };
        out.put_u16(9);
        out.put(&flags);
        let path_at = out.len();
        out.put_u16(len_u16(HEADER_SIZE + REQUEST_FIXED));
        out.put_u16(len_u16(utf16::byte_len(&self.path)));
        if !extended {
            utf16::encode(&self.path, out);
            if self.path.is_empty() {
                out.put_u8(0);
            }
            return;
        }
        patch_u16(out, path_at, len_u16(HEADER_SIZE + REQUEST_FIXED + EXTENSION_FIXED));
        let contexts_at = out.len();
        out.put_u32(0);
        out.put_u16(len_u16(self.contexts.len()));
        out.put_zeros(10);
        utf16::encode(&self.path, out);
        for (i, c) in self.contexts.iter().enumerate() {
            align(out, start, 8);
            if i == 0 {
                let offset = len_u32(out.len() - start);
                patch_u32(out, contexts_at, offset);
            }
            out.put_u16(c.context_type);
            out.put_u16(len_u16(c.data.len()));
            out.put_u32(0);
            out.put_bytes(&c.data);
        }
    }
}

/// TREE_CONNECT response.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TreeConnectResponse {
    /// ShareType.
    pub share_type: ShareType,
    /// ShareFlags.
    pub share_flags: ShareFlags,
    /// Capabilities.
    pub capabilities: ShareCapabilities,
    /// MaximalAccess.
    pub maximal_access: AccessMask,
}

impl TreeConnectResponse {
    /// Decodes the element `msg`.
    pub fn decode(msg: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::body(msg, 16)?;
        let share_type = ShareType::from_wire(r.u8()?).ok_or(DecodeError::malformed("ShareType"))?;
        r.skip(1)?;
        Ok(Self { share_type, share_flags: r.get()?, capabilities: r.get()?, maximal_access: r.get()? })
    }

    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u16(16);
        out.put_u8(self.share_type.to_wire());
        out.put_u8(0);
        out.put(&self.share_flags);
        out.put(&self.capabilities);
        out.put(&self.maximal_access);
    }
}
