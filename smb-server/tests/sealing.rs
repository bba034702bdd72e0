//! What was asked encrypted is answered encrypted, whatever becomes of the session meanwhile: the client of these tests takes nothing in clear.
#![allow(missing_docs, reason = "a test")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod rig;

use rig::{Client, Rig, credentials};
use smb_proto::{
    Command, Header, HeaderFlags,
    context::{LeaseContext, LeaseV2, RequestContext},
    message::{
        change_notify::{ChangeNotifyRequest, CompletionFilter},
        close::CloseRequest,
        create::{CreateRequest, CreateResponse, OPLOCK_LEVEL_LEASE},
        echo::EchoRequest,
        logoff::LogoffRequest,
        negotiate::SecurityMode,
        oplock_break::OplockBreakResponse,
        session_setup::SessionSetupRequest,
        tree_connect::TreeConnectFlags,
    },
};
use smb_types::{AccessMask, CreateDisposition, CreateOptions, Dialect, FileId, Guid, LeaseState, NtStatus, ShareAccess};

const OPLOCK_LEVEL_BATCH: u8 = 9;

/// A client that encrypts everything, and uses a share.
async fn sealed(rig: &Rig, share: &str) -> Client {
    sealed_as(rig, rig::CLIENT, share, Dialect::Smb311).await
}

async fn sealed_as(rig: &Rig, client_guid: Guid, share: &str, dialect: Dialect) -> Client {
    let mut client = rig.connect();
    client.client_guid = client_guid;
    client.negotiate(&[dialect]).await;
    if dialect != Dialect::Smb311 {
        client.cipher = Some(smb_auth::CipherId::Aes128Ccm);
    }
    assert_eq!(client.log_on("alice", "secret", 0).await, NtStatus::SUCCESS);
    client.encrypts = true;
    assert_eq!(client.tree(share).await.0, NtStatus::SUCCESS);
    client
}

/// Sends elements as one message; each is `(header, body)`.
async fn send_compound(client: &mut Client, elements: Vec<(Header, Vec<u8>)>) {
    let last = elements.len() - 1;
    let mut message = Vec::new();
    for (index, (mut header, body)) in elements.into_iter().enumerate() {
        let length = (smb_proto::HEADER_SIZE + body.len()).next_multiple_of(8);
        if index != last {
            header.next_command = u32::try_from(length).unwrap();
        }
        let start = message.len();
        header.encode(&mut message);
        message.extend_from_slice(&body);
        message.resize(start + length, 0);
    }
    client.send_raw(&message).await;
}

async fn statuses(client: &mut Client) -> Vec<NtStatus> {
    let reply = client.receive_raw().await.unwrap();
    smb_proto::frame::split(&reply).unwrap().iter().map(|element| element.header.status()).collect()
}

fn body(encode: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    encode(&mut out);
    out
}

fn related(mut header: Header) -> Header {
    header.flags |= HeaderFlags::RELATED_OPERATIONS;
    header
}

fn create(name: &str) -> CreateRequest {
    CreateRequest {
        desired_access: AccessMask(AccessMask::READ_DATA.0 | AccessMask::WRITE_DATA.0),
        share_access: ShareAccess::ALL,
        create_disposition: CreateDisposition::OpenIf,
        name: name.to_owned(),
        ..CreateRequest::default()
    }
}

async fn opened(client: &mut Client, request: &CreateRequest) -> FileId {
    let (header, message) = client.request(Command::Create, |out| request.encode(out)).await;
    assert_eq!(header.status(), NtStatus::SUCCESS);
    CreateResponse::decode(&message).unwrap().file_id
}

// MS-SMB2 3.3.4.1.4
#[tokio::test]
async fn a_compound_whose_last_element_finds_no_session_is_answered_encrypted() {
    let rig = Rig::new();
    for dialect in [Dialect::Smb302, Dialect::Smb311] {
        let mut client = sealed_as(&rig, rig::CLIENT, "sealed", dialect).await;
        let first = client.header(Command::Echo);
        let mut last = client.header(Command::Create);
        last.session_id = 0;
        let request = create("f");
        let elements = vec![(first, body(|out| EchoRequest.encode(out))), (last, body(|out| request.encode(out)))];
        send_compound(&mut client, elements).await;
        assert_eq!(statuses(&mut client).await, [NtStatus::SUCCESS, NtStatus::USER_SESSION_DELETED]);
    }
}

// MS-SMB2 3.3.4.1.4
#[tokio::test]
async fn related_requests_of_no_session_are_refused_encrypted() {
    let rig = Rig::new();
    let mut client = sealed(&rig, "sealed").await;
    let mut first = client.header(Command::Create);
    first.session_id = 0;
    let second = related(client.header(Command::Close));
    let close = CloseRequest { file_id: FileId::ALL_ONES, ..CloseRequest::default() };
    let request = create("f");
    let elements = vec![(first, body(|out| request.encode(out))), (second, body(|out| close.encode(out)))];
    send_compound(&mut client, elements).await;
    assert_eq!(statuses(&mut client).await, [NtStatus::USER_SESSION_DELETED, NtStatus::INVALID_PARAMETER]);
}

