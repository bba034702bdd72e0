//! The admin API of real nodes: TLS, socket credentials, roles, and the audit log.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use holdfast::{
    admin::{in_use::HandleView, listen::tls::provider, view::Status},
    audit::{AuditResult, Entry},
    client::{Answer, Connection, Endpoint, Tls},
    failure::{DATA, NO_PERMISSION, USAGE},
    secret::Secret,
};
use hyper::{Method, StatusCode};
use persistence::{ClusterCa, any_node_name, cluster_of_authority};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_holdfast");
/// An unprivileged user.
const OTHER_UID: u32 = 65534;

/// A running demo cluster.
struct Demo {
    process: Child,
    dir: tempfile::TempDir,
    nodes: Vec<Node>,
}

struct Node {
    id: u64,
    admin: SocketAddr,
    config: PathBuf,
}

impl Demo {
    fn start(nodes: u8, loopback: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut process = Command::new(PROGRAM)
            .args(["demo", "--json", "--ephemeral-ports", "--exit-with-stdin", "--loopback", loopback, "--nodes", &nodes.to_string()])
            .arg("--dir")
            .arg(dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let ready: serde_json::Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line:?}"));
        let node = |node: &serde_json::Value| Node {
            id: node["id"].as_u64().unwrap(),
            admin: format!("{}:{}", node["address"].as_str().unwrap(), node["admin_port"]).parse().unwrap(),
            config: node["config"].as_str().unwrap().into(),
        };
        let nodes = ready["nodes"].as_array().unwrap().iter().map(node).collect();
        Self { process, dir, nodes }
    }

    fn data_dir(&self, index: usize) -> PathBuf {
        self.nodes[index].config.parent().unwrap().join("data")
    }

    /// Runs a command over a node's socket.
    fn local(&self, index: usize, arguments: &[&str]) -> Output {
        run(PROGRAM, arguments, &["--config", self.nodes[index].config.to_str().unwrap()], "")
    }

    /// Runs a command over TLS.
    fn remote(&self, index: usize, arguments: &[&str], ca: &Path, token: Option<&Path>) -> Output {
        let node = format!("{}@{}", self.nodes[index].id, self.nodes[index].admin);
        let mut at = vec!["--node", &node, "--ca", ca.to_str().unwrap()];
        token.into_iter().for_each(|token| at.extend(["--token-file", token.to_str().unwrap()]));
        run(PROGRAM, arguments, &at, "")
    }

    /// Writes the authorities' certificates to a file.
    fn ca(&self) -> PathBuf {
        let file = self.dir.path().join("ca.pem");
        good(&self.local(0, &["admin", "ca", "--to", file.to_str().unwrap()]));
        file
    }

    /// Creates a token; returns its file.
    fn token(&self, name: &str, role: &str) -> PathBuf {
        let text = good(&self.local(0, &["admin", "token", "add", name, "--role", role]));
        let file = self.dir.path().join(name);
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        file
    }

    fn over_tls(&self, ca: &Path, token: Option<&str>) -> Connection {
        let tls = Tls::new(&std::fs::read(ca).unwrap(), &self.nodes[0].admin.to_string().parse().unwrap()).unwrap();
        Connection { endpoint: Endpoint::Tls(tls), token: token.map(|token| Secret::new(token).unwrap()) }
    }

    /// Stops the cluster and waits for its end.
    fn stop(mut self) -> tempfile::TempDir {
        drop(self.process.stdin.take());
        assert!(self.process.wait().unwrap().success());
        self.dir
    }
}

