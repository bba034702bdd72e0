//! The words of SMB: ids, masks, levels, statuses, times.
//!
//! Pure values with their specification names. Knows nothing of wire layouts (smb-proto), of records (persistence-model), of I/O.

pub mod access;
pub mod dialect;
pub mod id;
pub mod lease;
pub mod sid;
pub mod status;
pub mod time;

pub use access::{AccessMask, CreateDisposition, CreateOptions, FileAttributes, ShareAccess};
pub use dialect::Dialect;
pub use id::{ClientGuid, CreateGuid, FileId, Guid, LeaseKey};
pub use lease::{LeaseState, OplockLevel};
pub use sid::Sid;
pub use status::NtStatus;
pub use time::FileTime;
