//! From the first byte to a tree: NEGOTIATE, SESSION_SETUP, TREE_CONNECT, and what ends a connection.
#![allow(clippy::unwrap_used, reason = "tests")]

mod rig;

use std::time::Duration;

use rig::{CLIENT, Rig, SERVER, credentials};
use smb_auth::{CipherId, Credentials, SigningAlgorithm};
use smb_proto::{
    Command, Header, HeaderFlags,
    message::{
        close::CloseRequest,
        echo::EchoRequest,
        logoff::LogoffRequest,
        negotiate::{Capabilities, SecurityMode},
        tree_connect::{ShareCapabilities, ShareType},
        tree_disconnect::TreeDisconnectRequest,
    },
    smb1::Smb1Negotiate,
};
use smb_server::{Limits, ServerConfig};
use smb_types::{Dialect, FileId, NtStatus};

// MS-SMB2 3.3.5.4
#[tokio::test]
async fn every_dialect_reaches_a_tree() {
    for dialect in Dialect::ALL {
        let rig = Rig::new();
        let mut client = rig.connect();
        let offered: Vec<Dialect> = Dialect::ALL.into_iter().filter(|one| *one <= dialect).collect();
        let response = client.negotiate(&offered).await;
        assert_eq!(response.dialect_revision, dialect.to_wire());
        assert_eq!(response.server_guid, SERVER);
        assert_eq!(response.max_read_size, if dialect == Dialect::Smb202 { 65_536 } else { 8 << 20 });
        assert_eq!(response.capabilities.contains(Capabilities::PERSISTENT_HANDLES), dialect.is_3x());
        assert_eq!(response.capabilities.contains(Capabilities::ENCRYPTION), matches!(dialect, Dialect::Smb300 | Dialect::Smb302));
        assert_eq!(client.log_on("Alice", "secret", 0).await, NtStatus::SUCCESS);
        let (status, tree) = client.tree("DATA").await;
        assert_eq!(status, NtStatus::SUCCESS);
        assert_eq!(tree.share_type, ShareType::Disk);
        let promised = ShareCapabilities::CONTINUOUS_AVAILABILITY | ShareCapabilities::CLUSTER;
        assert_eq!(tree.capabilities.contains(promised), dialect.is_3x());
    }
}

#[tokio::test]
async fn the_fastest_algorithms_are_chosen() {
    let rig = Rig::new();
    let mut client = rig.connect();
    client.negotiate(&[Dialect::Smb311]).await;
    assert_eq!(client.signing, SigningAlgorithm::AesGmac);
    assert_eq!(client.cipher, Some(CipherId::Aes128Gcm), "whatever the client lists first");
}

// MS-SMB2 3.3.5.3
#[tokio::test]
async fn a_multi_protocol_negotiate_leads_to_a_real_one() {
    let rig = Rig::new();
    let mut client = rig.connect();
    let mut message = Vec::new();
    Smb1Negotiate { dialects: vec!["NT LM 0.12".to_owned(), "SMB 2.???".to_owned()] }.encode(&mut message);
    client.send_raw(&message).await;
    let (header, _) = client.receive().await.unwrap();
    assert_eq!((header.message_id, header.status()), (0, NtStatus::SUCCESS));
    client.next_id = 1;
    client.negotiate(&[Dialect::Smb311]).await;
    assert_eq!(client.log_on("alice", "secret", 0).await, NtStatus::SUCCESS);
}

#[tokio::test]
async fn a_wrong_password_is_refused_and_a_second_try_works() {
    let rig = Rig::new();
    let mut client = rig.connect();
    client.negotiate(&[Dialect::Smb311]).await;
    assert_eq!(client.log_on("alice", "wrong", 0).await, NtStatus::LOGON_FAILURE);
    client.session_id = 0;
    assert_eq!(client.log_on("nobody", "secret", 0).await, NtStatus::LOGON_FAILURE);
    client.session_id = 0;
    assert_eq!(client.log_on("alice", "secret", 0).await, NtStatus::SUCCESS);
    assert_eq!(rig.server.sessions().len(), 1);
}

