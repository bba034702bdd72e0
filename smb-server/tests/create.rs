//! CREATE, CLOSE, LOCK and OPLOCK_BREAK through the whole server: request bytes in, response bytes and records out.
#![allow(missing_docs, reason = "a test")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod rig;

use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt as _;
use persistence_model::{
    Command as Record, Incarnation, NodeAddresses, NodeId, OpenId, OpenRequest, Outcome, RequestedDurability, RequestedOplock, SessionId,
    Share,
};
use rig::{CLIENT, Client, Rig};
use smb_backend::{Backend, BackendError, CreateArgs, FileKind, MemoryBackend, OpenHow, RelPath, StoredDescriptor};
use smb_proto::{
    Command, Header, HeaderFlags,
    context::{DurableReconnectV2, DurableRequestV2, LeaseContext, LeaseV2, RequestContext, ResponseContext, dh2q},
    message::{
        close::{CloseRequest, CloseResponse},
        create::{CreateAction, CreateRequest, CreateResponse, OPLOCK_LEVEL_LEASE},
        lock::{LockElement, LockFlags, LockRequest},
        oplock_break::{LeaseBreakAck, OplockBreakRequest, OplockBreakResponse},
    },
    security::{Acl, SecurityDescriptor},
};
use smb_server::{ServerConfig, StoreExt as _};
use smb_types::{
    AccessMask, CreateDisposition, CreateGuid, CreateOptions, FileAttributes, FileId, Guid, LeaseState, NtStatus, ShareAccess,
};

/// Turns of the runtime in which a request that waits for nothing has long been answered.
const TURNS: usize = 10_000;
const GUID: CreateGuid = Guid([0x11; 16]);
const RW: AccessMask = AccessMask(AccessMask::READ_DATA.0 | AccessMask::WRITE_DATA.0 | AccessMask::READ_ATTRIBUTES.0);

fn create(name: &str, disposition: CreateDisposition) -> CreateRequest {
    CreateRequest {
        desired_access: RW,
        share_access: ShareAccess::ALL,
        create_disposition: disposition,
        name: name.to_owned(),
        ..CreateRequest::default()
    }
}

fn persistent(mut request: CreateRequest) -> CreateRequest {
    let context = DurableRequestV2 { timeout_ms: 0, flags: dh2q::FLAG_PERSISTENT, create_guid: GUID };
    request.contexts.push(RequestContext::DurableRequestV2(context));
    request
}

fn leased(mut request: CreateRequest, key: u8, state: LeaseState) -> CreateRequest {
    request.requested_oplock_level = OPLOCK_LEVEL_LEASE;
    let v2 = Some(LeaseV2::default());
    request.contexts.push(RequestContext::Lease(LeaseContext { key: Guid([key; 16]), state, v2, ..LeaseContext::default() }));
    request
}

async fn send_create(client: &mut Client, request: &CreateRequest, replay: bool) {
    let mut header = client.header(Command::Create);
    if replay {
        header.flags |= HeaderFlags::REPLAY_OPERATION;
    }
    let message = client.encode(header, |out| request.encode(out));
    client.send_raw(&message).await;
}

async fn opened(client: &mut Client, request: &CreateRequest) -> CreateResponse {
    answered(client, request, false).await.unwrap()
}

async fn answered(client: &mut Client, request: &CreateRequest, replay: bool) -> Result<CreateResponse, NtStatus> {
    send_create(client, request, replay).await;
    let (header, message) = client.receive().await.unwrap();
    match header.status() {
        NtStatus::SUCCESS => Ok(CreateResponse::decode(&message).unwrap()),
        status => Err(status),
    }
}

async fn close(client: &mut Client, file_id: FileId, flags: u16) -> (NtStatus, Bytes) {
    let (header, message) = client.request(Command::Close, |out| CloseRequest { flags, file_id }.encode(out)).await;
    (header.status(), message)
}

/// Hangs up and waits until the server has dealt with it.
async fn hang_up(client: Client) {
    let Client { served, .. } = drop_stream(client);
    served.await.unwrap();
}

fn drop_stream(mut client: Client) -> Client {
    client.hang_up();
    client
}

