//! FSCTL_QUERY_ALLOCATED_RANGES (MS-FSA 2.1.5.10.22): where a file holds data.

use smb_backend::Range;
use smb_proto::{fsctl::AllocatedRange, message::ioctl::IoctlRequest};
use smb_types::{AccessMask, FileAttributes, NtStatus};

use super::Output;
use crate::{blocking::blocking, error::Refusal, state::Open};

/// Most ranges looked for in one request.
const RANGES_MAX: usize = 65_536;

/// Lists the ranges.
pub(super) fn query(open: &Open, request: &IoctlRequest) -> Result<Output, Refusal> {
    let wish = AllocatedRange::decode(&request.input).map_err(|_| Refusal::invalid("a short range"))?;
    if open.is_directory {
        return Err(Refusal::invalid("a directory has no data"));
    }
    let file = open.file_with(AccessMask::READ_DATA)?;
    let end = wish.file_offset.checked_add(wish.length).filter(|end| i64::try_from(*end).is_ok());
    if end.is_none() {
        return Err(Refusal::invalid("not a range"));
    }
    if wish.length == 0 {
        return Ok((Vec::new(), NtStatus::SUCCESS));
    }
    let room = usize::try_from(request.max_output_response).unwrap_or(usize::MAX) / 16;
    let metadata = blocking(|| file.metadata())?;
    if !metadata.attributes.contains(FileAttributes::SPARSE_FILE) {
        // windows: a file that is not sparse is allocated throughout.
        let length = wish.length.min(metadata.size.saturating_sub(wish.file_offset));
        let all: Vec<AllocatedRange> =
            (length > 0).then_some(AllocatedRange { file_offset: wish.file_offset, length }).into_iter().collect();
        return AllocatedRange::encode_list(&all, request.max_output_response)
            .map_err(|status| Refusal::new(status, "no room for one range"));
    }
    // One more than fits tells that there are more.
    let range = Range { offset: wish.file_offset, length: wish.length };
    let found = blocking(|| file.allocated_ranges(range, room.saturating_add(1).min(RANGES_MAX)))?;
    let found: Vec<AllocatedRange> =
        found.into_iter().map(|range| AllocatedRange { file_offset: range.offset, length: range.length }).collect();
    AllocatedRange::encode_list(&found, request.max_output_response).map_err(|status| Refusal::new(status, "no room for one range"))
}
