//! What one side writes, the other reads as the same.
#![allow(clippy::unwrap_used, reason = "tests")]

use bytes::Bytes;
use proptest::prelude::*;
use smb_proto::context::{DurableRequestV2, LeaseContext, LeaseFlags, LeaseV2, RequestContext, ResponseContext};
use smb_proto::message::change_notify::{ChangeNotifyRequest, CompletionFilter};
use smb_proto::message::close::CloseResponse;
use smb_proto::message::create::{CreateAction, CreateRequest, CreateResponse};
use smb_proto::message::error_response::{ErrorData, ErrorResponse, ShareRedirect, SymlinkError};
use smb_proto::message::ioctl::{IoctlRequest, IoctlResponse};
use smb_proto::message::lock::{LockElement, LockFlags, LockRequest};
use smb_proto::message::oplock_break::{LeaseBreakAck, LeaseBreakNotification, OplockBreak, OplockBreakRequest, OplockBreakResponse};
use smb_proto::message::query_directory::QueryDirectoryRequest;
use smb_proto::message::query_info::{InfoType, QueryInfoRequest, QueryInfoResponse};
use smb_proto::message::read::{ReadRequest, ReadResponse};
use smb_proto::message::set_info::SetInfoRequest;
use smb_proto::message::tree_connect::{ShareCapabilities, ShareType, TreeConnectContext, TreeConnectRequest, TreeConnectResponse};
use smb_proto::message::write::{WriteRequest, WriteResponse};
use smb_proto::{Command, DecodeError, Header, fsctl, info};
use smb_types::{CreateDisposition, FileId, Guid, LeaseState};

fn message(body: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    let mut b = Vec::new();
    Header::request(Command::Echo, 1).encode(&mut b);
    body(&mut b);
    b.into()
}

macro_rules! same {
    ($t:ty, $v:expr) => {{
        let v: $t = $v;
        let msg = message(|o| v.encode(o));
        assert_eq!(<$t>::decode(&msg).unwrap(), v);
    }};
}

const FILE: FileId = FileId { persistent: 11, volatile: 22 };

#[test]
fn messages() {
    same!(TreeConnectRequest, TreeConnectRequest { path: r"\\srv\share".into(), ..Default::default() });
    let extended = TreeConnectRequest {
        flags: smb_proto::message::tree_connect::TreeConnectFlags::EXTENSION_PRESENT,
        path: r"\\srv\share".into(),
        contexts: vec![TreeConnectContext { context_type: 1, data: vec![1, 2, 3] }; 2],
    };
    assert_eq!((extended.server_name(), extended.share_name()), ("srv", "share"));
    same!(TreeConnectRequest, extended);
    same!(
        TreeConnectResponse,
        TreeConnectResponse { share_type: ShareType::Pipe, capabilities: ShareCapabilities::CONTINUOUS_AVAILABILITY, ..Default::default() }
    );
    same!(CloseResponse, CloseResponse { flags: 1, end_of_file: 9, ..Default::default() });
    same!(ReadRequest, ReadRequest { length: 9, offset: 8, file_id: FILE, minimum_count: 1, ..Default::default() });
    same!(ReadResponse, ReadResponse { data: Bytes::from_static(b"abc"), ..Default::default() });
    same!(ReadResponse, ReadResponse::default());
    same!(WriteRequest, WriteRequest { offset: u64::MAX, file_id: FILE, data: Bytes::from_static(b"xyz"), ..Default::default() });
    same!(WriteResponse, WriteResponse { count: 3 });
    let lock = LockElement { offset: 1, length: 2, flags: LockFlags::EXCLUSIVE | LockFlags::FAIL_IMMEDIATELY };
    same!(LockRequest, LockRequest { lock_sequence_number: 15, lock_sequence_index: 64, file_id: FILE, locks: vec![lock; 3] });
    same!(IoctlRequest, IoctlRequest { ctl_code: fsctl::code::SET_SPARSE, file_id: FILE, input: vec![1], flags: 1, ..Default::default() });
    same!(IoctlResponse, IoctlResponse { ctl_code: 1, file_id: FILE, input: vec![1], output: vec![2; 9], flags: 0 });
    same!(QueryDirectoryRequest, QueryDirectoryRequest { information_class: 37, pattern: "*".into(), ..Default::default() });
    same!(ChangeNotifyRequest, ChangeNotifyRequest { flags: 1, completion_filter: CompletionFilter::FILE_NAME, ..Default::default() });
    same!(QueryInfoRequest, QueryInfoRequest { input: vec![5; 4], ..QueryInfoRequest::new(InfoType::File, 15, 100, FILE) });
    same!(QueryInfoResponse, QueryInfoResponse::new(vec![1, 2]));
    same!(SetInfoRequest, SetInfoRequest::file(20, FILE, vec![0; 8]));
}

