//! Information classes of QUERY_INFO, SET_INFO, QUERY_DIRECTORY and CHANGE_NOTIFY (MS-FSCC 2.4, 2.5, 2.7), one file each.
//!
//! Layouts only: which access a class needs, and what setting it does, is the server's business.

pub mod access;
pub mod alignment;
pub mod all;
pub mod allocation;
pub mod attribute_tag;
pub mod basic;
pub mod class;
pub mod compression;
pub mod directory;
pub mod disposition;
pub mod disposition_ex;
pub mod ea;
pub mod end_of_file;
pub mod fs;
pub mod full_ea;
pub mod id;
pub mod internal;
pub mod link;
pub mod list;
pub mod mode;
pub mod name;
pub mod network_open;
pub mod notify;
pub mod pipe;
pub mod pipe_local;
pub mod pipe_remote;
pub mod position;
pub mod rename;
pub mod standard;
pub mod stream;
pub mod valid_data_length;

pub use access::FileAccessInformation;
pub use alignment::FileAlignmentInformation;
pub use all::FileAllInformation;
pub use allocation::FileAllocationInformation;
pub use attribute_tag::FileAttributeTagInformation;
pub use basic::{FileBasicInformation, TimeChange};
pub use class::FileClass;
pub use compression::FileCompressionInformation;
pub use directory::{DirectoryClass, DirectoryEntry};
pub use disposition::FileDispositionInformation;
pub use disposition_ex::{DispositionFlags, FileDispositionInformationEx};
pub use ea::FileEaInformation;
pub use end_of_file::FileEndOfFileInformation;
pub use full_ea::FullEa;
pub use id::FileIdInformation;
pub use internal::FileInternalInformation;
pub use link::FileLinkInformation;
pub use list::{EntryWriter, Pushed, fit};
pub use mode::FileModeInformation;
pub use name::FileNameInformation;
pub use network_open::FileNetworkOpenInformation;
pub use notify::{FileNotifyInformation, NotifyAction};
pub use pipe::FilePipeInformation;
pub use pipe_local::FilePipeLocalInformation;
pub use pipe_remote::FilePipeRemoteInformation;
pub use position::FilePositionInformation;
pub use rename::{FileRenameInformation, RenameFlags};
pub use standard::FileStandardInformation;
pub use stream::FileStreamInformation;
pub use valid_data_length::FileValidDataLengthInformation;

use crate::error::DecodeError;
use crate::wire::Reader;

/// Decodes entries linked by NextEntryOffset, at most `max` of them.
fn decode_chain<T>(
    buf: &[u8],
    max: usize,
    what: &'static str,
    entry: impl Fn(&[u8]) -> Result<T, DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    let mut all = Vec::new();
    let mut rest = buf;
    while !rest.is_empty() {
        if all.len() >= max {
            return Err(DecodeError::malformed(what));
        }
        let next = Reader::new(rest).len32()?;
        if next == 0 {
            all.push(entry(rest)?);
            break;
        }
        let (this, after) = rest.split_at_checked(next).ok_or(DecodeError::malformed(what))?;
        all.push(entry(this)?);
        rest = after;
    }
    Ok(all)
}