#[tokio::test]
async fn shares_are_found_or_not() {
    let rig = Rig::new();
    let mut client = rig.ready("plain").await;
    let (_, plain) = client.tree("plain").await;
    assert_eq!(plain.capabilities, ShareCapabilities::NONE, "no promise on an ordinary share");
    assert_eq!(client.tree("nothing").await.0, NtStatus::BAD_NETWORK_NAME);
    let (status, ipc) = client.tree("ipc$").await;
    assert_eq!((status, ipc.share_type), (NtStatus::SUCCESS, ShareType::Pipe));
    let (header, _) = client.request(Command::TreeDisconnect, |out| TreeDisconnectRequest.encode(out)).await;
    assert_eq!(header.status(), NtStatus::SUCCESS);
    let (header, _) = client.request(Command::TreeDisconnect, |out| TreeDisconnectRequest.encode(out)).await;
    assert_eq!(header.status(), NtStatus::NETWORK_NAME_DELETED, "gone is gone");
}

// MS-SMB2 3.3.5.2.4
#[tokio::test]
async fn a_bad_signature_is_denied() {
    let rig = Rig::new();
    let mut client = rig.ready("plain").await;
    let header = client.header(Command::Echo);
    let mut message = client.encode(header, |out| EchoRequest.encode(out));
    message[50] ^= 1;
    client.send_raw(&message).await;
    let (header, _) = client.receive().await.unwrap();
    assert_eq!(header.status(), NtStatus::ACCESS_DENIED);
    let (header, _) = client.request(Command::Echo, |out| EchoRequest.encode(out)).await;
    assert_eq!(header.status(), NtStatus::SUCCESS, "the connection lives on");
    assert!(header.is_signed(), "a signed request has a signed answer");
}

#[tokio::test]
async fn demanded_signatures_must_be_there() {
    let rig = Rig::new();
    let mut client = rig.connect();
    let response = client.negotiate(&[Dialect::Smb302]).await;
    assert!(response.security_mode.contains(SecurityMode::SIGNING_REQUIRED));
    client.log_on("alice", "secret", 0).await;
    let key = client.key.take();
    let (header, _) = client.request(Command::Logoff, |out| LogoffRequest.encode(out)).await;
    assert_eq!(header.status(), NtStatus::ACCESS_DENIED);
    client.key = key;
    let (header, _) = client.request(Command::Logoff, |out| LogoffRequest.encode(out)).await;
    assert_eq!(header.status(), NtStatus::SUCCESS);
    assert!(header.is_signed(), "the answer to LOGOFF is signed although the session is gone");
    assert!(rig.server.sessions().is_empty());
}

// MS-SMB2 3.3.5.7
#[tokio::test]
async fn an_unproved_tree_connect_ends_a_3_1_1_connection() {
    let rig = Rig::new();
    let mut client = rig.connect();
    client.negotiate(&[Dialect::Smb311]).await;
    client.log_on("alice", "secret", 0).await;
    client.key = None;
    let request = smb_proto::message::tree_connect::TreeConnectRequest { path: "\\\\a\\plain".to_owned(), ..Default::default() };
    assert!(client.try_request(Command::TreeConnect, |out| request.encode(out)).await.is_none());
}

#[tokio::test]
async fn an_encrypted_share_wants_encryption() {
    let rig = Rig::new();
    let mut client = rig.ready("sealed").await;
    let (header, _) = client.request(Command::TreeDisconnect, |out| TreeDisconnectRequest.encode(out)).await;
    assert_eq!(header.status(), NtStatus::ACCESS_DENIED);
}

// MS-SMB2 3.3.5.2.3
#[tokio::test]
async fn message_ids_outside_the_window_end_the_connection() {
    let rig = Rig::new();
    let mut client = rig.ready("plain").await;
    client.next_id = 1_000_000;
    assert!(client.try_request(Command::Echo, |out| EchoRequest.encode(out)).await.is_none());
    client.served.await.unwrap();
    assert!(rig.server.connections().is_empty() && rig.server.sessions().is_empty());
}

