//! QUERY_INFO of a pipe (MS-FSCC 2.4.37 to 2.4.39).

use smb_proto::{
    info::{
        FileAccessInformation, FileBasicInformation, FileClass, FileNameInformation, FilePipeInformation, FilePipeLocalInformation,
        FilePipeRemoteInformation, FileStandardInformation,
    },
    message::query_info::QueryInfoRequest,
};
use smb_types::{FileAttributes, NtStatus};

use super::{Reply, fit, whole};
use crate::{
    error::Refusal,
    state::{Open, Pipe},
};

/// What a pipe says it has allocated, and its quotas.
const PIPE_BYTES: u32 = 4096;

/// Answers one class.
pub(super) fn query(open: &Open, pipe: &Pipe, class: FileClass, request: &QueryInfoRequest) -> Result<Reply, Refusal> {
    match class {
        FileClass::Basic => {
            whole(FileBasicInformation { file_attributes: FileAttributes::NORMAL, ..FileBasicInformation::default() }.to_bytes(), request)
        }
        FileClass::Standard => {
            let standard = FileStandardInformation {
                allocation_size: u64::from(PIPE_BYTES),
                number_of_links: 1,
                delete_pending: true,
                ..FileStandardInformation::default()
            };
            whole(standard.to_bytes(), request)
        }
        FileClass::Access => whole(FileAccessInformation { access_flags: open.granted_access }.to_bytes(), request),
        FileClass::Pipe => whole(FilePipeInformation { read_mode: 1, completion_mode: 0 }.to_bytes(), request),
        FileClass::PipeLocal => {
            let waiting = pipe.association.get().map_or(0, |association| association.waiting().0);
            let local = FilePipeLocalInformation {
                named_pipe_type: 1,
                named_pipe_configuration: 2,
                maximum_instances: u32::MAX,
                current_instances: 1,
                inbound_quota: PIPE_BYTES,
                read_data_available: u32::try_from(waiting).unwrap_or(u32::MAX),
                outbound_quota: PIPE_BYTES,
                write_quota_available: PIPE_BYTES,
                named_pipe_state: 3,
                named_pipe_end: 0,
            };
            whole(local.to_bytes(), request)
        }
        FileClass::PipeRemote => whole(FilePipeRemoteInformation::default().to_bytes(), request),
        FileClass::Name => {
            let mut bytes = Vec::new();
            FileNameInformation { file_name: format!("\\{}", pipe.name) }.encode(&mut bytes);
            fit(bytes, FileNameInformation::FIXED, request)
        }
        _ => Err(Refusal::new(NtStatus::INVALID_PARAMETER, "not a class of pipes")),
    }
}
