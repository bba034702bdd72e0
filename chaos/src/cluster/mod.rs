//! A real cluster: the program's demo, its processes, and what can be done to them.
//!
//! Knows the command line and the admin API; knows nothing of SMB.

pub mod http;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::client::{ClientIdentity, Endpoint};

/// The user that every cluster of ours has.
pub const USER: &str = "chaos";
/// Their password.
pub const PASSWORD: &str = "Chaos-Password-1";
/// The continuously available share.
pub const CA_SHARE: &str = "share";
/// A plain share.
pub const PLAIN_SHARE: &str = "plain";

/// Makes nodes cut links when told to.
const FAULTS_VARIABLE: &str = "HOLDFAST_FAULTS";
/// How long a cluster may take to be ready.
const READY_LIMIT: Duration = Duration::from_secs(90);
/// How long it may take to stop.
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// How often a state is asked for.
const POLL: Duration = Duration::from_millis(50);

/// What to start.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// The program; None means the one beside ours.
    pub program: Option<PathBuf>,
    /// How many nodes.
    pub nodes: usize,
    /// First three numbers of the loopback addresses.
    pub loopback: Option<String>,
    /// `NAME:PASSWORD` of further users; they reach the program in a file.
    pub users: Vec<String>,
    /// `NAME[=DIR][,ca][,scaleout]` of further shares.
    pub shares: Vec<String>,
    /// Ports 445 and 135, for clients that know no others. Needs addresses and rights of its own.
    pub well_known_ports: bool,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self { program: None, nodes: 3, loopback: None, users: Vec::new(), shares: Vec::new(), well_known_ports: false }
    }
}

#[derive(Deserialize)]
struct Announcement {
    net_name: String,
    nodes: Vec<AnnouncedNode>,
}

#[derive(Deserialize)]
struct AnnouncedNode {
    id: u64,
    address: IpAddr,
    smb_port: u16,
    mapper_port: u16,
    witness_port: u16,
    admin_port: u16,
    pid: i32,
}

/// One node of a running cluster.
#[derive(Debug)]
pub struct Node {
    /// Its id.
    pub id: u64,
    /// Where it serves SMB.
    pub smb: SocketAddr,
    /// Its endpoint mapper.
    pub mapper: SocketAddr,
    /// Its witness.
    pub witness: SocketAddr,
    /// Its admin port, which speaks TLS.
    pub admin: SocketAddr,
    /// Its admin socket, where this process is an operator.
    pub socket: PathBuf,
    /// Its process.
    pub pid: i32,
    /// Set when the process is a child of ours, because we restarted it.
    restarted: Option<Child>,
}

/// A running cluster; it ends with this value.
pub struct Cluster {
    /// The name of the cluster.
    pub net_name: String,
    /// The nodes, by index.
    pub nodes: Vec<Node>,
    program: PathBuf,
    directory: tempfile::TempDir,
    demo: Child,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("net_name", &self.net_name).field("nodes", &self.nodes).finish_non_exhaustive()
    }
}

/// Finds the program beside our own executable (tests live one folder deeper).
fn program_beside_us() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("our own path is unknown")?;
    own.ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join("holdfast"))
        .find(|p| p.is_file())
        .with_context(|| format!("no holdfast beside {}: build it (cargo build -p holdfast), or name it with --holdfast", own.display()))
}