#[tokio::test]
async fn a_second_negotiate_ends_the_connection() {
    let rig = Rig::new();
    let mut client = rig.connect();
    client.negotiate(&[Dialect::Smb210]).await;
    assert!(client.try_request(Command::Negotiate, |out| out.extend_from_slice(&[36, 0, 0, 0])).await.is_none());
}

#[tokio::test]
async fn oversize_frames_end_the_connection() {
    let rig = Rig::new();
    let mut client = rig.connect();
    client.send_raw(&vec![0xFE; 70 << 10]).await;
    assert!(client.receive_raw().await.is_none());
}

// MS-SMB2 3.3.5.2.7
#[tokio::test]
async fn compounds_are_answered_as_compounds() {
    let rig = Rig::new();
    let mut client = rig.ready("plain").await;
    let mut first = client.header(Command::Echo);
    first.next_command = 72;
    let second = client.header(Command::Echo);
    let mut message = Vec::new();
    first.flags |= HeaderFlags::SIGNED;
    first.encode(&mut message);
    EchoRequest.encode(&mut message);
    message.resize(72, 0);
    client.key.as_ref().unwrap().sign(&mut message, smb_auth::Role::Client);
    message.extend_from_slice(&client.encode(second, |out| EchoRequest.encode(out)));
    client.send_raw(&message).await;
    let reply = client.receive_raw().await.unwrap();
    let elements = smb_proto::frame::split(&reply).unwrap();
    assert_eq!(elements.len(), 2);
    assert_eq!(reply.len(), 144, "the last element is padded too");
    for element in &elements {
        assert_eq!(element.header.status(), NtStatus::SUCCESS);
        assert!(element.header.credits > 0);
        assert!(client.key.as_ref().unwrap().verify_shared(&element.bytes, smb_auth::Role::Server), "each element has its own signature");
    }
}

#[tokio::test]
async fn a_related_request_cannot_come_first() {
    let rig = Rig::new();
    let mut client = rig.ready("plain").await;
    let mut header = client.header(Command::Echo);
    header.flags |= HeaderFlags::RELATED_OPERATIONS;
    let message = client.encode(header, |out| EchoRequest.encode(out));
    client.send_raw(&message).await;
    assert_eq!(client.receive().await.unwrap().0.status(), NtStatus::INVALID_PARAMETER);
}

// MS-SMB2 3.3.5.5.3
#[tokio::test]
async fn a_new_session_ends_its_previous_one() {
    let rig = Rig::new();
    let mut old = rig.ready("plain").await;
    let previous = old.session_id;
    let mut stranger = rig.connect();
    stranger.negotiate(&[Dialect::Smb311]).await;
    assert_eq!(stranger.log_on("bob", "hidden", previous).await, NtStatus::SUCCESS);
    let (header, _) = old.request(Command::Echo, |out| EchoRequest.encode(out)).await;
    assert_eq!(header.status(), NtStatus::SUCCESS, "another user's claim is ignored");
    let mut new = rig.connect();
    new.negotiate(&[Dialect::Smb311]).await;
    assert_eq!(new.log_on("alice", "secret", previous).await, NtStatus::SUCCESS);
    let tree = TreeDisconnectRequest;
    let (header, _) = old.request(Command::TreeDisconnect, |out| tree.encode(out)).await;
    assert_eq!(header.status(), NtStatus::USER_SESSION_DELETED);
}