#[tokio::test]
async fn files_are_made_opened_and_overwritten() {
    let rig = Rig::new();
    let mut client = rig.ready("plain").await;
    assert_eq!(answered(&mut client, &create("a", CreateDisposition::Open), false).await, Err(NtStatus::OBJECT_NAME_NOT_FOUND));
    let parent_missing = answered(&mut client, &create("no\\a", CreateDisposition::Create), false).await;
    assert_eq!(parent_missing, Err(NtStatus::OBJECT_PATH_NOT_FOUND));
    let first = opened(&mut client, &create("a", CreateDisposition::Create)).await;
    assert_eq!(first.create_action, CreateAction::Created);
    assert_eq!(first.file_attributes, FileAttributes::ARCHIVE);
    assert_eq!(answered(&mut client, &create("A", CreateDisposition::Create), false).await, Err(NtStatus::OBJECT_NAME_COLLISION));
    let second = opened(&mut client, &create("A", CreateDisposition::OverwriteIf)).await;
    assert_eq!(second.create_action, CreateAction::Overwritten);
    assert_ne!(first.file_id, second.file_id);
    let directory = CreateRequest { create_options: CreateOptions::DIRECTORY_FILE, ..create("a", CreateDisposition::Open) };
    assert_eq!(answered(&mut client, &directory, false).await, Err(NtStatus::NOT_A_DIRECTORY));
    let stream = opened(&mut client, &create("a:notes", CreateDisposition::OpenIf)).await;
    assert_eq!(stream.create_action, CreateAction::Created);
    let path = rig.store.with_state(|state| state.open(OpenId(stream.file_id.persistent)).unwrap().path.clone());
    assert_eq!(&*path, "a:notes");
}

// MS-SMB2 3.3.5.10
#[tokio::test]
async fn a_close_is_final_and_deletes_what_it_promised() {
    let rig = Rig::new();
    let mut client = rig.ready("plain").await;
    let request = CreateRequest {
        desired_access: RW | AccessMask::DELETE,
        create_options: CreateOptions::DELETE_ON_CLOSE,
        ..create("gone", CreateDisposition::Create)
    };
    let file = opened(&mut client, &request).await;
    let (status, message) = close(&mut client, file.file_id, 1).await;
    assert_eq!(status, NtStatus::SUCCESS);
    assert_eq!(CloseResponse::decode(&message).unwrap().file_attributes, FileAttributes::ARCHIVE);
    assert_eq!(close(&mut client, file.file_id, 0).await.0, NtStatus::FILE_CLOSED);
    assert_eq!(answered(&mut client, &create("gone", CreateDisposition::Open), false).await, Err(NtStatus::OBJECT_NAME_NOT_FOUND));
    assert_eq!(rig.store.with_state(|state| (state.opens().count(), state.pending_deletes().count())), (0, 0));
    let no_right = CreateRequest { create_options: CreateOptions::DELETE_ON_CLOSE, ..create("x", CreateDisposition::Create) };
    assert_eq!(answered(&mut client, &no_right, false).await, Err(NtStatus::INVALID_PARAMETER));
}

// MS-FSA 2.1.5.4
#[tokio::test]
async fn a_deleted_file_keeps_its_name_until_its_streams_are_closed() {
    let rig = Rig::new();
    let mut client = rig.ready("plain").await;
    let stream = opened(&mut client, &create("a:notes", CreateDisposition::OpenIf)).await;
    let delete = CreateRequest {
        desired_access: RW | AccessMask::DELETE,
        create_options: CreateOptions::DELETE_ON_CLOSE,
        ..create("a", CreateDisposition::Open)
    };
    let file = opened(&mut client, &delete).await;
    let second = opened(&mut client, &create("a:notes", CreateDisposition::Open)).await;
    assert_eq!(close(&mut client, file.file_id, 0).await.0, NtStatus::SUCCESS);
    for name in ["a", "a:notes", "a:other"] {
        assert_eq!(answered(&mut client, &create(name, CreateDisposition::OpenIf), false).await, Err(NtStatus::DELETE_PENDING), "{name}");
    }
    for (stream, then) in [(stream, NtStatus::DELETE_PENDING), (second, NtStatus::OBJECT_NAME_NOT_FOUND)] {
        assert_eq!(close(&mut client, stream.file_id, 0).await.0, NtStatus::SUCCESS);
        assert_eq!(answered(&mut client, &create("a", CreateDisposition::Open), false).await, Err(then));
    }
}

