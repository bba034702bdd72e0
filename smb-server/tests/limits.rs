//! Each limit by its name, reached through the whole server: what the client over it hears, and that the others go on.
#![allow(missing_docs, reason = "a test")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod rig;

use std::sync::{Arc, Mutex};

use rig::{Client, Rig};
use smb_auth::{Initiator, spnego::InitiatorConfig};
use smb_proto::{
    Command, Header,
    message::{
        change_notify::{ChangeNotifyRequest, CompletionFilter},
        close::CloseRequest,
        create::{CreateRequest, CreateResponse},
        echo::EchoRequest,
        negotiate::{Capabilities, SecurityMode},
        session_setup::{SessionSetupFlags, SessionSetupRequest},
        write::WriteRequest,
    },
};
use smb_server::{Limits, ServerConfig};
use smb_types::{AccessMask, CreateDisposition, CreateOptions, Dialect, FileId, NtStatus, ShareAccess};

const KIB: usize = 1 << 10;

fn rig(limits: Limits) -> Rig {
    Rig::with(ServerConfig { limits, ..ServerConfig::default() })
}

async fn negotiated(rig: &Rig, from: [u8; 4]) -> Client {
    let mut client = rig.connect_from(from);
    client.negotiate(&[Dialect::Smb311]).await;
    client
}

async fn logged_on(rig: &Rig, from: [u8; 4], user: &str, password: &str) -> Client {
    let mut client = negotiated(rig, from).await;
    assert_eq!(client.log_on(user, password, 0).await, NtStatus::SUCCESS);
    client
}

async fn answers(client: &mut Client) -> bool {
    client.try_request(Command::Echo, |out| EchoRequest.encode(out)).await.is_some()
}

/// The first leg of a logon, and no more.
async fn half_a_logon(client: &mut Client) -> Option<NtStatus> {
    let token = Initiator::new(InitiatorConfig::new(rig::credentials("alice", "secret"), "TEST", "cifs/test")).start().unwrap();
    let request = SessionSetupRequest {
        flags: SessionSetupFlags::NONE,
        security_mode: SecurityMode::SIGNING_ENABLED,
        capabilities: Capabilities::NONE,
        previous_session_id: 0,
        security_buffer: token,
    };
    let session = std::mem::take(&mut client.session_id);
    let (header, _) = client.try_request(Command::SessionSetup, |out| request.encode(out)).await?;
    client.session_id = session;
    Some(header.status())
}

async fn create(client: &mut Client, name: &str, options: CreateOptions) -> Result<FileId, NtStatus> {
    let request = CreateRequest {
        desired_access: AccessMask::READ_DATA | AccessMask::WRITE_DATA,
        share_access: ShareAccess::ALL,
        create_disposition: CreateDisposition::OpenIf,
        create_options: options,
        name: name.to_owned(),
        ..CreateRequest::default()
    };
    let (header, message) = client.request(Command::Create, |out| request.encode(out)).await;
    match header.status() {
        NtStatus::SUCCESS => Ok(CreateResponse::decode(&message).unwrap().file_id),
        status => Err(status),
    }
}

async fn close(client: &mut Client, file_id: FileId) {
    let (header, _) = client.request(Command::Close, |out| CloseRequest { flags: 0, file_id }.encode(out)).await;
    assert_eq!(header.status(), NtStatus::SUCCESS);
}

/// Begins to watch; the status of what is answered first.
async fn watch(client: &mut Client, file_id: FileId) -> NtStatus {
    let request = ChangeNotifyRequest { output_buffer_length: 1024, file_id, completion_filter: CompletionFilter::FILE_NAME, flags: 0 };
    client.request(Command::ChangeNotify, |out| request.encode(out)).await.0.status()
}

#[tokio::test]
async fn a_flood_without_a_password_keeps_no_user_out() {
    let rig = rig(Limits { connections: 4, ..Limits::default() });
    let mut user = logged_on(&rig, [127, 0, 0, 2], "alice", "secret").await;
    let mut flood = Vec::new();
    for _ in 0..20 {
        flood.push(negotiated(&rig, [127, 0, 0, 1]).await);
        assert!(rig.server.connections().len() <= 4);
    }
    for old in &mut flood[..17] {
        assert!(old.receive_raw().await.is_none(), "the oldest are closed");
    }
    assert!(answers(&mut flood[17]).await, "three places are left to them");
    let mut late = logged_on(&rig, [127, 0, 0, 3], "bob", "hidden").await;
    assert!(flood[17].receive_raw().await.is_none());
    assert!(answers(&mut user).await && answers(&mut late).await && answers(&mut flood[19]).await);
}