impl Cluster {
    /// Starts a cluster, on ephemeral ports unless other ones are chosen, and waits until it is ready.
    pub async fn start(options: &ClusterOptions) -> anyhow::Result<Self> {
        let program = match &options.program {
            Some(program) => program.clone(),
            None => program_beside_us()?,
        };
        let directory = tempfile::Builder::new().prefix("holdfast-chaos-").tempdir().context("no temporary directory")?;
        let mut command = Command::new(&program);
        command.env(FAULTS_VARIABLE, "links");
        // The pipe to it ends with this process, whatever ends it.
        command.arg("demo").arg("--json").arg("--exit-with-stdin");
        command.arg(if options.well_known_ports { "--well-known-ports" } else { "--ephemeral-ports" });
        command.arg("--dir").arg(directory.path().join("demo"));
        command.arg("--nodes").arg(options.nodes.to_string());
        if let Some(loopback) = &options.loopback {
            command.arg("--loopback").arg(loopback);
        }
        command.arg("--users-file").arg(write_users(directory.path(), &options.users)?);
        command.arg("--share").arg(format!("{CA_SHARE},ca")).arg("--share").arg(PLAIN_SHARE);
        options.shares.iter().for_each(|s| _ = command.arg("--share").arg(s));
        let log = std::fs::File::create(directory.path().join("demo.log")).context("no log file")?;
        let mut demo = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let mut lines = BufReader::new(demo.stdout.take().context("no output of the demo")?).lines();
        let line = tokio::time::timeout(READY_LIMIT, lines.next_line()).await.context("the cluster does not get ready")??;
        let Some(line) = line else {
            let log = std::fs::read_to_string(directory.path().join("demo.log")).unwrap_or_default();
            bail!("the demo ended: {}", log.trim());
        };
        // What the demo says later is nobody's business, but the pipe must not fill up.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let announced: Announcement = serde_json::from_str(&line).with_context(|| format!("announcement of the demo: {line}"))?;
        let demo_dir = directory.path().join("demo");
        let nodes = announced.nodes.into_iter().map(|node| Node::new(node, &demo_dir)).collect();
        let cluster = Self { net_name: announced.net_name, nodes, program, directory, demo };
        cluster.wait_ready().await?;
        Ok(cluster)
    }

    /// Where the demo keeps its things.
    #[must_use]
    pub fn directory(&self) -> PathBuf {
        self.directory.path().join("demo")
    }

