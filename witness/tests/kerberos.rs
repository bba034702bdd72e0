//! Kerberos with a realm of its own: a key distribution centre on a loopback port, our client and a foreign one, alone and inside SPNEGO.
#![cfg(feature = "krb5")]
#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

mod one_node;

use std::io::Write;
use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use dcerpc_rs::security::auth_type;
use dcerpc_rs::{AuthLevel, Client, ClientSecurity, Limits, SecurityContext};
use one_node::OneNode;
use smb_auth::{AcceptorConfig, Account, Credentials, NtHash};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use witness::client::Registration;
use witness::kerberos::Keytab;
use witness::{
    ClusterEvent, KerberosContext, KerberosSecurity, Notification, NtlmInitiator, NtlmSecurity, ResourceChange, ResourceState, WITNESS,
    WitnessClient, WitnessService, serve,
};

const REALM: &str = "WITNESS.TEST";
const HOST: &str = "fs1.witness.test";
const USER: &str = "HV-07$";
const PASSWORD: &str = "a machine's password";
const SOON: Duration = Duration::from_secs(30);

/// A realm with one user and one service, and the process that serves it.
struct Realm {
    directory: tempfile::TempDir,
    /// Once it runs.
    centre: Option<Child>,
}

impl Drop for Realm {
    fn drop(&mut self) {
        if let Some(centre) = &mut self.centre {
            _ = centre.kill();
            _ = centre.wait();
        }
    }
}

impl Realm {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        // Taken while it is written down only; the centre says so when somebody else was quicker.
        let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let configuration = format!(
            "[libdefaults]\n default_realm = {REALM}\n dns_lookup_kdc = false\n dns_lookup_realm = false\n dns_canonicalize_hostname = false\n \
             rdns = false\n[realms]\n {REALM} = {{\n  kdc = 127.0.0.1:{port}\n }}\n[domain_realm]\n .witness.test = {REALM}\n"
        );
        std::fs::write(at("krb5.conf"), configuration).unwrap();
        let centre = format!(
            "[kdcdefaults]\n kdc_listen = 127.0.0.1:{port}\n kdc_tcp_listen = 127.0.0.1:{port}\n[realms]\n {REALM} = {{\n  database_name = {db}\n  \
             key_stash_file = {stash}\n  acl_file = {acl}\n }}\n",
            db = at("principal").display(),
            stash = at("stash").display(),
            acl = at("acl").display(),
        );
        std::fs::write(at("kdc.conf"), centre).unwrap();
        let mut realm = Self { directory, centre: None };
        realm.run(Command::new("kdb5_util").args(["create", "-s", "-r", REALM, "-P", "master"]), "");
        realm.administer(&format!("addprinc -pw \"{PASSWORD}\" {USER}"));
        // smbtorture asks for the host's ticket, as one that stands for all services of a Windows machine.
        for service in ["cifs", "host"] {
            realm.administer(&format!("addprinc -randkey {service}/{HOST}"));
            realm.administer(&format!("ktadd -k {} {service}/{HOST}", realm.keytab().display()));
        }
        assert!(realm.keytab().exists(), "kadmin.local has written no keytab");
        realm.centre = Some(realm.with_environment(Command::new("krb5kdc").args(["-n", "-r", REALM])).spawn().unwrap());
        let deadline = Instant::now() + SOON;
        while !realm.log_on() {
            let ended = realm.centre.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "the centre has ended: is its port another's?");
            assert!(Instant::now() < deadline, "nobody answers kinit");
            std::thread::yield_now();
        }
        realm
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn keytab(&self) -> PathBuf {
        self.path("service.keytab")
    }

    fn cache(&self) -> PathBuf {
        self.path("cache")
    }

    fn with_environment<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        // The administrator's tools are where root looks for programs.
        let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
        command
            .env("PATH", path)
            .env("KRB5_CONFIG", self.path("krb5.conf"))
            .env("KRB5_KDC_PROFILE", self.path("kdc.conf"))
            .env("KRB5CCNAME", self.cache())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
    }

    fn run(&self, command: &mut Command, input: &str) {
        assert!(self.succeeds(command, input), "{command:?} fails");
    }

    fn administer(&self, question: &str) {
        self.run(Command::new("kadmin.local").args(["-r", REALM, "-q", question]), "");
    }

    fn succeeds(&self, command: &mut Command, input: &str) -> bool {
        let mut child =
            self.with_environment(command).stdin(Stdio::piped()).spawn().expect("krb5-kdc, krb5-admin-server and krb5-user are there");
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait().unwrap().success()
    }

    fn log_on(&self) -> bool {
        self.succeeds(Command::new("kinit").arg(USER), &format!("{PASSWORD}\n"))
    }
}

