//! Witness server and client against each other over 127.0.0.1 with NTLM, at every level and with both packages.
#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use dcerpc_rs::epm::EPMAPPER;
use dcerpc_rs::{AuthLevel, Client, ClientError, ClientSecurity, ContextHandle, EndpointMap, Fault, Limits};
use parking_lot::Mutex;
use smb_auth::{AcceptorConfig, Account, Credentials, NtHash};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use witness::client::{Registration, notification};
use witness::declaration::{RegisterExRequest, RegisterRequest};
use witness::interface::VERSION_2;
use witness::server::announce;
use witness::{
    Address, ClusterEvent, ClusterView, Interface, InterfaceState, Notification, NtlmInitiator, NtlmSecurity, ResourceChange,
    ResourceState, Share, Status, WitnessClient, WitnessError, WitnessService, serve, serve_mapper,
};

const A: &str = "127.0.0.11";

struct View {
    states: Mutex<[InterfaceState; 2]>,
    shares: Mutex<Vec<Share>>,
}

impl ClusterView for View {
    fn net_names(&self) -> Vec<String> {
        vec!["fs1.example.com".into()]
    }

    fn interfaces(&self) -> Vec<Interface> {
        let states = *self.states.lock();
        let interface = |number: u8, state| Interface {
            node_id: number.into(),
            group_name: format!("NODE{number}"),
            ipv4: Some(Ipv4Addr::new(127, 0, 0, 10 + number)),
            ipv6: None,
            state,
            local: number == 2,
        };
        vec![interface(1, states[0]), interface(2, states[1])]
    }

    fn leave_for(&self, _address: IpAddr) -> Vec<Address> {
        Vec::new()
    }

    fn shares(&self) -> Vec<Share> {
        self.shares.lock().clone()
    }
}

