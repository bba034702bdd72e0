//! Who is in and for how long: sessions end with their user, failed logons are slow, settings hold at once.
#![allow(missing_docs, reason = "a test")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod rig;

use std::{net::IpAddr, time::Duration};

use persistence_model::{Command as Record, LogTime, Outcome};
use rig::{Client, Rig, credentials};
use smb_auth::NtHash;
use smb_proto::{
    Command, Header,
    context::{DurableReconnectV2, DurableRequestV2, RequestContext, dh2q},
    message::{
        create::{CreateRequest, CreateResponse},
        echo::EchoRequest,
        negotiate::SecurityMode,
        tree_disconnect::TreeDisconnectRequest,
    },
};
use smb_server::StoreExt as _;
use smb_types::{AccessMask, CreateDisposition, Dialect, FileId, Guid, NtStatus, ShareAccess};
use tokio::time::Instant;

const GUID: Guid = Guid([0x11; 16]);

fn disable() -> Record {
    Record::UserEnable { name: "Alice".into(), enabled: false }
}

fn password(word: &str) -> Record {
    Record::UserSetPassword { name: "alice".into(), nt_hash: *NtHash::of_password(word).expose() }
}

fn create(name: &str) -> CreateRequest {
    CreateRequest {
        desired_access: AccessMask(AccessMask::READ_DATA.0 | AccessMask::WRITE_DATA.0),
        share_access: ShareAccess::NONE,
        create_disposition: CreateDisposition::OpenIf,
        name: name.to_owned(),
        ..CreateRequest::default()
    }
}

fn persistent(name: &str) -> CreateRequest {
    let mut request = create(name);
    let context = DurableRequestV2 { timeout_ms: 0, flags: dh2q::FLAG_PERSISTENT, create_guid: GUID };
    request.contexts.push(RequestContext::DurableRequestV2(context));
    request
}

async fn open(client: &mut Client, request: &CreateRequest) -> Result<FileId, NtStatus> {
    let (header, message) = client.request(Command::Create, |out| request.encode(out)).await;
    match header.status() {
        NtStatus::SUCCESS => Ok(CreateResponse::decode(&message).unwrap().file_id),
        status => Err(status),
    }
}

async fn echo(client: &mut Client) -> NtStatus {
    let (header, _): (Header, _) = client.request(Command::Echo, |out| EchoRequest.encode(out)).await;
    header.status()
}

async fn leave_tree(client: &mut Client) -> NtStatus {
    client.request(Command::TreeDisconnect, |out| TreeDisconnectRequest.encode(out)).await.0.status()
}

/// Lets the node carry out the events so far.
async fn carried_out(rig: &Rig, done: impl Fn(&Rig) -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !done(rig) {
        assert!(Instant::now() < end, "the events are carried out");
        tokio::task::yield_now().await;
    }
}

/// A connection that has negotiated.
async fn stranger(rig: &Rig) -> Client {
    stranger_from(rig, [127, 0, 0, 1].into()).await
}

async fn stranger_from(rig: &Rig, address: IpAddr) -> Client {
    let mut client = rig.connect_from(address);
    client.negotiate(&[Dialect::Smb311]).await;
    client
}

async fn log_on(client: &mut Client, user: &str, password: &str) -> NtStatus {
    (client.session_id, client.key) = (0, None);
    client.log_on(user, password, 0).await
}

#[tokio::test]
async fn a_disabled_user_is_cut_off_and_holds_nothing() {
    for command in [disable(), Record::UserRemove { name: "alice".into() }] {
        let rig = Rig::new();
        let (mut one, mut two) = (rig.ready("data").await, rig.ready("plain").await);
        open(&mut one, &persistent("kept")).await.unwrap();
        let mut bob = stranger(&rig).await;
        log_on(&mut bob, "bob", "hidden").await;
        bob.tree("data").await;
        assert_eq!(open(&mut bob, &create("kept")).await, Err(NtStatus::SHARING_VIOLATION));
        assert_eq!(rig.store.apply(&command), Outcome::Done);
        open(&mut bob, &create("kept")).await.expect("nobody is in the way any more");
        carried_out(&rig, |rig| rig.server.sessions().len() == 1).await;
        for client in [&mut one, &mut two] {
            assert_eq!(leave_tree(client).await, NtStatus::USER_SESSION_DELETED);
        }
        assert_eq!(rig.server.opens().len(), 1);
        assert_eq!(leave_tree(&mut bob).await, NtStatus::SUCCESS, "others go on");
    }
}

