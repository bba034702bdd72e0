//! Captures of foreign clients at a witness, played again with the challenges of that time: their logons and signatures
//! verify, their sealed requests open, and every answer is the same, signed and sealed the same.
#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

#[path = "../dcerpc-rs/tests/vectors/replay.rs"]
mod replay;
#[path = "../dcerpc-rs/tests/vectors/mod.rs"]
mod vectors;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dcerpc_rs::connection::ConnectionConfig;
use dcerpc_rs::interface::srvsvc::{ServerIdentity, ShareInfo, ShareProvider, Srvsvc};
use dcerpc_rs::interface::wkssvc::Wkssvc;
use dcerpc_rs::{AssociationGroups, Identity, InterfaceSet, Limits};
use smb_auth::{AcceptorConfig, Account, NtHash, ServerNames};
use smb_types::FileTime;
use witness::server::interface;
use witness::{ClusterView, Interface, InterfaceState, NtlmSecurity, Share, WitnessService};

/// As the server was when the captures were made.
struct TwoNodes;

impl ClusterView for TwoNodes {
    fn net_names(&self) -> Vec<String> {
        vec!["fs1.example.com".into()]
    }

    fn interfaces(&self) -> Vec<Interface> {
        let interface = |node_id: u8, local| Interface {
            node_id: node_id.into(),
            group_name: format!("NODE{node_id}"),
            ipv4: Some(Ipv4Addr::new(127, 0, 0, 10 + node_id)),
            ipv6: None,
            state: InterfaceState::Available,
            local,
        };
        vec![interface(1, false), interface(2, true)]
    }

    fn leave_for(&self, _address: std::net::IpAddr) -> Vec<witness::Address> {
        Vec::new()
    }

    fn shares(&self) -> Vec<Share> {
        Vec::new()
    }
}

impl ShareProvider for TwoNodes {
    fn server(&self) -> ServerIdentity {
        ServerIdentity { name: "FS1".into(), domain: "WORKGROUP".into(), comment: "witness alone".into(), version: (10, 0) }
    }

    /// The captured one told everybody what Windows tells administrators.
    fn is_administrator(&self, _caller: Option<&Identity>) -> bool {
        true
    }

    fn shares(&self, _caller: Option<&Identity>) -> Vec<ShareInfo> {
        let share = |name: &str| ShareInfo { name: name.into(), remark: format!("share {name}"), ..ShareInfo::default() };
        vec![share("out"), share("share")]
    }
}

/// The challenges and the times that the captured server sent, in their order.
fn challenges_of(capture: &str) -> Vec<([u8; 8], FileTime)> {
    let bytes: Vec<u8> = vectors::in_order(capture).into_iter().flat_map(|(_, pdu)| pdu).collect();
    let is_challenge = |start: &usize| bytes[*start..].starts_with(b"NTLMSSP\0\x02\0\0\0");
    (0..bytes.len()).filter(is_challenge).map(|start| challenge_of(&bytes[start..])).collect()
}

// MS-NLMP 2.2.1.2; the time is the attribute with number 7.
fn challenge_of(message: &[u8]) -> ([u8; 8], FileTime) {
    let number = |offset: usize| usize::from(u16::from_le_bytes([message[offset], message[offset + 1]]));
    let mut pairs = &message[number(44)..][..number(40)];
    loop {
        let [kind, length] = [0, 2].map(|offset| u16::from_le_bytes([pairs[offset], pairs[offset + 1]]));
        let (value, rest) = pairs[4..].split_at(usize::from(length));
        if kind == 7 {
            return (message[24..32].try_into().unwrap(), FileTime(u64::from_le_bytes(value.try_into().unwrap())));
        }
        pairs = rest;
    }
}

fn config(capture: &str) -> ConnectionConfig {
    let name = |text: &str| text.to_owned();
    let names = ServerNames {
        nb_computer: name("FS1"),
        nb_domain: name("WORKGROUP"),
        dns_computer: name("fs1.example.com"),
        dns_domain: name("example.com"),
    };
    let acceptor = AcceptorConfig { names, anonymous_allowed: true, ..AcceptorConfig::default() };
    let account = |user: &str, _: &str| (user == "smbtest").then(|| Account { nt_hash: NtHash::of_password("Passw0rd!"), disabled: false });
    let challenges = challenges_of(capture);
    assert!(!challenges.is_empty());
    // Each logon has two legs; the first one takes the challenge.
    let legs = AtomicUsize::new(0);
    let next = move || Ok(challenges[legs.fetch_add(1, Ordering::Relaxed) / 2]);
    let security = NtlmSecurity::with_challenges(Arc::new(acceptor), Arc::new(account), Arc::new(next));
    let view = Arc::new(TwoNodes);
    let interfaces = InterfaceSet::from(interface(WitnessService::new(view.clone())))
        .with(Arc::new(Srvsvc::new(view.clone())))
        .with(Arc::new(Wkssvc::new(view)));
    ConnectionConfig {
        interfaces,
        security: Some(Arc::new(security)),
        groups: AssociationGroups::new(),
        limits: Arc::new(Limits::default()),
        secondary_address: "49152".into(),
        peer: Some("127.0.0.1:1".parse().unwrap()),
        local: Some("127.0.0.1:49152".parse().unwrap()),
        transport_identity: None,
    }
}

fn replayed(capture: &str) -> usize {
    replay::replay(capture, &config(capture))
}

#[tokio::test]
async fn samba_signs_and_seals_with_ntlm() {
    assert_eq!(replayed(include_str!("vectors/samba-ntlm-sign.hex")), 4);
    assert_eq!(replayed(include_str!("vectors/samba-ntlm-seal.hex")), 4);
}

#[tokio::test]
async fn samba_signs_and_seals_with_spnego_in_both_syntaxes() {
    assert_eq!(replayed(include_str!("vectors/samba-spnego-sign.hex")), 5);
    assert_eq!(replayed(include_str!("vectors/samba-spnego-seal-ndr64.hex")), 5);
}

#[tokio::test]
async fn impacket_signs_in_ndr20_and_seals_in_ndr64_without_asking_for_header_signing() {
    // The first one logs on twice on its connection: its alter_context brings a security context of its own.
    assert_eq!(challenges_of(include_str!("vectors/impacket-ntlm-sign.hex")).len(), 2);
    assert_eq!(replayed(include_str!("vectors/impacket-ntlm-sign.hex")), 7);
    assert_eq!(replayed(include_str!("vectors/impacket-ntlm-seal-ndr64.hex")), 3);
}