struct Fixture {
    view: Arc<View>,
    service: Arc<WitnessService>,
    witness: SocketAddr,
    mapper: SocketAddr,
    cancel: CancellationToken,
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

async fn start() -> Fixture {
    let states = Mutex::new([InterfaceState::Available; 2]);
    let view = Arc::new(View { states, shares: Mutex::new(vec![Share { name: "share".into(), sofs: false }]) });
    let service = WitnessService::new(view.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mapper_listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (witness, mapper) = (listener.local_addr().unwrap(), mapper_listener.local_addr().unwrap());
    let cancel = CancellationToken::new();
    let map = EndpointMap::new();
    announce(&map, witness.port());
    let account = |user: &str, _: &str| (user == "smbtest").then(|| Account { nt_hash: NtHash::of_password("Passw0rd!"), disabled: false });
    let config = AcceptorConfig { anonymous_allowed: true, ..AcceptorConfig::default() };
    let security = Arc::new(NtlmSecurity::new(Arc::new(config), Arc::new(account)));
    tokio::spawn(serve_mapper(mapper_listener, map, security.clone(), Limits::default(), cancel.clone()));
    tokio::spawn(serve(Arc::clone(&service), listener, security, Limits::default(), cancel.clone()));
    Fixture { view, service, witness, mapper, cancel }
}

fn credentials(password: &str) -> Credentials {
    Credentials::password("smbtest", "WORKGROUP", password)
}

fn spnego() -> NtlmInitiator {
    NtlmInitiator::spnego(credentials("Passw0rd!"), "CLIENT1", "cifs/fs1")
}

async fn connect(fixture: &Fixture) -> WitnessClient {
    WitnessClient::connect(fixture.witness, spnego(), AuthLevel::Integrity).await.unwrap()
}

fn registration() -> Registration {
    Registration {
        net_name: "FS1".into(),
        share_name: None,
        ip_address: A.into(),
        client_name: "CLIENT1".into(),
        ip_notification: true,
        keep_alive_s: 120,
    }
}

fn change(state: ResourceState) -> Notification {
    Notification::ResourceChange(vec![ResourceChange { state, name: A.into() }])
}

fn status<T: std::fmt::Debug>(result: Result<T, WitnessError>) -> Status {
    match result {
        Err(WitnessError::Status(status)) => status,
        other => panic!("expected a status, got {other:?}"),
    }
}

/// Whoever asks the mapper need not say who it is, but may.
#[tokio::test]
async fn the_mapper_takes_a_logon_and_refuses_a_wrong_one() {
    let fixture = start().await;
    for (password, is_good) in [("Passw0rd!", true), ("wrong", false)] {
        for level in [AuthLevel::Integrity, AuthLevel::Privacy] {
            let initiator = NtlmInitiator::spnego(credentials(password), "CLIENT1", "host/fs1");
            let security = ClientSecurity { auth_type: initiator.auth_type(), level, context: Box::new(initiator) };
            assert_eq!(Client::connect(fixture.mapper, EPMAPPER, Some(security)).await.is_ok(), is_good);
        }
    }
}

#[tokio::test]
async fn every_level_and_package_is_served_or_refused_as_it_should() {
    let fixture = start().await;
    let raw = || NtlmInitiator::raw(credentials("Passw0rd!"), "CLIENT1", "cifs/fs1");
    for level in [AuthLevel::Integrity, AuthLevel::Privacy] {
        for initiator in [spnego(), raw()] {
            let client = WitnessClient::connect_through_mapper(fixture.mapper, initiator, level).await.unwrap();
            let list = client.interface_list().await.unwrap();
            let seen: Vec<_> = list.iter().map(|info| (info.group_name.as_str(), info.state, info.is_witness)).collect();
            assert_eq!(seen, [("NODE1", 1, true), ("NODE2", 1, false)]);
            assert_eq!(list[0].version, VERSION_2);
            // Long enough for several fragments in both directions.
            let long = RegisterExRequest { version: VERSION_2, net_name: Some("x".repeat(20_000)), ..RegisterExRequest::default() };
            assert_eq!(status(client.register_ex_with(&long).await), Status::INVALID_PARAMETER);
            assert_eq!(client.interface_list().await.unwrap(), list);
        }
    }
    for level in [AuthLevel::Connect, AuthLevel::Packet] {
        let client = WitnessClient::connect(fixture.witness, spnego(), level).await.unwrap();
        assert_eq!(status(client.interface_list().await), Status::ACCESS_DENIED);
        assert_eq!(status(client.register_ex(&registration()).await), Status::ACCESS_DENIED);
        assert_eq!(status(client.async_notify(ContextHandle::NULL).await), Status::ACCESS_DENIED);
    }
    let anonymous = NtlmInitiator::spnego(Credentials::Anonymous, "CLIENT1", "cifs/fs1");
    if let Ok(client) = WitnessClient::connect(fixture.witness, anonymous, AuthLevel::Integrity).await {
        assert_eq!(status(client.interface_list().await), Status::ACCESS_DENIED);
    }
    let wrong = NtlmInitiator::spnego(credentials("wrong"), "CLIENT1", "cifs/fs1");
    let refused = WitnessClient::connect(fixture.witness, wrong, AuthLevel::Integrity).await;
    assert!(matches!(refused.err(), Some(WitnessError::Rpc(ClientError::Fault(Fault::ACCESS_DENIED)))));
    let wrong = NtlmInitiator::raw(credentials("wrong"), "CLIENT1", "cifs/fs1");
    let late = WitnessClient::connect(fixture.witness, wrong, AuthLevel::Integrity).await.unwrap();
    assert!(matches!(late.interface_list().await, Err(WitnessError::Rpc(ClientError::Fault(Fault::ACCESS_DENIED)))));
}

#[tokio::test]
async fn a_death_is_told_to_the_waiting_and_kept_for_the_others() {
    let fixture = start().await;
    let client = connect(&fixture).await;
    let handle = client.register_ex(&registration()).await.unwrap();
    let pending = client.start_async_notify(handle);
    while !fixture.service.registrations()[0].is_waiting {
        tokio::task::yield_now().await;
    }
    fixture.view.states.lock()[0] = InterfaceState::Unavailable;
    fixture.service.raise(&ClusterEvent::NodeDown { node_id: 1 });
    assert_eq!(notification(pending).await.unwrap(), change(ResourceState::Unavailable));
    // Nobody waits now: both are kept, in their order.
    let other = vec![Address { ip: IpAddr::from([127, 0, 0, 12]), is_online: true }];
    fixture.service.raise(&ClusterEvent::ClientMove { client: "client1".into(), destinations: other.clone() });
    fixture.view.states.lock()[0] = InterfaceState::Available;
    fixture.service.raise(&ClusterEvent::NodeUp { node_id: 1 });
    fixture.service.raise(&ClusterEvent::AddressChange { client: None, addresses: other.clone() });
    assert_eq!(client.async_notify(handle).await.unwrap(), change(ResourceState::Available));
    assert_eq!(client.async_notify(handle).await.unwrap(), Notification::ClientMove(other.clone()));
    assert_eq!(client.async_notify(handle).await.unwrap(), Notification::IpChange(other));
    assert_eq!(fixture.service.registrations()[0].sent, 4);
}

#[tokio::test]
async fn unregister_gets_through_beside_a_waiting_call() {
    let fixture = start().await;
    let client = connect(&fixture).await;
    let handle = client.register("fs1.EXAMPLE.com", A, "CLIENT1").await.unwrap();
    let pending = client.start_async_notify(handle);
    while !fixture.service.registrations()[0].is_waiting {
        tokio::task::yield_now().await;
    }
    client.unregister(handle).await.unwrap();
    assert_eq!(status(notification(pending).await), Status::NOT_FOUND);
    assert_eq!(status(client.async_notify(handle).await), Status::NOT_FOUND);
    assert_eq!(status(client.unregister(handle).await), Status::INVALID_PARAMETER);
    assert_eq!(status(client.unregister_ex(handle).await), Status::INVALID_PARAMETER);
    let handle = client.register("fs1", A, "CLIENT1").await.unwrap();
    // Another association cannot use it.
    let stranger = connect(&fixture).await;
    assert_eq!(status(stranger.unregister(handle).await), Status::INVALID_PARAMETER);
    assert_eq!(client.unregister_ex(handle).await.unwrap(), ContextHandle::NULL);
    assert!(fixture.service.registrations().is_empty());
}

#[tokio::test]
async fn a_cancelled_call_loses_nothing_and_a_lost_connection_ends_the_registration() {
    let fixture = start().await;
    let client = connect(&fixture).await;
    let handle = client.register_ex(&registration()).await.unwrap();
    let pending = client.start_async_notify(handle);
    while !fixture.service.registrations()[0].is_waiting {
        tokio::task::yield_now().await;
    }
    pending.cancel();
    assert!(matches!(notification(pending).await, Err(WitnessError::Rpc(ClientError::Fault(Fault::CANCELLED)))));
    while fixture.service.registrations()[0].is_waiting {
        tokio::task::yield_now().await;
    }
    fixture.service.raise(&ClusterEvent::ResourceChange { address: A.parse().unwrap(), is_available: false });
    assert_eq!(client.async_notify(handle).await.unwrap(), change(ResourceState::Unavailable));
    let pending = client.start_async_notify(handle);
    drop(client);
    drop(pending);
    while !fixture.service.registrations().is_empty() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn registrations_are_checked_as_the_specification_says() {
    let fixture = start().await;
    let client = connect(&fixture).await;
    let request = RegisterExRequest {
        version: VERSION_2,
        net_name: Some("fs1".into()),
        share_name: None,
        ip_address: Some(A.into()),
        client_name: Some("CLIENT1".into()),
        flags: 0,
        keep_alive_s: 1,
    };
    let ask = async |request: RegisterExRequest| status(client.register_ex_with(&request).await);
    let ask_first = async |request: RegisterExRequest| {
        let RegisterExRequest { version, net_name, ip_address, client_name, .. } = request;
        status(client.register_with(&RegisterRequest { version, net_name, ip_address, client_name }).await)
    };
    assert_eq!(ask(RegisterExRequest { version: 0x0001_0001, ..request.clone() }).await, Status::REVISION_MISMATCH);
    assert_eq!(ask_first(request.clone()).await, Status::REVISION_MISMATCH);
    assert_eq!(ask(RegisterExRequest { net_name: Some("fs2".into()), ..request.clone() }).await, Status::INVALID_PARAMETER);
    for missing in 0..3 {
        let mut request = request.clone();
        *[&mut request.net_name, &mut request.ip_address, &mut request.client_name][missing] = None;
        assert_eq!(ask(request).await, Status::INVALID_PARAMETER);
    }
    // Without scale-out shares any address and share name is taken.
    let bogus = RegisterExRequest { ip_address: Some("8.8.8.8".into()), share_name: Some("no".into()), ..request.clone() };
    let handle = client.register_ex_with(&bogus).await.unwrap();
    client.unregister(handle).await.unwrap();
    *fixture.view.shares.lock() = vec![Share { name: "out".into(), sofs: true }];
    assert_eq!(ask(bogus.clone()).await, Status::INVALID_STATE);
    let bogus_address = RegisterExRequest { share_name: Some("OUT".into()), ..bogus.clone() };
    assert_eq!(ask(bogus_address).await, Status::INVALID_STATE);
    let first = RegisterExRequest { version: 0x0001_0001, share_name: None, ..bogus };
    assert_eq!(ask_first(first).await, Status::INVALID_STATE);
    let good = RegisterExRequest { share_name: Some("OUT".into()), ..request };
    let handle = client.register_ex_with(&good).await.unwrap();
    let to = vec![Address { ip: IpAddr::from([127, 0, 0, 12]), is_online: true }];
    fixture.service.raise(&ClusterEvent::ShareMove { share: "out".into(), client: None, destinations: to.clone() });
    assert_eq!(client.async_notify(handle).await.unwrap(), Notification::ShareMove(to));
    // One second of silence: told to ask again.
    assert_eq!(status(client.async_notify(handle).await), Status::TIMEOUT);
}

#[tokio::test]
async fn who_registers_about_a_dead_address_is_told_at_once() {
    let fixture = start().await;
    fixture.view.states.lock()[0] = InterfaceState::Unavailable;
    fixture.service.raise(&ClusterEvent::NodeDown { node_id: 1 });
    let client = connect(&fixture).await;
    let handle = client.register_ex(&registration()).await.unwrap();
    let told = tokio::time::timeout(Duration::from_secs(5), client.async_notify(handle)).await.unwrap();
    assert_eq!(told.unwrap(), change(ResourceState::Unavailable));
}