    /// The end of the demo's log, for error messages.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("demo.log")).unwrap_or_default()
    }

    /// The nodes as a client knows them.
    #[must_use]
    pub fn endpoints(&self) -> Vec<Endpoint> {
        self.nodes.iter().map(|n| Endpoint { id: n.id, smb: n.smb, mapper: Some(n.mapper) }).collect()
    }

    /// A client machine with our user.
    #[must_use]
    pub fn identity(&self) -> ClientIdentity {
        ClientIdentity::new(USER, PASSWORD)
    }

    /// Sends a signal to a node's process.
    pub fn signal(&self, index: usize, signal: Signal) -> anyhow::Result<()> {
        let node = self.nodes.get(index).context("no such node")?;
        let pid = Pid::from_raw(node.pid).context("no such process")?;
        kill_process(pid, signal).with_context(|| format!("cannot signal node {} (process {})", node.id, node.pid))
    }

    /// Cuts a node off from the other nodes, in both directions; clients reach it as before.
    pub async fn cut_off(&self, index: usize) -> anyhow::Result<()> {
        let own = self.nodes.get(index).context("no such node")?.id;
        let others = self.nodes.iter().map(|node| node.id).filter(|id| *id != own);
        self.cut(&others.flat_map(|other| [(own, other), (other, own)]).collect::<Vec<_>>()).await
    }

    /// Mends all links.
    pub async fn mend(&self) -> anyhow::Result<()> {
        self.cut(&[]).await
    }

    async fn cut(&self, links: &[(u64, u64)]) -> anyhow::Result<()> {
        let body = serde_json::json!({ "cut": links }).to_string();
        for node in &self.nodes {
            let (status, answer) = http::post(&node.socket, "/api/v1/faults/links", &body).await?;
            anyhow::ensure!(status == 200, "node {} cuts no links: {}", node.id, String::from_utf8_lossy(&answer));
        }
        Ok(())
    }

    /// What a node's admin API shows to an operator.
    pub async fn look(&self, index: usize, path: &str) -> anyhow::Result<serde_json::Value> {
        let node = self.nodes.get(index).context("no such node")?;
        let (status, body) = http::get_patiently(&node.socket, path).await?;
        anyhow::ensure!(status == 200, "{path} at node {}: {}", node.id, String::from_utf8_lossy(&body));
        Ok(serde_json::from_slice(&body)?)
    }

    /// Has a node's admin API do something; the answer whatever its status.
    pub async fn order(&self, index: usize, path: &str, body: &serde_json::Value) -> anyhow::Result<(u16, serde_json::Value)> {
        let node = self.nodes.get(index).context("no such node")?;
        let (status, answer) = http::post_patiently(&node.socket, path, &body.to_string()).await?;
        Ok((status, serde_json::from_slice(&answer)?))
    }

    /// Runs an operator's command about a node; its exit code and what it printed.
    pub async fn command(&self, index: usize, arguments: &[&str]) -> anyhow::Result<(Option<i32>, String)> {
        let config = self.config_file(index)?;
        let output = Command::new(&self.program).args(arguments).arg("--config").arg(config).stdin(Stdio::null()).output().await?;
        let text = [output.stdout, output.stderr].concat();
        Ok((output.status.code(), String::from_utf8_lossy(&text).into_owned()))
    }

    /// A node's configuration file.
    pub fn config_file(&self, index: usize) -> anyhow::Result<PathBuf> {
        let node = self.nodes.get(index).context("no such node")?;
        Ok(self.directory().join(format!("node-{}", node.id)).join("holdfast.toml"))
    }

    /// Kills a node; it gets no chance to say anything.
    pub fn kill(&self, index: usize) -> anyhow::Result<()> {
        self.signal(index, Signal::KILL)
    }

    /// Waits until the process of a killed node is gone.
    pub async fn wait_gone(&mut self, index: usize) -> anyhow::Result<()> {
        let node = self.nodes.get_mut(index).context("no such node")?;
        if let Some(mut child) = node.restarted.take() {
            child.wait().await.context("waiting for a killed node")?;
        }
        let deadline = Instant::now() + STOP_LIMIT;
        while is_running(node.pid) {
            if Instant::now() > deadline {
                bail!("node {} does not end", node.id);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// Starts a killed node again, on its old data and ports.
    pub async fn restart(&mut self, index: usize) -> anyhow::Result<()> {
        self.wait_gone(index).await?;
        let (program, directory) = (self.program.clone(), self.directory());
        let node = self.nodes.get_mut(index).context("no such node")?;
        let folder = directory.join(format!("node-{}", node.id));
        let log = std::fs::OpenOptions::new().create(true).append(true).open(folder.join("restarted.log")).context("no log file")?;
        let child = Command::new(program)
            .env(FAULTS_VARIABLE, "links")
            .arg("serve")
            .arg("--config")
            .arg(folder.join("holdfast.toml"))
            .arg("--exit-with-stdin")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start node {} again", node.id))?;
        node.pid = child.id().and_then(|p| i32::try_from(p).ok()).context("node ended at once")?;
        node.restarted = Some(child);
        Ok(())
    }

    /// The leader's index, as any node tells it; None during an election.
    pub async fn leader(&self) -> Option<usize> {
        for node in &self.nodes {
            let Ok((200, body)) = http::get(&node.socket, "/api/v1/status").await else { continue };
            let Ok(status) = serde_json::from_slice::<serde_json::Value>(&body) else { continue };
            if let Some(id) = leader_in(&status) {
                return self.nodes.iter().position(|n| n.id == id);
            }
        }
        None
    }

    /// Waits until every node serves and says that every node is up.
    pub async fn wait_ready(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + READY_LIMIT;
        loop {
            let mut ready = 0;
            for node in &self.nodes {
                let Ok((200, body)) = http::get(&node.socket, "/api/v1/status").await else { break };
                let status: serde_json::Value = serde_json::from_slice(&body).context("status of a node")?;
                ready += usize::from(all_up(&status, self.nodes.len()));
            }
            if ready == self.nodes.len() {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("{ready} of {} nodes are ready after {} s", self.nodes.len(), READY_LIMIT.as_secs());
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Lets go of the demo as the death of this process would, and waits until it has stopped its nodes.
    pub async fn abandon(mut self) -> anyhow::Result<()> {
        drop(self.demo.stdin.take());
        let status = tokio::time::timeout(STOP_LIMIT, self.demo.wait()).await.context("the demo goes on without its starter")??;
        anyhow::ensure!(status.success(), "the demo ended with {status}: {}", self.log());
        let left: Vec<u64> = self.nodes.iter().filter(|node| is_running(node.pid)).map(|node| node.id).collect();
        anyhow::ensure!(left.is_empty(), "nodes {left:?} go on without the demo");
        Ok(())
    }

    /// Stops everything in order.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        for node in &mut self.nodes {
            if let Some(child) = &mut node.restarted {
                _ = child.id().and_then(|p| Pid::from_raw(i32::try_from(p).ok()?)).map(|p| kill_process(p, Signal::TERM));
                if tokio::time::timeout(STOP_LIMIT, child.wait()).await.is_err() {
                    child.kill().await.context("killing a node")?;
                }
            }
        }
        if let Some(pid) = self.demo.id().and_then(|p| Pid::from_raw(i32::try_from(p).ok()?)) {
            kill_process(pid, Signal::TERM).context("stopping the demo")?;
        }
        if tokio::time::timeout(STOP_LIMIT, self.demo.wait()).await.is_err() {
            self.demo.kill().await.context("killing the demo")?;
            bail!("the demo did not stop when told to");
        }
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // The demo's children end with it; what is left of them (a stopped process, say) is ended here, before its directory goes.
        let demo = self.demo.id().and_then(|p| Pid::from_raw(i32::try_from(p).ok()?));
        for pid in demo.into_iter().chain(self.nodes.iter().filter(|n| n.restarted.is_some()).filter_map(|n| Pid::from_raw(n.pid))) {
            // It may have ended by itself.
            _ = kill_process(pid, Signal::TERM);
        }
        let deadline = Instant::now() + Duration::from_secs(3);
        while demo.is_some() && matches!(self.demo.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Passwords do not belong on a command line.
fn write_users(directory: &Path, more: &[String]) -> anyhow::Result<PathBuf> {
    let lines: String = std::iter::once(&format!("{USER}:{PASSWORD}")).chain(more).map(|user| format!("{user}\n")).collect();
    write_secret(directory, "users", &lines)
}

/// Writes a file that only its owner can read, as the program wants it of files with passwords.
///
/// # Errors
/// It exists, or cannot be made.
pub fn write_secret(directory: &Path, name: &str, text: &str) -> anyhow::Result<PathBuf> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let path = directory.join(name);
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
    file.and_then(|mut file| std::io::Write::write_all(&mut file, text.as_bytes()))
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

impl Node {
    fn new(n: AnnouncedNode, demo: &Path) -> Self {
        let at = |port| SocketAddr::new(n.address, port);
        Self {
            socket: demo.join(format!("node-{}", n.id)).join("data").join("admin.sock"),
            id: n.id,
            smb: at(n.smb_port),
            mapper: at(n.mapper_port),
            witness: at(n.witness_port),
            admin: at(n.admin_port),
            pid: n.pid,
            restarted: None,
        }
    }
}

/// A process that is neither gone nor a corpse nobody has buried yet.
#[must_use]
pub fn is_running(pid: i32) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).unwrap_or_default();
    // The state follows the name, which is in parentheses and may contain anything.
    stat.rsplit(')').next().and_then(|rest| rest.trim_start().chars().next()).is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

/// Resident memory of a process in KiB.
#[must_use]
pub fn resident_kib(pid: i32) -> Option<u64> {
    let status = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status")).ok()?;
    status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?.split_whitespace().next()?.parse().ok()
}

/// A node serves, and sees `count` nodes that are up, and a leader.
fn all_up(status: &serde_json::Value, count: usize) -> bool {
    let up = |n: &&serde_json::Value| n.get("state").is_some_and(|s| s == "up");
    let nodes = status.get("nodes").and_then(serde_json::Value::as_array);
    status.get("serving") == Some(&serde_json::Value::Bool(true))
        && leader_in(status).is_some()
        && nodes.is_some_and(|n| n.iter().filter(up).count() == count)
}

fn leader_in(status: &serde_json::Value) -> Option<u64> {
    ["leader_id", "leader"].iter().find_map(|key| status.get(key).and_then(serde_json::Value::as_u64)).or_else(|| {
        let inner = ["raft", "cluster"].iter().find_map(|key| status.get(key))?;
        leader_in(inner)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_leader_is_found_where_the_status_has_it() {
        assert_eq!(leader_in(&serde_json::json!({"leader_id": 2})), Some(2));
        assert_eq!(leader_in(&serde_json::json!({"cluster": {"leader": 3}})), Some(3));
        assert_eq!(leader_in(&serde_json::json!({"leader_id": null})), None);
    }

    #[test]
    fn a_cluster_is_ready_when_all_are_up_and_one_leads() {
        let good = serde_json::json!({"serving": true, "leader": 1, "nodes": [{"state": "up"}, {"state": "up"}]});
        assert!(all_up(&good, 2) && !all_up(&good, 3));
        let bad = serde_json::json!({"serving": true, "leader": 1, "nodes": [{"state": "up"}, {"state": "down"}]});
        assert!(!all_up(&bad, 2));
    }

    #[test]
    fn our_own_process_runs_and_has_memory() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(is_running(own) && resident_kib(own).is_some_and(|kib| kib > 100));
        assert!(!is_running(i32::MAX));
    }
}
