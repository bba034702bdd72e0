//! etcd as the peer of the store: three members on this machine, and a load generator in a process of its own.
//!
//! The load generator needs the feature `etcd`; without it, and without the program `etcd`, its rows say so.

#[cfg(feature = "etcd")]
mod grpc;
#[cfg(feature = "etcd")]
pub mod load;
#[cfg(feature = "etcd")]
mod messages;

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio::process::{Child, Command};

use super::helper::{Death, Helper, Load};

/// Where Debian puts it, beside the search path.
const PROGRAM: &str = "etcd";
/// Members.
const MEMBERS: usize = 3;
/// How long the members may take to elect a leader.
const READY_LIMIT: Duration = Duration::from_secs(30);
/// Pause between two looks.
const LOOK_PAUSE: Duration = Duration::from_millis(100);
/// Load before the leader dies, and altogether.
const BEFORE_KILL: Duration = Duration::from_millis(1000);
const KILL_ROUND: Duration = Duration::from_millis(10_000);

/// Three members and their load generator; they end with this value.
#[derive(Debug)]
pub struct EtcdTrio {
    dir: tempfile::TempDir,
    program: PathBuf,
    members: Vec<Member>,
    load: Helper,
}

#[derive(Debug)]
struct Member {
    name: String,
    client: SocketAddr,
    peer: SocketAddr,
    process: Child,
}

/// Why etcd cannot be measured here, or its program.
pub fn find() -> Result<PathBuf, &'static str> {
    if !cfg!(feature = "etcd") {
        return Err("built without the feature etcd; `make bench` builds with it");
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(PROGRAM)).find(|program| program.is_file());
    found.ok_or("no program etcd; `make bench` installs Debian's etcd-server where apt-get works")
}

/// The version line of a program, for the header.
pub async fn version(program: &Path) -> String {
    let said = Command::new(program).arg("--version").stdin(Stdio::null()).output().await;
    said.ok().and_then(|said| String::from_utf8_lossy(&said.stdout).lines().next().map(str::to_owned)).unwrap_or_default()
}

impl EtcdTrio {
    /// Starts three members with their data below `dir`.
    pub async fn start(program: PathBuf, dir: &Path) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("etcd-").tempdir_in(dir).context("no folder for etcd")?;
        // Held until all are chosen, so that no port is chosen twice.
        let listeners = (0..2 * MEMBERS).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<Vec<_>, _>>()?;
        let ports = listeners.iter().map(TcpListener::local_addr).collect::<Result<Vec<_>, _>>()?;
        drop(listeners);
        let named: Vec<_> = ports.chunks_exact(2).enumerate().map(|(n, pair)| (format!("m{n}"), pair[0], pair[1])).collect();
        let cluster = named.iter().map(|(name, _, peer)| format!("{name}=http://{peer}")).collect::<Vec<_>>().join(",");
        let mut members = Vec::new();
        for (name, client, peer) in named {
            let process = member(&program, dir.path(), &name, client, peer, &cluster)?;
            members.push(Member { name, client, peer, process });
        }
        let own = std::env::current_exe().context("our own path is unknown")?;
        let load = Helper::start(&own, ["etcd-load"]).await?;
        let mut trio = Self { dir, program, members, load };
        trio.leader().await?;
        Ok(trio)
    }

    /// Waits for a leader, and gives its place.
    async fn leader(&mut self) -> anyhow::Result<usize> {
        let deadline = Instant::now() + READY_LIMIT;
        let all: Vec<usize> = (0..MEMBERS).collect();
        loop {
            let leader: Option<SocketAddr> = self.load.ask(&format!("leader {}", self.endpoints(&all))).await?;
            if let Some(place) = leader.and_then(|leader| self.members.iter().position(|member| member.client == leader)) {
                return Ok(place);
            }
            if Instant::now() > deadline {
                bail!("etcd has no leader: {}", self.log());
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }

    fn endpoints(&self, places: &[usize]) -> String {
        places.iter().map(|&place| self.members[place].client.to_string()).collect::<Vec<_>>().join(",")
    }

    /// The last lines that a member wrote.
    fn log(&self) -> String {
        let text = std::fs::read_to_string(self.dir.path().join("m0.log")).unwrap_or_default();
        text.lines().rev().take(3).collect::<Vec<_>>().join(" | ")
    }

    /// Puts a load on the leader, or on all members alike; a lone client that is not at the leader is at a follower.
    pub async fn load(&mut self, clients: usize, at_leader: bool, seconds: f64) -> anyhow::Result<Load> {
        let leader = self.leader().await?;
        let order = if at_leader { vec![leader] } else { vec![(leader + 1) % MEMBERS, (leader + 2) % MEMBERS, leader] };
        self.load.ask(&format!("load {clients} {seconds} {}", self.endpoints(&order))).await
    }

    /// Kills the leader under clients that are connected to the other two, starts it again, and counts what was acknowledged.
    pub async fn kill(&mut self, clients: usize) -> anyhow::Result<Death> {
        let leader = self.leader().await?;
        let others = self.endpoints(&[(leader + 1) % MEMBERS, (leader + 2) % MEMBERS]);
        let times = format!("{} {}", KILL_ROUND.as_millis(), BEFORE_KILL.as_millis());
        self.load.order(&format!("death {clients} {times} {others}")).await?;
        tokio::time::sleep(BEFORE_KILL).await;
        self.members[leader].process.kill().await.context("killing etcd's leader")?;
        let mut death: Death = self.load.answer().await?;
        self.restart(leader)?;
        let all: Vec<usize> = (0..MEMBERS).collect();
        let deadline = Instant::now() + READY_LIMIT;
        loop {
            let counted: Option<(u64, u64)> = self.load.ask(&format!("verify {}", self.endpoints(&all))).await?;
            match counted {
                Some((lost, doubled)) if lost == 0 || Instant::now() > deadline => {
                    (death.lost, death.doubled) = (lost, doubled);
                    return Ok(death);
                }
                None if Instant::now() > deadline => bail!("etcd cannot be asked what it has: {}", self.log()),
                // The restarted member is still catching up.
                _ => tokio::time::sleep(LOOK_PAUSE).await,
            }
        }
    }

    fn restart(&mut self, place: usize) -> anyhow::Result<()> {
        let cluster = self.members.iter().map(|m| format!("{}=http://{}", m.name, m.peer)).collect::<Vec<_>>().join(",");
        let (program, dir) = (self.program.clone(), self.dir.path().to_owned());
        let of = &mut self.members[place];
        of.process = member(&program, &dir, &of.name, of.client, of.peer, &cluster)?;
        Ok(())
    }
}

fn member(program: &Path, dir: &Path, name: &str, client: SocketAddr, peer: SocketAddr, cluster: &str) -> anyhow::Result<Child> {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(dir.join(format!("{name}.log")))?;
    let (client, peer) = (format!("http://{client}"), format!("http://{peer}"));
    let data = dir.join(name);
    let mut command = Command::new(program);
    // Its own variables would be taken for options.
    std::env::vars_os().filter(|(key, _)| key.to_string_lossy().starts_with("ETCD_")).for_each(|(key, _)| _ = command.env_remove(key));
    command.args(["--name", name, "--initial-cluster", cluster, "--initial-cluster-state", "new", "--logger", "zap"]);
    command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
    command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
    command.arg("--data-dir").arg(data).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).kill_on_drop(true);
    command.spawn().with_context(|| format!("cannot start {}", program.display()))
}