// MS-SMB2 3.3.5.9.12, 3.3.7.1
#[tokio::test]
async fn a_persistent_handle_outlives_its_connection() {
    let rig = Rig::new();
    let mut client = rig.ready("data").await;
    let request = persistent(create("vm", CreateDisposition::Create));
    let first = opened(&mut client, &request).await;
    let granted = first.contexts.iter().any(|context| matches!(context, ResponseContext::DurableV2(d) if d.is_persistent()));
    assert!(granted, "persistence needs neither oplock nor lease");
    hang_up(client).await;
    let mut other = rig.ready("data").await;
    // Whoever comes meanwhile is told to come again.
    let stranger = create("vm", CreateDisposition::Open);
    assert_eq!(answered(&mut other, &stranger, false).await, Err(NtStatus::FILE_NOT_AVAILABLE));
    let reconnect = |guid, flags| {
        let context = DurableReconnectV2 { file_id: first.file_id, create_guid: guid, flags };
        CreateRequest { contexts: vec![RequestContext::DurableReconnectV2(context)], ..create("whatever", CreateDisposition::Create) }
    };
    assert_eq!(answered(&mut other, &reconnect(Guid([2; 16]), 2), false).await, Err(NtStatus::OBJECT_NAME_NOT_FOUND));
    assert_eq!(answered(&mut other, &reconnect(GUID, 0), false).await, Err(NtStatus::OBJECT_NAME_NOT_FOUND));
    let again = opened(&mut other, &reconnect(GUID, 2)).await;
    assert_eq!(again.file_id.persistent, first.file_id.persistent);
    assert_eq!(again.create_action, CreateAction::Opened);
    // It is in use in this very session now.
    assert_eq!(answered(&mut other, &reconnect(GUID, 2), false).await, Err(NtStatus::OBJECT_NAME_NOT_FOUND));
    assert_eq!(close(&mut other, again.file_id, 0).await.0, NtStatus::SUCCESS);
    assert_eq!(rig.store.with_state(|state| state.opens().count()), 0, "CLOSE is final, for persistent opens too");
}

// MS-SMB2 3.3.5.9.10
#[tokio::test]
async fn a_replayed_create_gets_its_first_answer() {
    let rig = Rig::new();
    let mut client = rig.ready("data").await;
    let request = persistent(create("vm", CreateDisposition::Create));
    let first = opened(&mut client, &request).await;
    assert_eq!(answered(&mut client, &request, false).await, Err(NtStatus::DUPLICATE_OBJECTID), "without the flag it is another CREATE");
    let again = answered(&mut client, &request, true).await.unwrap();
    assert_eq!((again.file_id, again.create_action), (first.file_id, CreateAction::Created));
    // The answer was lost with the connection: the replay comes over a new session.
    hang_up(client).await;
    let mut other = rig.ready("data").await;
    let later = answered(&mut other, &request, true).await.unwrap();
    assert_eq!((later.file_id.persistent, later.create_action), (first.file_id.persistent, CreateAction::Created));
    assert_eq!(rig.store.with_state(|state| state.opens().count()), 1);
}

/// How far a node has come with a CREATE when it dies.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Died {
    /// The place is reserved.
    NoFile,
    /// The file is there, and lets nobody in yet.
    Unfinished,
    /// The file is whole.
    Unconfirmed,
}

/// Another node of the cluster reserves the CREATE and dies.
async fn replay_after_death(died: Died) {
    let files = rig::open_to_all(MemoryBackend::new());
    let below = files.clone();
    let rig = Rig::over(
        ServerConfig::default(),
        Arc::new(move |_: &Share| -> Result<Arc<dyn Backend>, BackendError> { Ok(Arc::new(below.clone())) }),
    );
    let mut client = rig.ready("data").await;
    let node = NodeId(2);
    let any = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
    let addresses = NodeAddresses { smb: Vec::new(), witness: any, mapper: any, admin: any, raft: any };
    let join = Record::NodeJoin { node, name: "b".to_owned(), addresses, boot_id: String::new() };
    let Outcome::Joined { incarnation } = rig.store.apply(&join) else { panic!("a second node can join") };
    let user = rig.store.with_state(|state| state.user_by_name("alice").unwrap().sid.clone());
    let session = SessionId::of(incarnation, 1);
    rig.store.apply(&Record::SessionOpen {
        session,
        node,
        incarnation,
        client_guid: CLIENT,
        user: user.clone(),
        user_name: "alice".to_owned(),
        client_address: String::new(),
        previous_session: None,
    });
    let share = rig.store.with_state(|state| state.share_by_name("data").unwrap().id);
    let request = reservation(node, incarnation, session, share, user.clone());
    let Outcome::Reserved { open, resumed: false } = rig.store.apply(&Record::ReserveOpen(Box::new(request))) else {
        panic!("nobody is in the way")
    };
    let whole = SecurityDescriptor { owner: Some(user.clone()), dacl: Some(Acl::default()), ..SecurityDescriptor::default() };
    if died != Died::NoFile {
        let descriptor = (died == Died::Unconfirmed).then(|| whole.to_bytes());
        let args = CreateArgs { mode: Some(0), security_descriptor: descriptor, ..CreateArgs::default() };
        files.open(&path("vm"), &OpenHow { create: args, ..OpenHow::create_new(FileKind::File) }).unwrap();
    }
    rig.store.apply(&Record::NodeDown { node, incarnation });
    let replay = answered(&mut client, &persistent(create("vm", CreateDisposition::Create)), true).await.unwrap();
    assert_eq!(replay.create_action, CreateAction::Created, "our own first try is no collision");
    assert_eq!(replay.file_id.persistent, open.0);
    // However far the first try came, the file has the descriptor that it would have given it.
    let StoredDescriptor::Bytes(stored) = files.security(&path("vm")).unwrap().stored else { panic!("the file has no descriptor") };
    let stored = SecurityDescriptor::decode(&stored).unwrap();
    assert_eq!(stored.owner, Some(user));
    let entries = stored.dacl.unwrap().entries.len();
    assert_eq!(entries == 0, died == Died::Unconfirmed, "what was whole is left as it is, else the directory hands down: {entries}");
    assert_eq!(answered(&mut client, &create("vm", CreateDisposition::Create), false).await, Err(NtStatus::OBJECT_NAME_COLLISION));
}