// MS-SMB2 3.3.4.1.4, 3.3.5.6
#[tokio::test]
async fn what_comes_after_a_logoff_in_its_message_is_refused_encrypted() {
    let rig = Rig::new();
    let mut client = sealed(&rig, "sealed").await;
    let elements = vec![
        (client.header(Command::Logoff), body(|out| LogoffRequest.encode(out))),
        (client.header(Command::Create), body(|out| create("f").encode(out))),
    ];
    send_compound(&mut client, elements).await;
    assert_eq!(statuses(&mut client).await, [NtStatus::SUCCESS, NtStatus::USER_SESSION_DELETED]);
    assert!(rig.server.sessions().is_empty());
}

// MS-SMB2 3.3.4.1.4, 3.3.4.2
#[tokio::test]
async fn a_wait_is_announced_and_ended_encrypted() {
    let rig = Rig::new();
    let mut client = sealed(&rig, "plain").await;
    let directory = CreateRequest { create_options: CreateOptions::DIRECTORY_FILE, ..create("d") };
    let file_id = opened(&mut client, &directory).await;
    let watch = ChangeNotifyRequest { flags: 0, output_buffer_length: 4096, file_id, completion_filter: CompletionFilter::FILE_NAME };
    let (header, _) = client.request(Command::ChangeNotify, |out| watch.encode(out)).await;
    assert_eq!(header.status(), NtStatus::PENDING);
    // The session ends under the request that waits.
    let (one, _) = client.request(Command::Logoff, |out| LogoffRequest.encode(out)).await;
    let (two, _) = client.receive().await.unwrap();
    let told = [one.status(), two.status()];
    assert!(told.contains(&NtStatus::SUCCESS) && told.contains(&NtStatus::NOTIFY_CLEANUP), "{told:?}");
}

// MS-SMB2 3.3.4.6, 3.3.4.7
#[tokio::test]
async fn a_break_on_an_encrypted_share_is_told_encrypted() {
    let rig = Rig::new();
    let mut holder = sealed(&rig, "sealed").await;
    let mut other = sealed_as(&rig, Guid([8; 16]), "sealed", Dialect::Smb311).await;
    let key = Guid([5; 16]);
    let lease = LeaseContext { key, state: LeaseState::RWH, v2: Some(LeaseV2::default()), ..LeaseContext::default() };
    let mut leased = CreateRequest { requested_oplock_level: OPLOCK_LEVEL_LEASE, ..create("leased") };
    leased.contexts.push(RequestContext::Lease(lease));
    let batch = CreateRequest { requested_oplock_level: OPLOCK_LEVEL_BATCH, ..create("batch") };
    for request in [leased, batch] {
        opened(&mut holder, &request).await;
        let (header, _) = other.request(Command::Create, |out| create(&request.name).encode(out)).await;
        assert_eq!(header.status(), NtStatus::PENDING);
        let (header, message) = holder.receive().await.unwrap();
        assert_eq!(header.message_id, u64::MAX);
        assert!(!matches!(OplockBreakResponse::decode(&message).unwrap(), OplockBreakResponse::Lease(_)));
        drop(std::mem::replace(&mut holder, sealed(&rig, "sealed").await));
        let (header, _) = other.receive().await.unwrap();
        assert_eq!(header.status(), NtStatus::SUCCESS, "its holder has gone");
    }
}

// MS-SMB2 3.3.4.1.4
#[tokio::test]
async fn a_refusal_is_encrypted_and_not_signed() {
    let rig = Rig::new();
    let mut client = sealed(&rig, "plain").await;
    let (header, _) = client.tree_with("nothing", TreeConnectFlags::NONE).await;
    assert_eq!((header.status(), header.is_signed()), (NtStatus::BAD_NETWORK_NAME, false));
}

// MS-SMB2 3.3.5.5.2, 3.3.5.5.3
// The rig demands the signature of the final response.
#[tokio::test]
async fn a_renewal_is_answered_encrypted_and_its_end_is_signed_too() {
    let rig = Rig::new();
    for dialect in [Dialect::Smb302, Dialect::Smb311] {
        let mut client = sealed_as(&rig, rig::CLIENT, "sealed", dialect).await;
        assert_eq!(client.renew(credentials("alice", "secret")).await, NtStatus::SUCCESS);
        assert_eq!(client.renew(credentials("alice", "secret")).await, NtStatus::SUCCESS, "and once more");
        let (header, _) = client.request(Command::Echo, |out| EchoRequest.encode(out)).await;
        assert_eq!(header.status(), NtStatus::SUCCESS);
        assert_eq!(client.renew(credentials("alice", "wrong")).await, NtStatus::LOGON_FAILURE);
        assert!(rig.server.sessions().is_empty(), "a failed renewal ends the session");
    }
}

// MS-SMB2 3.3.5.2.1.1
#[tokio::test]
async fn an_envelope_holds_no_logon_of_another_session() {
    let rig = Rig::new();
    let mut client = sealed(&rig, "plain").await;
    client.session_id += 1;
    let request = SessionSetupRequest { security_mode: SecurityMode::SIGNING_ENABLED, ..SessionSetupRequest::default() };
    assert!(client.try_request(Command::SessionSetup, |out| request.encode(out)).await.is_none());
}