#[test]
fn breaks_are_told_apart_by_their_size() {
    // MS-SMB2 2.2.23 to 2.2.25
    let (oplock, ack) =
        (OplockBreak { oplock_level: 1, file_id: FILE }, LeaseBreakAck { flags: 0, lease_key: Guid([3; 16]), state: LeaseState::RH });
    let note =
        LeaseBreakNotification { new_epoch: 2, flags: 1, current_state: LeaseState::RWH, new_state: LeaseState::RH, ..Default::default() };
    same!(OplockBreakRequest, OplockBreakRequest::Oplock(oplock));
    same!(OplockBreakRequest, OplockBreakRequest::Lease(ack));
    same!(OplockBreakResponse, OplockBreakResponse::Oplock(oplock));
    same!(OplockBreakResponse, OplockBreakResponse::Lease(ack));
    same!(OplockBreakResponse, OplockBreakResponse::LeaseNotification(note));
}

#[test]
fn errors_with_and_without_contexts() {
    // MS-SMB2 2.2.2
    let link = SymlinkError { unparsed_path_length: 4, substitute_name: "a\\b".into(), print_name: "c".into(), relative: true };
    assert_eq!(SymlinkError::decode(&link.to_bytes()).unwrap(), link);
    for data in [ErrorData::Empty, ErrorData::needed_size(77), ErrorData::symlink(&link)] {
        for contexts in [false, true] {
            let e = ErrorResponse::new(data.clone());
            let msg = message(|o| e.encode(contexts, o));
            assert!(msg.len() >= 64 + 9, "nine bytes at least");
            assert_eq!(ErrorResponse::decode(&msg).unwrap(), e);
        }
    }
    let msg = message(|o| ErrorResponse::new(ErrorData::needed_size(77)).encode(true, o));
    assert_eq!((msg[66], msg[68]), (1, 12), "one context, twelve bytes");
    let redirect =
        ShareRedirect { resource_name: "node2".into(), addresses: vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()] };
    let e = ErrorResponse::new(ErrorData::ShareRedirect(redirect));
    assert_eq!(ErrorResponse::decode(&message(|o| e.encode(true, o))).unwrap(), e);
}

#[test]
fn create_with_contexts() {
    let lease = LeaseContext {
        key: Guid([1; 16]),
        state: LeaseState::RWH,
        flags: LeaseFlags::PARENT_LEASE_KEY_SET,
        v2: Some(LeaseV2 { parent_key: Guid([2; 16]), epoch: 7 }),
    };
    assert_eq!(lease.parent_key(), Some(Guid([2; 16])));
    let request = CreateRequest {
        requested_oplock_level: 0xFF,
        create_disposition: CreateDisposition::OpenIf,
        name: "dir\\file.txt".into(),
        contexts: vec![
            RequestContext::Lease(lease),
            RequestContext::DurableRequestV2(DurableRequestV2 { timeout_ms: 0, flags: 2, create_guid: Guid([9; 16]) }),
        ],
        ..Default::default()
    };
    let sorted = request.sorted_contexts();
    assert!(request.requests_lease() && sorted.durable_request_v2.is_some_and(DurableRequestV2::is_persistent));
    assert_eq!(sorted.lease, Some(&lease));
    same!(CreateRequest, request);
    same!(CreateRequest, CreateRequest::default());
    same!(
        CreateResponse,
        CreateResponse {
            create_action: CreateAction::Created,
            file_id: FILE,
            contexts: vec![ResponseContext::Lease(lease)],
            ..Default::default()
        }
    );
    same!(CreateResponse, CreateResponse::default());
}

#[test]
fn read_response_in_place() {
    let msg = message(|o| {
        let at = ReadResponse::begin(o);
        o.extend_from_slice(b"straight from the file");
        ReadResponse::finish(o, at);
    });
    assert_eq!(&ReadResponse::decode(&msg).unwrap().data[..], b"straight from the file");
    let known = message(|o| {
        ReadResponse::encode_header_for(22, o);
        o.extend_from_slice(b"straight from the file");
    });
    assert_eq!(known, msg);
}