fn run(program: impl AsRef<std::ffi::OsStr>, arguments: &[&str], at: &[&str], input: &str) -> Output {
    let mut command = Command::new(program);
    command.args(arguments).args(at).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // The child may exit without reading.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The output of a successful command.
fn good(output: &Output) -> String {
    assert!(output.status.success(), "{}", text(output));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// The error text of a command that failed with this exit code.
fn bad(output: &Output, code: u8) -> String {
    assert_eq!(output.status.code(), Some(i32::from(code)), "{}", text(output));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn audit(demo: &Demo, index: usize, more: &[&str]) -> Vec<Entry> {
    let lines = good(&demo.local(index, &[&["audit", "--json"], more].concat()));
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

async fn said(answer: Answer) -> String {
    String::from_utf8_lossy(&answer.whole().await.unwrap()).into_owned()
}

#[test]
fn the_port_speaks_tls_with_the_clusters_certificate_only() {
    let demo = Demo::start(1, "127.0.121");
    let mut plain = TcpStream::connect(demo.nodes[0].admin).unwrap();
    plain.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut answer = String::new();
    plain.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("https://"), "{answer}");
    let mut noise = TcpStream::connect(demo.nodes[0].admin).unwrap();
    noise.write_all(&[0; 64]).unwrap();
    answer.clear();
    // The node closes with unread data, which may reset the connection.
    let _ = noise.read_to_string(&mut answer);
    assert_eq!(answer, "");
    let ca = demo.ca();
    let pem = std::fs::read_to_string(&ca).unwrap();
    assert!(!pem.contains("PRIVATE KEY"));
    let viewer = demo.token("viewer", "viewer");
    good(&demo.remote(0, &["status"], &ca, Some(&viewer)));
    // Another cluster's authority, the id of another node, no authority.
    let foreign = demo.dir.path().join("foreign.pem");
    std::fs::write(&foreign, ClusterCa::create().unwrap().certificate_pem).unwrap();
    let because = bad(&demo.remote(0, &["status"], &foreign, Some(&viewer)), DATA);
    assert!(because.contains("does not prove"), "{because}");
    let node = format!("2@{}", demo.nodes[0].admin);
    let because = bad(&run(PROGRAM, &["status"], &["--node", &node, "--ca", ca.to_str().unwrap()], ""), DATA);
    assert!(because.contains("does not prove"), "{because}");
    let because = bad(&run(PROGRAM, &["status"], &["--node", &node], ""), USAGE);
    assert!(because.contains("--ca"), "{because}");
    let socket = demo.data_dir(0).join("admin.sock");
    assert!(socket.exists());
    let _dir = demo.stop();
    assert!(!socket.exists(), "the socket is removed at the end");
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_are_enforced_and_audited() {
    let demo = Demo::start(2, "127.0.122");
    let ca = demo.ca();
    let (viewer, operator) = (demo.token("prometheus", "viewer"), demo.token("laptop", "operator"));
    // Public routes name nothing of the cluster's content.
    let anonymous = demo.over_tls(&ca, None);
    for path in ["/healthz", "/metrics", "/api/v1/status"] {
        let answer = anonymous.ask(Method::GET, path, &[]).await.unwrap();
        assert_eq!(answer.status, StatusCode::OK, "{path}");
        let shown = said(answer).await;
        for word in ["plain", "demo", "127.0.122", demo.dir.path().to_str().unwrap()] {
            assert!(!shown.contains(word), "{path} says {word}: {shown}");
        }
    }
    for path in ["handles", "shares", "users", "events?seconds=0", "witness", "certificates", "audit", "backup", "admin/tokens"] {
        let answer = anonymous.ask(Method::GET, &format!("/api/v1/{path}"), &[]).await.unwrap();
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{path}");
        assert!(said(answer).await.contains("token"), "{path}");
    }
    let wanted = br#"{"name":"eve","nt_hash":"0123456789abcdef0123456789abcdef"}"#;
    assert_eq!(anonymous.ask(Method::POST, "/api/v1/users", wanted).await.unwrap().status, StatusCode::UNAUTHORIZED);
    bad(&demo.remote(0, &["handles"], &ca, None), NO_PERMISSION);
    // An invalid token is refused on every route, after a delay.
    let (from, invalid) = (Instant::now(), demo.over_tls(&ca, Some("hfadmin1-0")));
    assert_eq!(invalid.ask(Method::GET, "/healthz", &[]).await.unwrap().status, StatusCode::UNAUTHORIZED);
    assert!(from.elapsed() >= Duration::from_millis(500));
    // A viewer reads, at any node.
    let handles = good(&demo.remote(1, &["handles", "--json"], &ca, Some(&viewer)));
    assert_eq!(serde_json::from_str::<Vec<HandleView>>(&handles).unwrap(), []);
    good(&demo.remote(0, &["events"], &ca, Some(&viewer)));
    let viewers = demo.over_tls(&ca, Some(std::fs::read_to_string(&viewer).unwrap().trim()));
    let answer = viewers.ask(Method::POST, "/api/v1/users", wanted).await.unwrap();
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert!(said(answer).await.contains("operator"), "the role that is needed is named");
    let backup = demo.dir.path().join("backup");
    let to = ["backup", "--to", backup.to_str().unwrap()];
    bad(&demo.remote(0, &to, &ca, Some(&viewer)), NO_PERMISSION);
    bad(&demo.remote(0, &["audit"], &ca, Some(&viewer)), NO_PERMISSION);
    // An operator writes.
    let password = demo.dir.path().join("password");
    std::fs::write(&password, "Secret-Bob-1\n").unwrap();
    let add = ["user", "add", "bob", "--password-file", password.to_str().unwrap()];
    good(&demo.remote(1, &add, &ca, Some(&operator)));
    good(&demo.remote(0, &to, &ca, Some(&operator)));
    good(&run(PROGRAM, &["backup", "verify", backup.to_str().unwrap()], &[], ""));
    let operators = demo.over_tls(&ca, Some(std::fs::read_to_string(&operator).unwrap().trim()));
    let long = vec![b' '; 65 << 10];
    assert_eq!(operators.ask(Method::POST, "/api/v1/users", &long).await.unwrap().status, StatusCode::PAYLOAD_TOO_LARGE);
    // A removed token is refused at every node.
    good(&demo.local(0, &["admin", "token", "remove", "laptop"]));
    bad(&demo.remote(1, &["handles"], &ca, Some(&operator)), NO_PERMISSION);
    check_audit(&demo);
    demo.stop();
}

/// The audit lines of the test above.
fn check_audit(demo: &Demo) {
    let all = audit(demo, 0, &["--all-nodes", "--limit", "1000"]);
    let has = |node: u64, who: &str, method: &str, route: &str, result: AuditResult, status: u16| {
        let found = all.iter().find(|e| {
            (e.node, e.who.as_str(), e.method.as_str(), e.route.as_str(), e.result, e.status) == (node, who, method, route, result, status)
        });
        found.unwrap_or_else(|| panic!("no line of {who} {method} {route} {status} at node {node}: {all:#?}"))
    };
    has(1, "-", "POST", "/api/v1/users", AuditResult::Forbidden, 401);
    has(1, "-", "GET", "/healthz", AuditResult::Forbidden, 401);
    let refused = has(1, "prometheus", "POST", "/api/v1/users", AuditResult::Forbidden, 403);
    assert_eq!((refused.role.as_deref(), refused.from.address.is_some()), (Some("viewer"), true));
    assert!(refused.error.as_ref().unwrap().contains("operator"));
    assert_eq!(refused.body.as_ref().unwrap()["name"], "eve");
    has(1, "prometheus", "GET", "/api/v1/backup", AuditResult::Forbidden, 403);
    let added = has(2, "laptop", "POST", "/api/v1/users", AuditResult::Done, 200);
    assert_eq!(added.body.as_ref().unwrap()["name"], "bob");
    has(1, "laptop", "GET", "/api/v1/backup", AuditResult::Done, 200);
    has(1, "laptop", "POST", "/api/v1/users", AuditResult::Failed, 413);
    let own = has(1, "root", "POST", "/api/v1/admin/tokens/remove", AuditResult::Done, 200);
    assert!(own.from.uid == Some(0) && own.from.pid.is_some() && own.from.address.is_none());
    let made = has(1, "root", "COMMAND", "init", AuditResult::Done, 0);
    assert_eq!(made.body.as_ref().unwrap()["users"][0], "demo");
    let text = serde_json::to_string(&all).unwrap();
    for secret in ["0123456789abcdef0123456789abcdef", "Holdfast1!", "Secret-Bob-1", "hfadmin1-"] {
        assert!(!text.contains(secret), "{secret} is in the audit log");
    }
    assert!(!all.iter().any(|entry| entry.route == "/api/v1/audit" && entry.result == AuditResult::Done), "reading is not audited");
    let numbers: Vec<u64> = audit(demo, 0, &[]).iter().map(|entry| entry.number).collect();
    assert!(numbers.is_sorted() && numbers.windows(2).all(|two| two[0] < two[1]), "{numbers:?}");
    assert_eq!(audit(demo, 0, &["--limit", "1"]).len(), 1);
}

#[test]
fn the_socket_admits_no_other_user() {
    if !rustix::process::geteuid().is_root() {
        // Only root can run a process as another user.
        return;
    }
    let demo = Demo::start(1, "127.0.123");
    let program = demo.dir.path().join("holdfast");
    std::fs::copy(PROGRAM, &program).unwrap();
    let allow = |path: &Path, mode: u32| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    allow(demo.dir.path(), 0o711);
    let as_other = || {
        let mut command = Command::new(&program);
        command.args(["user", "list", "--config"]).arg(&demo.nodes[0].config).uid(OTHER_UID).gid(OTHER_UID).stdin(Stdio::null());
        command.output().unwrap()
    };
    let because = bad(&as_other(), NO_PERMISSION);
    assert!(because.contains("may not open"), "{because}");
    // With a socket open to all, the node still checks the credentials.
    let data = demo.data_dir(0);
    allow(&data, 0o711);
    allow(&data.join("admin.sock"), 0o666);
    let because = bad(&as_other(), NO_PERMISSION);
    assert!(because.contains("65534") && because.contains("viewer"), "{because}");
    let token = demo.token("guest", "viewer");
    allow(&token, 0o644);
    let mut command = Command::new(&program);
    command.args(["user", "list", "--token-file"]).arg(&token).arg("--config").arg(&demo.nodes[0].config);
    good(&command.uid(OTHER_UID).gid(OTHER_UID).stdin(Stdio::null()).output().unwrap());
    demo.stop();
}

/// The certificate of the admin port for this server name.
async fn certificate_for(admin: SocketAddr, authorities: &str, name: String) -> Result<CertificateDer<'static>, std::io::Error> {
    let mut roots = RootCertStore::empty();
    CertificateDer::pem_slice_iter(authorities.as_bytes()).for_each(|authority| roots.add(authority.unwrap()).unwrap());
    let config = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let stream = tokio::net::TcpStream::connect(admin).await?;
    let stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(name).unwrap(), stream).await?;
    Ok(stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_is_used_at_once() {
    let demo = Demo::start(1, "127.0.124");
    let pem = std::fs::read_to_string(demo.ca()).unwrap();
    let name = any_node_name(cluster_of_authority(&pem).unwrap());
    let before = certificate_for(demo.nodes[0].admin, &pem, name.clone()).await.unwrap();
    good(&demo.local(0, &["certificate", "rotate"]));
    let after = certificate_for(demo.nodes[0].admin, &pem, name.clone()).await.unwrap();
    assert_ne!(before, after);
    while serde_json::from_str::<Status>(&good(&demo.local(0, &["status", "--json"]))).unwrap().level < 2 {}
    // After the authority's renewal the old trust anchor is not enough.
    good(&demo.local(0, &["authority", "renew"]));
    assert!(certificate_for(demo.nodes[0].admin, &pem, name.clone()).await.is_err());
    let both = std::fs::read_to_string(demo.ca()).unwrap();
    certificate_for(demo.nodes[0].admin, &both, name).await.unwrap();
    demo.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_certificate_is_used_for_other_names() {
    let demo = Demo::start(1, "127.0.125");
    let pem = std::fs::read_to_string(demo.ca()).unwrap();
    let config = demo.nodes[0].config.clone();
    let dir = demo.stop();
    let other = ClusterCa::create().unwrap();
    let own = other.issue(9).unwrap();
    let (certificate, key) = (dir.path().join("own.pem"), dir.path().join("own.key"));
    std::fs::write(&certificate, &own.certificate_pem).unwrap();
    std::fs::write(&key, &own.key_pem).unwrap();
    let text = std::fs::read_to_string(&config).unwrap();
    let more = format!("\n[admin]\ncertificate = {certificate:?}\nkey = {key:?}\n");
    std::fs::write(&config, text + &more).unwrap();
    let mut demo = Command::new(PROGRAM);
    demo.args(["demo", "--json", "--exit-with-stdin", "--nodes", "1", "--dir"]).arg(dir.path());
    let mut demo = demo.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(demo.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
    let admin = format!("{}:{}", ready["nodes"][0]["address"].as_str().unwrap(), ready["nodes"][0]["admin_port"]).parse().unwrap();
    let node = any_node_name(cluster_of_authority(&pem).unwrap());
    assert!(certificate_for(admin, &pem, node).await.is_ok(), "commands ask for a node");
    let named = own.name();
    assert!(certificate_for(admin, &other.certificate_pem, named).await.is_ok(), "browsers ask for a host");
    assert!(certificate_for(admin, &pem, admin.ip().to_string()).await.is_err(), "or for an address");
    drop(demo.stdin.take());
    demo.wait().unwrap();
}

#[test]
fn secrets_on_a_command_line_are_refused_and_not_repeated() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("holdfast.toml");
    let at = ["--config", config.to_str().unwrap()];
    let address = |port: u16| format!("127.0.0.1:{port}");
    let text = format!(
        "name = \"n\"\ndata_dir = {:?}\n[listen]\nsmb = [{:?}]\nmapper = {:?}\nwitness = {:?}\nadmin = {:?}\nraft = {:?}\n",
        dir.path().join("data"),
        address(1),
        address(2),
        address(3),
        address(4),
        address(5)
    );
    std::fs::write(&config, text).unwrap();
    for arguments in [
        &["user", "add", "ann:Top-Secret-1"][..],
        &["user", "passwd", "ann:Top-Secret-1"],
        &["init", "--net-name", "X", "--user", "ann:Top-Secret-1"],
        &["join", "--token", "Top-Secret-1"],
    ] {
        let because = bad(&run(PROGRAM, arguments, &at, ""), USAGE);
        assert!(because.contains("-stdin") && because.contains("-file"), "{arguments:?}: {because}");
        assert!(!because.contains("Top-Secret-1"), "{arguments:?}: {because}");
    }
    let because = bad(&run(PROGRAM, &["demo", "--user", "ann:Top-Secret-1"], &[], ""), USAGE);
    assert!(because.contains("--users-file") && !because.contains("Top-Secret-1"), "{because}");
    // Standard input works.
    let made =
        run(PROGRAM, &["init", "--net-name", "X", "--user", "ann", "--user", "bob", "--password-stdin"], &at, "One-Secret\nTwo-Secret\n");
    good(&made);
    let log = std::fs::read_to_string(dir.path().join("data").join("audit").join("changes.log")).unwrap();
    let entry: Entry = serde_json::from_str(log.lines().next().unwrap()).unwrap();
    assert_eq!((entry.method.as_str(), entry.route.as_str()), ("COMMAND", "init"));
    assert!(!log.contains("-Secret"), "{log}");
    bad(&run(PROGRAM, &["join", "--token-stdin"], &at, "join1-00\n"), holdfast::failure::CANNOT_CREATE);
    let log = std::fs::read_to_string(dir.path().join("data").join("audit").join("changes.log")).unwrap();
    let entry: Entry = serde_json::from_str(log.lines().last().unwrap()).unwrap();
    assert_eq!((entry.route.as_str(), entry.result), ("join", AuditResult::Failed));
}