fn reservation(
    node: NodeId,
    incarnation: Incarnation,
    session: SessionId,
    share: persistence_model::ShareId,
    user: smb_types::Sid,
) -> OpenRequest {
    OpenRequest {
        node,
        incarnation,
        session,
        share,
        client_guid: CLIENT,
        create_guid: Some(GUID),
        user,
        file: None,
        path: "vm".to_owned(),
        is_directory: false,
        desired_access: RW,
        granted_access: RW,
        share_access: ShareAccess::ALL,
        create_options: CreateOptions::WRITE_THROUGH,
        file_attributes: FileAttributes::NONE,
        overwrites: false,
        oplock: RequestedOplock::None,
        durability: RequestedDurability::Persistent { timeout_ms: 0 },
        app_instance: None,
        replay: false,
        dialect_3x: true,
    }
}

#[tokio::test]
async fn a_node_dies_between_reservation_and_file() {
    replay_after_death(Died::NoFile).await;
}

#[tokio::test]
async fn a_node_dies_between_file_and_confirmation() {
    replay_after_death(Died::Unconfirmed).await;
}

#[tokio::test]
async fn a_replay_finishes_a_file_that_its_first_try_had_begun_to_make() {
    replay_after_death(Died::Unfinished).await;
}

fn path(text: &str) -> RelPath {
    RelPath::parse_smb(text).unwrap()
}

// MS-SMB2 3.3.4.7, 3.3.5.22.2
#[tokio::test]
async fn an_opener_waits_for_the_holder_of_a_write_cache() {
    let rig = Rig::new();
    let mut holder = rig.ready("plain").await;
    let request = leased(create("f", CreateDisposition::Create), 5, LeaseState::RWH);
    let first = opened(&mut holder, &request).await;
    assert_eq!(first.oplock_level, OPLOCK_LEVEL_LEASE);
    let mut other = rig.connect_as(Guid([8; 16]), "plain").await;
    send_create(&mut other, &create("f", CreateDisposition::Open), false).await;
    let (header, _) = other.receive().await.unwrap();
    assert_eq!(header.status(), NtStatus::PENDING);
    assert!(header.async_id().is_some());
    let (header, message) = holder.receive().await.unwrap();
    assert_eq!((header.message_id, header.session_id), (u64::MAX, 0));
    let OplockBreakResponse::LeaseNotification(notice) = OplockBreakResponse::decode(&message).unwrap() else { panic!("a lease break") };
    assert!(notice.ack_required());
    assert_eq!((notice.current_state, notice.new_state), (LeaseState::RWH, LeaseState::RH));
    let ack = LeaseBreakAck { flags: 0, lease_key: notice.lease_key, state: LeaseState::RH };
    let (header, _) = holder.request(Command::OplockBreak, |out| OplockBreakRequest::Lease(ack).encode(out)).await;
    assert_eq!(header.status(), NtStatus::SUCCESS);
    let (header, message) = other.receive().await.unwrap();
    assert_eq!(header.status(), NtStatus::SUCCESS);
    assert_eq!(CreateResponse::decode(&message).unwrap().create_action, CreateAction::Opened);
    let (header, _) = holder.request(Command::OplockBreak, |out| OplockBreakRequest::Lease(ack).encode(out)).await;
    assert_eq!(header.status(), NtStatus::UNSUCCESSFUL, "nothing is breaking any more");
}