/// Registers, waits, and is told: every PDU of that is protected in the level.
async fn is_told<I: SecurityContext + 'static>(
    service: &Arc<WitnessService>,
    address: SocketAddr,
    auth_type: u8,
    initiator: I,
    level: AuthLevel,
) {
    let security = ClientSecurity { auth_type, level, context: Box::new(initiator) };
    let client = WitnessClient::of(Client::connect(address, WITNESS, Some(security)).await.unwrap());
    assert_eq!(client.interface_list().await.unwrap().len(), 1);
    let registration = Registration {
        net_name: "fs1".into(),
        share_name: None,
        ip_address: "127.0.0.11".into(),
        client_name: "HV-07".into(),
        ip_notification: false,
        keep_alive_s: 120,
    };
    let handle = client.register_ex(&registration).await.unwrap();
    let call = client.start_async_notify(handle);
    while !service.registrations().iter().any(|registration| registration.is_waiting) {
        tokio::task::yield_now().await;
    }
    service.raise(&ClusterEvent::NodeDown { node_id: 1 });
    let told = tokio::time::timeout(SOON, witness::client::notification(call)).await.unwrap().unwrap();
    let change = ResourceChange { state: ResourceState::Unavailable, name: "127.0.0.11".into() };
    assert_eq!(told, Notification::ResourceChange(vec![change]));
    client.unregister(handle).await.unwrap();
}

fn foreign(realm: &Realm, address: SocketAddr, options: &str) -> (bool, String) {
    let binding = format!("ncacn_ip_tcp:{}[{},{options},target_hostname={HOST}]", address.ip(), address.port());
    let mut command = Command::new("smbtorture");
    realm.with_environment(&mut command);
    let option = format!("--option=realm={REALM}");
    command.args([binding.as_str(), "-k", "yes", "-U", &format!("{USER}@{REALM}%{PASSWORD}"), &option]);
    command.args(["--option=torture:net_name=fs1", "rpc.witness.witness.GetInterfaceList"]);
    let output = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).output().expect("samba-testsuite is there");
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.success() && text.contains("success:"), text)
}

#[test]
#[allow(unsafe_code, reason = "the library takes its configuration from the environment")]
fn kerberos_alone_and_in_spnego_signs_and_seals() {
    let realm = Realm::start();
    // SAFETY: the only test of this program, and no thread is started yet that reads the environment.
    unsafe { std::env::set_var("KRB5_CONFIG", realm.path("krb5.conf")) };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(logons(&realm));
}

async fn logons(realm: &Realm) {
    let account = |user: &str, _: &str| (user == "smbtest").then(|| Account { nt_hash: NtHash::of_password("Passw0rd!"), disabled: false });
    let ntlm = Arc::new(NtlmSecurity::new(Arc::new(AcceptorConfig::default()), Arc::new(account)));
    let security = Arc::new(KerberosSecurity::new(Keytab::open(&realm.keytab()).unwrap(), ntlm));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = WitnessService::new(Arc::new(OneNode));
    let cancel = CancellationToken::new();
    let served = tokio::spawn(serve(Arc::clone(&service), listener, security, Limits::default(), cancel.clone()));

    let target = format!("cifs@{HOST}");
    for level in [AuthLevel::Integrity, AuthLevel::Privacy] {
        let alone = KerberosContext::raw(&realm.cache(), &target).unwrap();
        is_told(&service, address, auth_type::KERBEROS, alone, level).await;
        let negotiated = KerberosContext::spnego(&realm.cache(), &target).unwrap();
        is_told(&service, address, auth_type::SPNEGO, negotiated, level).await;
        // Who prefers NTLM gets it, beside Kerberos.
        let initiator = NtlmInitiator::spnego(Credentials::password("smbtest", "WORKGROUP", "Passw0rd!"), "CLIENT", "cifs/fs1");
        is_told(&service, address, initiator.auth_type(), initiator, level).await;
    }
    for options in ["krb5,sign", "krb5,seal", "spnego,sign", "spnego,seal"] {
        let (good, text) = tokio::task::block_in_place(|| foreign(realm, address, options));
        assert!(good, "{options}: {text}");
    }
    // A ticket for somebody else's service does not open ours.
    let ours = KerberosContext::raw(&realm.cache(), "host@elsewhere.witness.test").unwrap();
    let security = ClientSecurity { auth_type: auth_type::KERBEROS, level: AuthLevel::Integrity, context: Box::new(ours) };
    assert!(Client::connect(address, WITNESS, Some(security)).await.is_err());
    cancel.cancel();
    served.await.unwrap().unwrap();
}