// MS-SMB2 3.3.5.5
#[tokio::test]
async fn a_session_gets_a_second_channel() {
    let rig = Rig::new();
    for dialect in [Dialect::Smb302, Dialect::Smb311] {
        let mut one = rig.connect();
        one.negotiate(&[dialect]).await;
        one.log_on("alice", "secret", 0).await;
        one.tree("plain").await;
        let session_id = one.session_id;
        let session = rig.server.sessions().into_iter().find(|session| session.session_id.0 == session_id).unwrap();
        let session_key = || session.security().unwrap().keys.signing_key(one.signing);
        let mut thief = rig.connect();
        thief.negotiate(&[dialect]).await;
        assert_eq!(thief.bind(session_id, "bob", "hidden", session_key()).await, NtStatus::ACCESS_DENIED, "another user cannot join");
        let mut two = rig.connect();
        two.negotiate(&[dialect]).await;
        assert_eq!(two.bind(session_id, "alice", "secret", session_key()).await, NtStatus::SUCCESS);
        two.tree_id = one.tree_id;
        drop(one);
        let (header, _) = two.request(Command::TreeDisconnect, |out| TreeDisconnectRequest.encode(out)).await;
        assert_eq!(header.status(), NtStatus::SUCCESS, "the session lives on its second channel");
        assert!(rig.server.clients.connections(&CLIENT).iter().any(|connection| connection.dialect() == Some(dialect)));
    }
}

// MS-SMB2 3.3.5.5
#[tokio::test]
async fn refused_bindings_are_signed_and_say_why() {
    let rig = Rig::with(ServerConfig { limits: Limits { channels_per_session: 1, ..Limits::default() }, ..ServerConfig::default() });
    let mut one = rig.connect();
    one.negotiate(&[Dialect::Smb311]).await;
    one.log_on("alice", "secret", 0).await;
    let session = rig.server.sessions().into_iter().next().unwrap();
    let key = || session.security().unwrap().keys.signing_key(one.signing);
    for (dialect, status) in [
        (Dialect::Smb202, NtStatus::REQUEST_OUT_OF_SEQUENCE),
        (Dialect::Smb300, NtStatus::REQUEST_OUT_OF_SEQUENCE),
        (Dialect::Smb311, NtStatus::INSUFFICIENT_RESOURCES),
    ] {
        let mut other = rig.connect();
        other.negotiate(&[dialect]).await;
        assert_eq!(other.bind(one.session_id, "alice", "secret", key()).await, status, "{dialect:?}");
    }
    let mut old = rig.connect();
    old.negotiate(&[Dialect::Smb302]).await;
    old.log_on("alice", "secret", 0).await;
    let session = rig.server.sessions().into_iter().find(|session| session.session_id.0 == old.session_id).unwrap();
    let key = || session.security().unwrap().keys.signing_key(old.signing);
    for (dialect, status) in [
        (Dialect::Smb210, NtStatus::REQUEST_NOT_ACCEPTED),
        (Dialect::Smb300, NtStatus::INVALID_PARAMETER),
        (Dialect::Smb311, NtStatus::NOT_SUPPORTED),
    ] {
        let mut other = rig.connect();
        other.negotiate(&[dialect]).await;
        assert_eq!(other.bind(old.session_id, "alice", "secret", key()).await, status, "{dialect:?}");
    }
}

#[tokio::test]
async fn a_session_of_another_connection_is_refused_with_the_request_s_own_signature() {
    let rig = Rig::new();
    let one = rig.ready("plain").await;
    let mut two = rig.ready("plain").await;
    two.session_id = one.session_id;
    let (header, _) = two.request(Command::TreeDisconnect, |out| TreeDisconnectRequest.encode(out)).await;
    assert_eq!(header.status(), NtStatus::USER_SESSION_DELETED);
    assert!(header.is_signed() && header.signature == two.last_signature);
}

// MS-SMB2 3.3.5.5.2
#[tokio::test]
async fn a_renewal_may_be_another_user_s_and_keeps_the_keys() {
    let rig = Rig::new();
    let mut client = rig.ready("plain").await;
    assert_eq!(client.renew(Credentials::Anonymous).await, NtStatus::SUCCESS);
    assert!(rig.server.sessions()[0].is_anonymous());
    assert_eq!(client.tree("plain").await.0, NtStatus::ACCESS_DENIED, "nobody reaches no disk");
    assert_eq!(client.renew(credentials("bob", "hidden")).await, NtStatus::SUCCESS);
    assert_eq!(client.tree("plain").await.0, NtStatus::SUCCESS);
    assert_eq!(rig.server.sessions()[0].user().unwrap().name, "bob");
    assert_eq!(client.renew(credentials("bob", "wrong")).await, NtStatus::LOGON_FAILURE);
    assert!(rig.server.sessions().is_empty(), "a failed renewal ends the session");
}