#[test]
fn refusals_carry_the_right_status() {
    use smb_types::NtStatus;
    let short = message(|o| LockRequest { locks: vec![LockElement::default(); 2], ..Default::default() }.encode(o));
    assert_eq!(LockRequest::decode(&short[..short.len() - 1]).unwrap_err().status(), Some(NtStatus::INVALID_PARAMETER));
    assert!(LockRequest::decode(&message(|o| LockRequest::default().encode(o))).is_err(), "an empty list is refused");
    assert_eq!(info::FileBasicInformation::decode(&[0; 39]).unwrap_err().status(), Some(NtStatus::INFO_LENGTH_MISMATCH));
    assert!(matches!(fsctl::SetZeroData::decode(&[0; 15]), Err(DecodeError::Malformed { .. })));
    let cut = message(|o| WriteRequest { data: Bytes::from_static(b"12345678"), ..Default::default() }.encode(o));
    assert_eq!(WriteRequest::decode(&cut.slice(..cut.len() - 1)).unwrap_err().status(), Some(NtStatus::INVALID_PARAMETER));
}

#[test]
fn control_buffers() {
    let v = fsctl::ValidateNegotiateRequest { dialects: vec![0x0202, 0x0302], ..Default::default() };
    let mut b = Vec::new();
    v.encode(&mut b);
    assert_eq!(fsctl::ValidateNegotiateRequest::decode(&b).unwrap(), v);
    let c = fsctl::CopychunkRequest {
        source_key: [4; 24],
        chunks: vec![fsctl::CopychunkChunk { source_offset: 1, target_offset: 2, length: 3 }; 2],
    };
    b.clear();
    c.encode(&mut b);
    assert_eq!((b.len(), fsctl::CopychunkRequest::decode(&b).unwrap()), (32 + 48, c));
    let nics: Vec<_> = ["127.0.0.1", "::1"]
        .map(|a| fsctl::NetworkInterface {
            if_index: 1,
            capability: Default::default(),
            link_speed: 1_000_000_000,
            address: a.parse().unwrap(),
        })
        .into();
    let b = fsctl::NetworkInterface::encode_list(&nics);
    assert_eq!((b.len(), b[0], b[152]), (304, 152, 0));
    assert_eq!(fsctl::NetworkInterface::decode_list(&b).unwrap(), nics);
    let s = fsctl::Snapshots { names: vec!["@GMT-2024.01.02-03.04.05".into()] };
    assert_eq!(fsctl::Snapshots::decode(&s.to_bytes(4096)).unwrap(), s);
    assert_eq!(s.to_bytes(16), [1u32, 0, 52, 0].map(u32::to_le_bytes).concat(), "only the size when the names do not fit, in 16 bytes");
    assert_eq!(fsctl::Snapshots::default().to_bytes(16), [0u32, 0, 2, 0].map(u32::to_le_bytes).concat(), "none");
    let r = fsctl::ReparseData::Symlink { substitute_name: "x\\y".into(), print_name: "y".into(), relative: true };
    let mut b = Vec::new();
    r.encode(&mut b);
    assert_eq!(fsctl::ReparseData::decode(&b).unwrap(), r);
}

#[test]
fn renames_and_changes() {
    let r = info::FileRenameInformation { flags: info::RenameFlags::REPLACE_IF_EXISTS, file_name: "b".into() };
    let mut b = Vec::new();
    r.encode(&mut b);
    assert_eq!(b.len(), 24);
    assert_eq!(info::FileRenameInformation::decode(&b).unwrap(), r);
    let changes: Vec<_> = [info::NotifyAction::RenamedOldName, info::NotifyAction::RenamedNewName]
        .map(|action| info::FileNotifyInformation { action, file_name: "odd".into() })
        .into();
    let b = info::FileNotifyInformation::encode_list(&changes, 4096).unwrap();
    assert_eq!(info::FileNotifyInformation::decode_list(&b).unwrap(), changes);
    assert_eq!(info::FileNotifyInformation::encode_list(&changes, 20), None, "what does not fit is enumerated by the client");
}

proptest! {
    #[test]
    fn create_names(name in "[^\u{0}]{0,60}", persistent in any::<u64>(), data in prop::collection::vec(any::<u8>(), 0..50)) {
        let r = CreateRequest {
            name,
            contexts: vec![
                RequestContext::DurableReconnect(smb_proto::context::DurableReconnect { file_id: FileId { persistent, volatile: 0 } }),
                RequestContext::Unknown(smb_proto::context::UnknownContext { name: b"abcdef".to_vec(), data }),
            ],
            ..Default::default()
        };
        let msg = message(|o| r.encode(o));
        prop_assert_eq!(CreateRequest::decode(&msg).unwrap(), r);
    }
}
