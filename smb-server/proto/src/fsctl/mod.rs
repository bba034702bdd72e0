//! The control codes of IOCTL (MS-SMB2 2.2.31.1, 2.2.32; MS-FSCC 2.3) and their buffers, one file each.
//!
//! Layouts only: limits on counts that have a status of their own (copychunk) are the server's business.

pub mod code;
pub mod compression;
pub mod copychunk;
pub mod dfs_referral;
pub mod duplicate_extents;
pub mod network_interface;
pub mod object_id;
pub mod pipe_wait;
pub mod query_allocated_ranges;
pub mod reparse_point;
pub mod resiliency;
pub mod resume_key;
pub mod set_sparse;
pub mod set_zero_data;
pub mod snapshots;
pub mod trim;
pub mod validate_negotiate;

pub use compression::CompressionState;
pub use copychunk::{CopychunkChunk, CopychunkRequest, CopychunkResponse};
pub use dfs_referral::DfsReferralRequest;
pub use duplicate_extents::{DuplicateExtents, DuplicateExtentsEx};
pub use network_interface::NetworkInterface;
pub use object_id::ObjectIdBuffer;
pub use pipe_wait::PipeWaitRequest;
pub use query_allocated_ranges::AllocatedRange;
pub use reparse_point::ReparseData;
pub use resiliency::ResiliencyRequest;
pub use resume_key::ResumeKeyResponse;
pub use set_sparse::SetSparse;
pub use set_zero_data::SetZeroData;
pub use snapshots::Snapshots;
pub use trim::{TrimRange, TrimRequest, TrimResponse};
pub use validate_negotiate::{ValidateNegotiateRequest, ValidateNegotiateResponse};
