//! The file system under the shares: posix directory, memory, fault injection.
//!
//! It offers what SMB needs of a file system – names compared without case, alternate data streams, extended attributes, DOS
//! attributes, security descriptors, stable writes – over a directory that every node of the cluster can mount. It knows nothing of
//! sessions, opens, leases, share modes or locks, and keeps nothing about handles on disk.
//!
//! All calls block; async callers wrap them in `block_in_place`.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests"))]

mod api;
mod disposition;
mod dosattrib;
mod error;
mod faulty;
mod key;
mod memory;
mod meta;
mod ntacl;
mod path;
mod posix;
mod security;
mod xname;

pub mod name;

pub use api::{
    Backend, BackendFile, CreateAction, CreateArgs, DirCursor, DirEntry, Ea, Entry, MustBe, OpenHow, Opened, Overwrite, Range, Stability,
    StreamInfo, Want,
};
pub use error::{BackendError, Result};
pub use faulty::{Fault, FaultyBackend, Op, When};
pub use key::FileKey;
pub use memory::MemoryBackend;
pub use meta::{FileKind, Metadata, SetBasic, VolumeInfo};
pub use path::{PATH_BYTES_MAX, PathError, RelPath};
pub use posix::PosixBackend;
pub use security::{DescriptorStore, PosixEntry, PosixWho, Security, StoredDescriptor, UnixOwner};
pub use xname::STREAM_BYTES_MAX;
