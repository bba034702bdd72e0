//! A witness with its endpoint mapper on 127.0.0.1 over two made-up nodes, for trying foreign clients against it.
//!
//! `serve [WITNESS_PORT MAPPER_PORT [ndr64]]`: with `ndr64` that syntax is taken wherever a client leaves the choice. The
//! server and workstation services are on the witness port too, so that their stubs can be tried without SMB. Then on standard input: `down`, `up` (node 1, 127.0.0.11), `move CLIENT`,
//! `share NAME`, `ip`, `list`, `quit`.
#![allow(clippy::print_stdout, reason = "a tool for a terminal")]

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dcerpc_rs::epm::EndpointMapper;
use dcerpc_rs::interface::mgmt::managed;
use dcerpc_rs::interface::srvsvc::{ServerIdentity, ShareInfo, ShareProvider, Srvsvc};
use dcerpc_rs::interface::wkssvc::Wkssvc;
use dcerpc_rs::{EndpointMap, Identity, InterfaceSet, Limits, TransferSyntax};
use smb_auth::{AcceptorConfig, Account, NtHash, ServerNames};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use witness::server::{announce, interface};
use witness::{Address, ClusterEvent, ClusterView, Interface, InterfaceState, NtlmSecurity, Share, WitnessService};

struct TwoNodes {
    is_first_up: AtomicBool,
}

impl ClusterView for TwoNodes {
    fn net_names(&self) -> Vec<String> {
        vec!["fs1.example.com".into(), "127.0.0.1".into()]
    }

    fn interfaces(&self) -> Vec<Interface> {
        let is_first_up = self.is_first_up.load(Ordering::SeqCst);
        let interface = |node_id: u8, is_up, local| Interface {
            node_id: node_id.into(),
            group_name: format!("NODE{node_id}"),
            ipv4: Some(Ipv4Addr::new(127, 0, 0, 10 + node_id)),
            ipv6: None,
            state: if is_up { InterfaceState::Available } else { InterfaceState::Unavailable },
            local,
        };
        vec![interface(1, is_first_up, false), interface(2, true, true)]
    }

    fn leave_for(&self, _address: IpAddr) -> Vec<Address> {
        Vec::new()
    }

    fn shares(&self) -> Vec<Share> {
        vec![Share { name: "share".into(), sofs: false }, Share { name: "out".into(), sofs: true }]
    }
}

impl ShareProvider for TwoNodes {
    fn server(&self) -> ServerIdentity {
        ServerIdentity { name: "FS1".into(), domain: "WORKGROUP".into(), comment: "witness alone".into(), version: (10, 0) }
    }

    fn shares(&self, _caller: Option<&Identity>) -> Vec<ShareInfo> {
        let share = |name: &str| ShareInfo { name: name.into(), remark: format!("share {name}"), ..ShareInfo::default() };
        vec![share("out"), share("share")]
    }
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).with_writer(std::io::stderr).init();
    let port = |position| std::env::args().nth(position).and_then(|text| text.parse().ok()).unwrap_or(0u16);
    let listener = TcpListener::bind(("127.0.0.1", port(1))).await?;
    let mapper = TcpListener::bind(("127.0.0.1", port(2))).await?;
    let cancel = CancellationToken::new();
    let view = Arc::new(TwoNodes { is_first_up: AtomicBool::new(true) });
    let service = WitnessService::new(view.clone());
    let map = EndpointMap::new();
    announce(&map, listener.local_addr()?.port());
    println!("witness {} mapper {}", listener.local_addr()?, mapper.local_addr()?);
    let name = |text: &str| text.to_owned();
    let names = ServerNames {
        nb_computer: name("FS1"),
        nb_domain: name("WORKGROUP"),
        dns_computer: name("fs1.example.com"),
        dns_domain: name("example.com"),
    };
    let config = AcceptorConfig { names, anonymous_allowed: true, ..AcceptorConfig::default() };
    let account = |user: &str, _domain: &str| {
        user.eq_ignore_ascii_case("smbtest").then(|| Account { nt_hash: NtHash::of_password("Passw0rd!"), disabled: false })
    };
    let security = Arc::new(NtlmSecurity::new(Arc::new(config), Arc::new(account)));
    let mapping = managed(EndpointMapper::new(map).into());
    tokio::spawn(dcerpc_rs::serve(mapper, mapping, Some(security.clone()), Limits::default(), cancel.clone()));
    let mut interfaces = InterfaceSet::from(interface(Arc::clone(&service)))
        .with(Arc::new(Srvsvc::new(view.clone())))
        .with(Arc::new(Wkssvc::new(view.clone())));
    if std::env::args().nth(3).as_deref() == Some("ndr64") {
        interfaces = interfaces.preferring(TransferSyntax::Ndr64);
    }
    tokio::spawn(dcerpc_rs::serve(listener, interfaces, Some(security), Limits::default(), cancel.clone()));
    tokio::spawn({
        let (service, cancel) = (Arc::clone(&service), cancel.clone());
        async move { service.run(cancel).await }
    });

    let other = vec![Address { ip: Ipv4Addr::new(127, 0, 0, 12).into(), is_online: true }];
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["down"] => {
                view.is_first_up.store(false, Ordering::SeqCst);
                service.raise(&ClusterEvent::NodeDown { node_id: 1 });
            }
            ["up"] => {
                view.is_first_up.store(true, Ordering::SeqCst);
                service.raise(&ClusterEvent::NodeUp { node_id: 1 });
            }
            ["move", client] => {
                service.raise(&ClusterEvent::ClientMove { client: client.into(), destinations: other.clone() });
            }
            ["share", share] => {
                service.raise(&ClusterEvent::ShareMove { share: share.into(), client: None, destinations: other.clone() });
            }
            ["ip"] => {
                service.raise(&ClusterEvent::AddressChange { client: None, addresses: other.clone() });
            }
            ["list"] => println!("{:#?}", service.registrations()),
            ["quit"] => break,
            _ => println!("down | up | move CLIENT | share NAME | ip | list | quit"),
        }
    }
    cancel.cancel();
    Ok(())
}