#[tokio::test]
async fn nobody_may_sign() {
    let rig = Rig::new();
    let mut client = rig.connect();
    client.negotiate(&[Dialect::Smb311]).await;
    assert_eq!(client.log_on_anonymous().await, NtStatus::SUCCESS);
    assert_eq!(client.tree("IPC$").await.0, NtStatus::SUCCESS);
    let (header, _) = client.request(Command::Echo, |out| EchoRequest.encode(out)).await;
    assert!(header.status() == NtStatus::SUCCESS && header.is_signed());
    client.key = None;
    assert_eq!(client.tree("IPC$").await.0, NtStatus::SUCCESS, "nor need nobody sign");
}

#[tokio::test]
async fn an_unknown_command_is_refused_by_its_own_number() {
    let rig = Rig::new();
    let mut client = rig.ready("plain").await;
    let mut header = client.header(Command::Unknown);
    header.unknown_command = 0xFF;
    let message = client.encode(header, |out| out.extend_from_slice(&[4, 0, 0, 0]));
    client.send_raw(&message).await;
    let (header, _) = client.receive().await.unwrap();
    assert_eq!((header.status(), header.unknown_command), (NtStatus::INVALID_PARAMETER, 0xFF));
    let (header, _) = client.request(Command::Echo, |out| EchoRequest.encode(out)).await;
    assert_eq!(header.status(), NtStatus::SUCCESS, "the connection lives on");
}

// MS-SMB2 3.3.5.2.7.1
#[tokio::test]
async fn related_requests_share_the_fate_of_a_missing_file() {
    let rig = Rig::new();
    let mut client = rig.ready("plain").await;
    let close = CloseRequest { file_id: FileId::ALL_ONES, ..CloseRequest::default() };
    let mut message = Vec::new();
    for related in [false, true] {
        let mut header = client.header(Command::Close);
        if related {
            header.flags |= HeaderFlags::RELATED_OPERATIONS;
        } else {
            header.next_command = 88;
        }
        let mut element = Vec::new();
        header.flags |= HeaderFlags::SIGNED;
        header.encode(&mut element);
        close.encode(&mut element);
        element.resize(88, 0);
        client.key.as_ref().unwrap().sign(&mut element, smb_auth::Role::Client);
        message.extend_from_slice(&element);
    }
    client.send_raw(&message).await;
    let reply = client.receive_raw().await.unwrap();
    let statuses: Vec<NtStatus> = smb_proto::frame::split(&reply).unwrap().iter().map(|element| element.header.status()).collect();
    assert_eq!(statuses, [NtStatus::FILE_CLOSED; 2]);
}

#[tokio::test]
async fn a_node_without_its_lease_says_nothing() {
    let rig = Rig::with(ServerConfig { lease_hold: Duration::from_millis(30), ..ServerConfig::default() });
    let mut client = rig.ready("plain").await;
    rig.store.set_lease_valid(false);
    assert!(client.try_request(Command::Echo, |out| EchoRequest.encode(out)).await.is_none(), "no answer, only the end");
}

#[tokio::test]
async fn nobody_stays_without_logging_on() {
    let rig = Rig::with(ServerConfig { unauthenticated_timeout: Duration::from_millis(20), ..ServerConfig::default() });
    let mut client = rig.connect();
    client.negotiate(&[Dialect::Smb311]).await;
    assert!(client.receive_raw().await.is_none());
}

#[tokio::test]
async fn a_client_always_keeps_a_credit() {
    let rig = Rig::new();
    let mut client = rig.ready("plain").await;
    for _ in 0..50 {
        let mut header = client.header(Command::Echo);
        header.credits = 0;
        let message = client.encode(header, |out| EchoRequest.encode(out));
        client.send_raw(&message).await;
        client.receive().await.unwrap();
    }
    assert!(u64::from(client.credits) > client.next_id);
    let _: Header = client.request(Command::Echo, |out| EchoRequest.encode(out)).await.0;
}