#[tokio::test]
async fn where_all_connections_are_users_a_further_one_is_closed_at_once() {
    let rig = rig(Limits { connections: 2, ..Limits::default() });
    let mut first = logged_on(&rig, [127, 0, 0, 1], "alice", "secret").await;
    let mut second = logged_on(&rig, [127, 0, 0, 2], "alice", "secret").await;
    assert!(rig.connect().receive_raw().await.is_none());
    assert!(answers(&mut first).await && answers(&mut second).await);
    first.hang_up();
    first.served.await.unwrap();
    logged_on(&rig, [127, 0, 0, 3], "bob", "hidden").await;
}

#[tokio::test]
async fn a_connection_of_nobody_goes_before_one_of_a_user() {
    let rig = rig(Limits { connections: 2, ..Limits::default() });
    let mut nobody = negotiated(&rig, [127, 0, 0, 1]).await;
    assert_eq!(nobody.log_on_anonymous().await, NtStatus::SUCCESS);
    let mut user = logged_on(&rig, [127, 0, 0, 1], "alice", "secret").await;
    let mut late = logged_on(&rig, [127, 0, 0, 1], "bob", "hidden").await;
    assert!(nobody.receive_raw().await.is_none());
    assert!(answers(&mut user).await && answers(&mut late).await);
}

#[tokio::test]
async fn one_address_takes_its_own_places_only() {
    let rig = rig(Limits { connections_per_address: 2, ..Limits::default() });
    let mut other = negotiated(&rig, [127, 0, 0, 9]).await;
    let mut first = logged_on(&rig, [127, 0, 0, 1], "alice", "secret").await;
    let mut second = negotiated(&rig, [127, 0, 0, 1]).await;
    let mut third = logged_on(&rig, [127, 0, 0, 1], "bob", "hidden").await;
    assert!(second.receive_raw().await.is_none(), "it had no user");
    assert!(rig.connect_from([127, 0, 0, 1]).receive_raw().await.is_none(), "both are users' now");
    assert!(answers(&mut other).await && answers(&mut first).await && answers(&mut third).await);
}

#[tokio::test]
async fn before_a_logon_a_long_message_ends_the_connection_by_its_length() {
    let rig = rig(Limits::default());
    let mut other = negotiated(&rig, [127, 0, 0, 2]).await;
    for length in [64 * KIB + 1, 8 << 20] {
        let mut client = negotiated(&rig, [127, 0, 0, 1]).await;
        client.send_bytes(&smb_proto::frame::prefix(length).unwrap()).await.unwrap();
        assert!(client.receive_raw().await.is_none(), "{length} bytes are announced, none is waited for");
    }
    let mut client = negotiated(&rig, [127, 0, 0, 1]).await;
    assert_eq!(client.log_on_anonymous().await, NtStatus::SUCCESS);
    client.send_bytes(&smb_proto::frame::prefix(64 * KIB + 1).unwrap()).await.unwrap();
    assert!(client.receive_raw().await.is_none(), "nobody in particular has proved nothing");
    // As long as allowed: it is read, and answered.
    let mut header = other.header(Command::SessionSetup);
    header.credit_charge = 1;
    let mut message = other.encode(header, |_| {});
    message.resize(64 * KIB, 0);
    other.send_raw(&message).await;
    assert!(other.receive().await.unwrap().0.status().is_error());
}

#[tokio::test]
async fn after_a_logon_messages_are_as_long_as_negotiated() {
    let rig = rig(Limits::default());
    let mut client = rig.ready("plain").await;
    let file_id = create(&mut client, "long", CreateOptions::NONE).await.unwrap();
    let data = bytes::Bytes::from(vec![7; 512 * KIB]);
    let mut header = client.header(Command::Write);
    header.credit_charge = 8;
    client.next_id += 7;
    let request = WriteRequest { file_id, data, ..WriteRequest::default() };
    let message = client.encode(header, |out| request.encode(out));
    client.send_raw(&message).await;
    assert_eq!(client.receive().await.unwrap().0.status(), NtStatus::SUCCESS);
}

#[tokio::test]
async fn long_messages_before_logons_have_room_together() {
    let rig = rig(Limits { bytes_before_logon: 128 * KIB, ..Limits::default() });
    let announced = smb_proto::frame::prefix(64 * KIB).unwrap();
    let mut holders = Vec::new();
    for _ in 0..2 {
        let mut holder = negotiated(&rig, [127, 0, 0, 1]).await;
        holder.send_bytes(&announced).await.unwrap();
        holders.push(holder);
    }
    // Which of the three comes too late is theirs to find out; a logon needs no room.
    let mut third = negotiated(&rig, [127, 0, 0, 1]).await;
    third.send_bytes(&announced).await.unwrap();
    assert!(third.receive_raw().await.is_none());
    let _user = logged_on(&rig, [127, 0, 0, 2], "alice", "secret").await;
    for mut holder in holders {
        holder.hang_up();
        holder.served.await.unwrap();
    }
    let mut again = negotiated(&rig, [127, 0, 0, 1]).await;
    let mut message = Vec::new();
    Header::request(Command::SessionSetup, 1).encode(&mut message);
    message.resize(64 * KIB, 0);
    again.send_raw(&message).await;
    assert!(again.receive().await.unwrap().0.status().is_error(), "their room is given back");
}