#[tokio::test]
async fn another_password_ends_sessions_and_leaves_durable_handles_to_who_knows_it() {
    let rig = Rig::new();
    let mut client = rig.ready("data").await;
    let file_id = open(&mut client, &persistent("kept")).await.unwrap();
    assert_eq!(rig.store.apply(&password("changed")), Outcome::Done);
    carried_out(&rig, |rig| rig.server.sessions().is_empty()).await;
    assert_eq!(leave_tree(&mut client).await, NtStatus::USER_SESSION_DELETED);
    assert_eq!(log_on(&mut client, "alice", "secret").await, NtStatus::LOGON_FAILURE);
    assert_eq!(log_on(&mut client, "alice", "changed").await, NtStatus::SUCCESS);
    client.tree("data").await;
    let mut again = create("kept");
    let context = DurableReconnectV2 { file_id, create_guid: GUID, flags: dh2q::FLAG_PERSISTENT };
    again.contexts.push(RequestContext::DurableReconnectV2(context));
    assert_eq!(open(&mut client, &again).await.map(|id| id.persistent), Ok(file_id.persistent));
}

// MS-SMB2 3.3.5.5.2
// The record of the session says alice; whose it is now decides.
#[tokio::test]
async fn a_session_that_was_renewed_by_another_user_ends_with_him() {
    let rig = Rig::new();
    let mut client = rig.ready("plain").await;
    assert_eq!(client.renew(credentials("bob", "hidden")).await, NtStatus::SUCCESS);
    assert_eq!(rig.store.apply(&Record::UserEnable { name: "bob".into(), enabled: false }), Outcome::Done);
    carried_out(&rig, |rig| rig.server.sessions().is_empty()).await;
    assert_eq!(leave_tree(&mut client).await, NtStatus::USER_SESSION_DELETED);
}

#[tokio::test]
async fn what_does_not_concern_logons_ends_no_session() {
    let rig = Rig::new();
    let mut client = rig.ready("plain").await;
    rig.store.apply(&Record::UserMap { name: "alice".into(), unix: None });
    rig.store.apply(&Record::UserEnable { name: "alice".into(), enabled: true });
    rig.set(|settings| settings.encryption_required = true);
    assert_eq!(leave_tree(&mut client).await, NtStatus::SUCCESS);
}

#[tokio::test]
async fn only_who_knows_the_password_learns_that_an_account_is_disabled() {
    let rig = Rig::new();
    rig.store.apply(&disable());
    let mut client = stranger(&rig).await;
    assert_eq!(log_on(&mut client, "alice", "wrong").await, NtStatus::LOGON_FAILURE);
    assert_eq!(log_on(&mut client, "nobody", "wrong").await, NtStatus::LOGON_FAILURE);
    assert_eq!(log_on(&mut client, "alice", "secret").await, NtStatus::ACCOUNT_DISABLED);
}

#[tokio::test(start_paused = true)]
async fn guessing_becomes_slow_for_who_guesses() {
    let rig = Rig::new();
    let mut client = stranger(&rig).await;
    let mut waited = Vec::new();
    for word in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        let from = Instant::now();
        assert_eq!(log_on(&mut client, "alice", word).await, NtStatus::LOGON_FAILURE);
        waited.push(from.elapsed().as_millis() / 100);
    }
    assert_eq!(waited, [0, 1, 2, 4, 8, 16, 32, 50]);
    // A right guess takes as long: its being quick would tell.
    let from = Instant::now();
    assert_eq!(log_on(&mut client, "alice", "secret").await, NtStatus::SUCCESS);
    assert_eq!(from.elapsed().as_secs(), 5);
    let from = Instant::now();
    assert_eq!(log_on(&mut client, "alice", "secret").await, NtStatus::SUCCESS);
    assert_eq!(from.elapsed().as_millis(), 0, "forgotten by the success");
    // Somebody else's tries delay nobody elsewhere.
    assert_eq!(log_on(&mut client, "bob", "a").await, NtStatus::LOGON_FAILURE);
    assert_eq!(log_on(&mut client, "bob", "b").await, NtStatus::LOGON_FAILURE);
    let from = Instant::now();
    let mut bob = stranger_from(&rig, [192, 0, 2, 7].into()).await;
    assert_eq!(log_on(&mut bob, "bob", "hidden").await, NtStatus::SUCCESS);
    assert_eq!(from.elapsed().as_millis(), 0);
}