// MS-SMB2 3.3.4.7; MS-FSA 2.1.5.5
#[tokio::test]
async fn a_close_that_marks_the_file_is_answered_after_the_others_are_told() {
    let (rig, events) = Rig::deaf(ServerConfig::default(), Rig::memory());
    let mut holder = rig.ready("plain").await;
    opened(&mut holder, &leased(create("f", CreateDisposition::Create), 5, LeaseState::RH)).await;
    let mut other = rig.connect_as(Guid([8; 16]), "plain").await;
    let request = CreateRequest {
        desired_access: AccessMask::DELETE,
        create_options: CreateOptions::DELETE_ON_CLOSE,
        ..create("f", CreateDisposition::Open)
    };
    let file_id = opened(&mut other, &request).await.file_id;
    let mut closing = Box::pin(other.request(Command::Close, |out| CloseRequest { flags: 0, file_id }.encode(out)));
    let turns = async {
        for _ in 0..TURNS {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        biased;
        (header, _) = &mut closing => panic!("answered {:?} before the break was sent", header.status()),
        () = turns => {}
    }
    tokio::spawn(events);
    let (header, _) = closing.await;
    assert_eq!(header.status(), NtStatus::SUCCESS);
    let (header, message) = holder.receive().now_or_never().expect("the break is there already").unwrap();
    assert_eq!(header.message_id, u64::MAX);
    let OplockBreakResponse::LeaseNotification(notice) = OplockBreakResponse::decode(&message).unwrap() else { panic!("a lease break") };
    assert_eq!((notice.current_state, notice.new_state), (LeaseState::RH, LeaseState::READ));
}

fn lock(file_id: FileId, flags: u32) -> LockRequest {
    let locks = vec![LockElement { offset: 0, length: 10, flags: LockFlags(flags) }];
    LockRequest { lock_sequence_number: 0, lock_sequence_index: 0, file_id, locks }
}

// MS-SMB2 3.3.5.14, 3.3.5.16
#[tokio::test]
async fn locks_wait_are_granted_and_are_cancelled() {
    let rig = Rig::new();
    let mut client = rig.ready("plain").await;
    let a = opened(&mut client, &create("f", CreateDisposition::Create)).await.file_id;
    let b = opened(&mut client, &create("f", CreateDisposition::Open)).await.file_id;
    let ask =
        async |client: &mut Client, request: LockRequest| -> Header { client.request(Command::Lock, |out| request.encode(out)).await.0 };
    assert_eq!(ask(&mut client, lock(a, 2)).await.status(), NtStatus::SUCCESS);
    assert_eq!(ask(&mut client, lock(b, 0x12)).await.status(), NtStatus::LOCK_NOT_GRANTED);
    assert_eq!(ask(&mut client, lock(b, 4)).await.status(), NtStatus::RANGE_NOT_LOCKED);
    // Cancelled by its AsyncId.
    let pending = ask(&mut client, lock(b, 2)).await;
    assert_eq!(pending.status(), NtStatus::PENDING);
    let mut cancel = client.header(Command::Cancel);
    client.next_id -= 1;
    cancel.routing = smb_proto::Routing::Async { async_id: pending.async_id().unwrap() };
    let message = client.encode(cancel, |out| smb_proto::message::cancel::CancelRequest.encode(out));
    client.send_raw(&message).await;
    let (header, _) = client.receive().await.unwrap();
    assert_eq!((header.status(), header.async_id()), (NtStatus::CANCELLED, pending.async_id()));
    // Granted when the holder unlocks.
    assert_eq!(ask(&mut client, lock(b, 2)).await.status(), NtStatus::PENDING);
    let mut answers = [ask(&mut client, lock(a, 4)).await, client.receive().await.unwrap().0];
    answers.sort_by_key(|header| header.message_id);
    assert!(answers.iter().all(|header| header.status() == NtStatus::SUCCESS));
    // What waits on a handle ends with it.
    assert_eq!(ask(&mut client, lock(a, 2)).await.status(), NtStatus::PENDING);
    let header = client.header(Command::Close);
    let message = client.encode(header, |out| CloseRequest { flags: 0, file_id: a }.encode(out));
    client.send_raw(&message).await;
    let mut statuses = vec![client.receive().await.unwrap().0.status(), client.receive().await.unwrap().0.status()];
    statuses.sort();
    assert_eq!(statuses, vec![NtStatus::SUCCESS, NtStatus::RANGE_NOT_LOCKED]);
    let held = rig.store.with_state(|state| state.opens().map(|open| open.locks.len()).sum::<usize>());
    assert_eq!(held, 1);
}