#[tokio::test]
async fn before_a_logon_few_messages_are_worked_on_at_one_time() {
    let rig = rig(Limits::default());
    let mut client = negotiated(&rig, [127, 0, 0, 1]).await;
    let connection = rig.server.connections().pop().unwrap();
    // Nothing is answered: what is worked on stays.
    rig.store.set_lease_valid(false);
    for _ in 0..12 {
        let header = client.header(Command::Echo);
        let message = client.encode(header, |out| EchoRequest.encode(out));
        client.send_raw(&message).await;
    }
    while connection.requests().len() < 5 {
        tokio::task::yield_now().await;
    }
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(connection.requests().len(), 5, "four, and one that waits for its turn");
    rig.store.set_lease_valid(true);
    for _ in 0..12 {
        assert!(client.receive().await.is_some());
    }
}

#[tokio::test]
async fn logons_that_are_left_lying_keep_nobody_out() {
    let rig = rig(Limits { logons_under_way: 8, logons_under_way_per_connection: 4, ..Limits::default() });
    let mut flood = Vec::new();
    for _ in 0..8 {
        let mut client = negotiated(&rig, [127, 0, 0, 1]).await;
        for _ in 0..4 {
            assert_eq!(half_a_logon(&mut client).await, Some(NtStatus::MORE_PROCESSING_REQUIRED));
        }
        assert!(rig.server.logons_under_way() <= 8);
        flood.push(client);
    }
    let full = half_a_logon(&mut flood[7]).await;
    assert_eq!(full, Some(NtStatus::INSUFFICIENT_RESOURCES), "one connection has as many as it may");
    let mut user = logged_on(&rig, [127, 0, 0, 2], "alice", "secret").await;
    assert!(answers(&mut user).await);
    assert!(flood[0].receive_raw().await.is_none(), "the oldest are closed");
    let mut last = flood.pop().unwrap();
    assert!(answers(&mut last).await);
    drop(flood);
    last.hang_up();
    last.served.await.unwrap();
    while rig.server.logons_under_way() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn where_all_logons_are_on_connections_of_users_a_further_one_is_refused() {
    let rig = rig(Limits { logons_under_way: 2, logons_under_way_per_connection: 2, ..Limits::default() });
    let mut user = logged_on(&rig, [127, 0, 0, 1], "alice", "secret").await;
    for _ in 0..2 {
        assert_eq!(half_a_logon(&mut user).await, Some(NtStatus::MORE_PROCESSING_REQUIRED));
    }
    let mut other = negotiated(&rig, [127, 0, 0, 2]).await;
    assert_eq!(half_a_logon(&mut other).await, Some(NtStatus::REQUEST_NOT_ACCEPTED));
    assert!(answers(&mut user).await);
}

#[tokio::test]
async fn a_refused_or_finished_logon_gives_its_place_back() {
    let rig = rig(Limits { logons_under_way: 1, logons_under_way_per_connection: 1, ..Limits::default() });
    let mut client = negotiated(&rig, [127, 0, 0, 1]).await;
    for _ in 0..3 {
        client.session_id = 0;
        assert_eq!(client.log_on("alice", "wrong", 0).await, NtStatus::LOGON_FAILURE);
    }
    client.session_id = 0;
    assert_eq!(client.log_on("alice", "secret", 0).await, NtStatus::SUCCESS);
    assert_eq!(rig.server.logons_under_way(), 0);
}

#[tokio::test]
async fn sessions_and_trees_have_limits_of_their_own() {
    let rig = rig(Limits { sessions_per_connection: 1, trees_per_session: 1, ..Limits::default() });
    let mut client = rig.ready("plain").await;
    assert_eq!(client.tree("data").await.0, NtStatus::INSUFFICIENT_RESOURCES);
    assert_eq!(half_a_logon(&mut client).await, Some(NtStatus::INSUFFICIENT_RESOURCES));
    let _other = rig.connect_as(smb_types::Guid([1; 16]), "plain").await;
}

#[tokio::test]
async fn opens_are_limited_by_session_by_user_and_in_all() {
    let rig = rig(Limits { opens_per_session: 2, opens_per_user: 3, opens: 4, ..Limits::default() });
    let mut one = rig.ready("plain").await;
    let first = create(&mut one, "a", CreateOptions::NONE).await.unwrap();
    create(&mut one, "b", CreateOptions::NONE).await.unwrap();
    assert_eq!(create(&mut one, "c", CreateOptions::NONE).await, Err(NtStatus::INSUFFICIENT_RESOURCES), "of the session");
    let mut two = rig.ready("plain").await;
    create(&mut two, "c", CreateOptions::NONE).await.unwrap();
    assert_eq!(create(&mut two, "d", CreateOptions::NONE).await, Err(NtStatus::INSUFFICIENT_RESOURCES), "of the user");
    let mut other = logged_on(&rig, [127, 0, 0, 2], "bob", "hidden").await;
    assert_eq!(other.tree("plain").await.0, NtStatus::SUCCESS);
    create(&mut other, "e", CreateOptions::NONE).await.unwrap();
    assert_eq!(create(&mut other, "f", CreateOptions::NONE).await, Err(NtStatus::TOO_MANY_OPENED_FILES), "of the node");
    assert_eq!(create(&mut other, "no\\such\\path", CreateOptions::NONE).await, Err(NtStatus::TOO_MANY_OPENED_FILES));
    close(&mut one, first).await;
    assert_eq!(create(&mut other, "no\\such\\path", CreateOptions::NONE).await, Err(NtStatus::OBJECT_PATH_NOT_FOUND));
    create(&mut other, "f", CreateOptions::NONE).await.unwrap();
    two.hang_up();
    two.served.await.unwrap();
    create(&mut one, "a", CreateOptions::NONE).await.unwrap();
}

#[tokio::test]
async fn watches_are_limited_by_user() {
    let rig = rig(Limits { notify_requests_per_user: 3, watched_directories_per_user: 2, ..Limits::default() });
    let mut client = rig.ready("plain").await;
    let mut directories = Vec::new();
    for name in ["a", "b", "c"] {
        directories.push(create(&mut client, name, CreateOptions::DIRECTORY_FILE).await.unwrap());
    }
    assert_eq!(watch(&mut client, directories[0]).await, NtStatus::PENDING);
    assert_eq!(watch(&mut client, directories[1]).await, NtStatus::PENDING);
    assert_eq!(watch(&mut client, directories[2]).await, NtStatus::INSUFFICIENT_RESOURCES, "a third directory");
    assert_eq!(watch(&mut client, directories[1]).await, NtStatus::PENDING, "a second request for one that is watched");
    assert_eq!(watch(&mut client, directories[0]).await, NtStatus::INSUFFICIENT_RESOURCES, "a fourth request");
    let mut other = logged_on(&rig, [127, 0, 0, 2], "bob", "hidden").await;
    assert_eq!(other.tree("plain").await.0, NtStatus::SUCCESS);
    let directory = create(&mut other, "d", CreateOptions::DIRECTORY_FILE).await.unwrap();
    assert_eq!(watch(&mut other, directory).await, NtStatus::PENDING, "of another user");
    let header = client.header(Command::Close);
    let message = client.encode(header, |out| CloseRequest { flags: 0, file_id: directories[0] }.encode(out));
    client.send_raw(&message).await;
    let mut answered = [client.receive().await.unwrap().0.status(), client.receive().await.unwrap().0.status()];
    answered.sort_by_key(|status| status.0);
    assert_eq!(answered, [NtStatus::SUCCESS, NtStatus::NOTIFY_CLEANUP], "the directory is closed, and who watched it hears that");
    assert_eq!(watch(&mut client, directories[2]).await, NtStatus::PENDING, "its places are free");
}

#[tokio::test]
async fn asynchronous_requests_are_limited_by_connection() {
    let rig = rig(Limits { async_requests_per_connection: 1, ..Limits::default() });
    let mut client = rig.ready("plain").await;
    let directory = create(&mut client, "a", CreateOptions::DIRECTORY_FILE).await.unwrap();
    assert_eq!(watch(&mut client, directory).await, NtStatus::PENDING);
    assert_eq!(watch(&mut client, directory).await, NtStatus::INSUFFICIENT_RESOURCES);
    assert!(answers(&mut client).await);
}

/// What is logged, as one text.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_log_names_limit_address_and_remedy_and_is_not_flooded() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let rig = rig(Limits { connections_per_address: 1, ..Limits::default() });
    let _user = logged_on(&rig, [127, 0, 0, 7], "alice", "secret").await;
    for _ in 0..50 {
        assert!(rig.connect_from([127, 0, 0, 7]).receive_raw().await.is_none());
    }
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<&str> = text.lines().filter(|line| line.contains("limit=\"connections_per_address\"")).collect();
    assert!((1..=6).contains(&lines.len()), "{text}");
    assert!(lines.iter().all(|line| line.contains("WARN") && line.contains("127.0.0.7") && line.contains("[smb.limits]")), "{text}");
}