#[tokio::test(start_paused = true)]
async fn who_hangs_up_leaves_no_wait_behind() {
    let rig = Rig::new();
    let mut client = stranger(&rig).await;
    for word in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        log_on(&mut client, "alice", word).await;
    }
    let from = Instant::now();
    tokio::select! {
        status = log_on(&mut client, "alice", "i") => panic!("answered {status:?} before its time"),
        () = tokio::time::sleep(Duration::from_millis(10)) => {}
    }
    client.hang_up();
    client.served.await.unwrap();
    assert!(from.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn too_many_failures_lock_an_account_out_if_the_cluster_says_so() {
    let rig = Rig::new();
    rig.set(|settings| settings.lockout_threshold = 3);
    let count = |rig: &Rig| rig.server.store.with_state(|state| state.user_by_name("alice").unwrap().failures.count);
    let mut one = stranger(&rig).await;
    let mut two = stranger_from(&rig, [192, 0, 2, 7].into()).await;
    for (failures, client) in [(1, &mut one), (2, &mut two)] {
        assert_eq!(log_on(client, "alice", "wrong").await, NtStatus::LOGON_FAILURE);
        carried_out(&rig, |rig| count(rig) == failures).await;
    }
    assert_eq!(log_on(&mut one, "alice", "secret").await, NtStatus::SUCCESS);
    carried_out(&rig, |rig| count(rig) == 0).await;
    for failures in 1..=3 {
        assert_eq!(log_on(&mut two, "alice", "wrong").await, NtStatus::LOGON_FAILURE);
        carried_out(&rig, |rig| count(rig) == failures).await;
    }
    for word in ["secret", "wrong"] {
        assert_eq!(log_on(&mut two, "alice", word).await, NtStatus::ACCOUNT_LOCKED_OUT);
    }
    assert_eq!(rig.server.sessions().len(), 1, "who is in stays in");
    assert_eq!(rig.store.apply(&Record::UserUnlock { name: "alice".into() }), Outcome::Done);
    assert_eq!(log_on(&mut two, "alice", "secret").await, NtStatus::SUCCESS);
    assert_eq!(rig.server.store.with_state(|state| state.next_expiry()), None::<LogTime>);
}

#[tokio::test]
async fn settings_hold_for_the_next_connection() {
    let rig = Rig::new();
    let mode = async |rig: &Rig| rig.connect().negotiate(&[Dialect::Smb311]).await.security_mode;
    assert!(mode(&rig).await.contains(SecurityMode::SIGNING_REQUIRED));
    rig.set(|settings| settings.signing_required = false);
    assert!(!mode(&rig).await.contains(SecurityMode::SIGNING_REQUIRED));
    let mut client = rig.ready("plain").await;
    client.key = None;
    assert_eq!(echo(&mut client).await, NtStatus::SUCCESS);
    rig.set(|settings| settings.signing_required = true);
    let mut client = rig.ready("plain").await;
    client.key = None;
    assert_eq!(echo(&mut client).await, NtStatus::ACCESS_DENIED);
    rig.set(|settings| settings.encryption_required = true);
    let mut client = stranger(&rig).await;
    assert_eq!(log_on(&mut client, "alice", "secret").await, NtStatus::SUCCESS);
    assert_eq!(client.tree("plain").await.0, NtStatus::ACCESS_DENIED, "in clear");
    client.encrypts = true;
    assert_eq!(client.tree("plain").await.0, NtStatus::SUCCESS);
    let mut old = rig.connect();
    old.negotiate(&[Dialect::Smb210]).await;
    assert_eq!(old.log_on("alice", "secret", 0).await, NtStatus::ACCESS_DENIED, "it cannot encrypt");
}

#[tokio::test]
async fn nothing_is_listed_for_nobody_unless_that_is_wanted() {
    let rig = Rig::new();
    let mut client = stranger(&rig).await;
    assert_eq!(client.log_on_anonymous().await, NtStatus::SUCCESS);
    assert_eq!(client.tree("plain").await.0, NtStatus::ACCESS_DENIED);
    assert_eq!(client.tree("IPC$").await.0, NtStatus::SUCCESS);
    let pipe = |name: &str| CreateRequest { create_disposition: CreateDisposition::Open, share_access: ShareAccess::ALL, ..create(name) };
    for name in ["srvsvc", "wkssvc"] {
        assert_eq!(open(&mut client, &pipe(name)).await, Err(NtStatus::ACCESS_DENIED));
    }
    rig.set(|settings| settings.list_anonymously = true);
    open(&mut client, &pipe("srvsvc")).await.unwrap();
    assert_eq!(client.tree("plain").await.0, NtStatus::ACCESS_DENIED, "disks stay closed");
}
