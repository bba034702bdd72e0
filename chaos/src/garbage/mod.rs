//! `chaos garbage`: what the internet sends to open ports. A node must neither fall over, nor stop serving, nor grow without bound.
//!
//! An honest client works beside each attack; it must not be refused anything. `ports` throws bytes at every port, `attack` knows SMB.

mod attack;
mod honest;
mod node;
mod ports;
mod wire;

use std::time::Duration;

use anyhow::Context as _;

use crate::cluster::{Cluster, PLAIN_SHARE, is_running};
use attack::{Left, Target};
use honest::Honest;
pub use honest::Seen;
use node::Memory;
pub use ports::{GarbageReport, RESIDENT_KIB_MAX, garbage};

/// Metric of connections that are open.
const OPEN: &str = "smb_connections_open";
/// Idle sessions from one address.
const IDLE_PER_SOURCE: usize = 1000;
/// How long a node may take to be rid of connections that have gone.
const SETTLE_MAX: Duration = Duration::from_secs(20);
/// Descriptors that this process needs for the largest attack.
const DESCRIPTORS: u64 = 40_000;
/// Connections of the honest client: one that is asked, one with a file, one that is being made.
const HONEST_CONNECTIONS: u64 = 4;

/// How much of everything.
#[derive(Clone, Debug)]
pub struct Scale {
    /// Only these attacks; empty means every one.
    pub only: Vec<Attack>,
    /// How long the honest client works alone before, and beside what an attack leaves open.
    pub hold: Duration,
    /// Connections in all beyond the limit; None leaves that attack out.
    pub flood: Option<usize>,
    /// Connections that begin logons, and logons of each.
    pub half_open: (usize, usize),
    /// Who tries wrong passwords at one time, and how long.
    pub refused: (usize, Duration),
    /// Connections with messages that are too long.
    pub long: usize,
    /// Connections with messages that do not end.
    pub unfinished: usize,
    /// Connections that read no answers, and requests of each.
    pub unread: (usize, usize),
    /// Connections with spoilt logons.
    pub spoilt_logons: usize,
    /// Spoilt requests of a user.
    pub spoilt_requests: usize,
    /// Slow connections, and how long they take.
    pub slow: (usize, Duration),
    /// Idle sessions.
    pub idle: usize,
    /// How much a node may grow by one attack, KiB.
    pub growth_kib_max: u64,
    /// How long nearly every ECHO of the honest client may take (99 of 100) while an attack goes on; None asks for nothing.
    pub echo_max: Option<Duration>,
}

impl Scale {
    /// Seconds, to see that all of it works.
    #[must_use]
    pub fn quick() -> Self {
        Self {
            only: Vec::new(),
            hold: Duration::from_millis(300),
            flood: None,
            half_open: (120, 48),
            refused: (16, Duration::from_secs(1)),
            long: 64,
            unfinished: 1200,
            unread: (24, 200),
            spoilt_logons: 300,
            spoilt_requests: 600,
            slow: (200, Duration::from_millis(600)),
            idle: 200,
            growth_kib_max: 300 << 10,
            echo_max: None,
        }
    }

    /// As much as one machine can.
    #[must_use]
    pub fn full() -> Self {
        Self {
            only: Vec::new(),
            hold: Duration::from_secs(2),
            flood: Some(200),
            half_open: (1500, 64),
            refused: (64, Duration::from_secs(10)),
            long: 1000,
            unfinished: 2000,
            unread: (200, 400),
            spoilt_logons: 5000,
            spoilt_requests: 20_000,
            slow: (1500, Duration::from_secs(5)),
            idle: 10_000,
            growth_kib_max: 400 << 10,
            echo_max: Some(Duration::from_millis(500)),
        }
    }
}

/// What was seen of one attack.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its name.
    pub attack: &'static str,
    /// Connections that were made.
    pub connections: usize,
    /// Resident memory before, at most, and after the attacker has gone, KiB.
    pub memory_kib: (u64, u64, u64),
    /// The honest client, alone.
    pub calm: Seen,
    /// The honest client, meanwhile.
    pub during: Seen,
    /// What else is worth saying.
    pub note: String,
    /// Bounds that were exceeded.
    pub broken: Vec<String>,
}

impl Row {
    /// One line for people.
    #[must_use]
    pub fn line(&self) -> String {
        let (before, peak, after) = self.memory_kib;
        let [before, peak, after] = [before, peak, after].map(|kib| kib / 1024);
        let times = |seen: &Seen| {
            let [echo, write, logon] =
                [&seen.echo, &seen.write, &seen.logon].map(|s| format!("{:.1}/{:.1}", s.percentile(50), s.percentile(99)));
            format!("echo {echo} write {write} logon {logon}")
        };
        format!(
            "{:<22} {:>6} connections  RSS {before} -> {peak} -> {after} MiB  p50/p99 ms: {} | {}{}{}",
            self.attack,
            self.connections,
            times(&self.calm),
            times(&self.during),
            if self.note.is_empty() { String::new() } else { format!("  ({})", self.note) },
            self.broken.iter().map(|broken| format!("\n  BROKEN: {broken}")).collect::<String>(),
        )
    }
}

/// One node under attack.
struct Siege<'a> {
    cluster: &'a Cluster,
    index: usize,
    scale: &'a Scale,
    target: Target,
    memory: Memory,
    honest: Honest,
}

/// Attacks a node in every way, one after the other, and tells each row as soon as it is there.
///
/// # Errors
/// The node is gone, or the honest client cannot even begin.
pub async fn siege(cluster: &Cluster, index: usize, scale: &Scale, seed: u64, mut say: impl FnMut(&Row)) -> anyhow::Result<Vec<Row>> {
    raise_descriptors();
    let node = cluster.nodes.get(index).context("no such node")?;
    let siege = Siege {
        cluster,
        index,
        scale,
        target: Target { smb: node.smb, seed },
        memory: Memory::watch(node.pid),
        honest: Honest::start(cluster, index).await?,
    };
    let mut rows = Vec::new();
    for attack in Attack::EVERY {
        let is_wanted = scale.only.is_empty() || scale.only.contains(&attack);
        if !is_wanted || attack == Attack::Flood && scale.flood.is_none() {
            continue;
        }
        let row = siege.row(attack).await.with_context(|| format!("attack {}: {}", attack.name(), cluster.log()))?;
        say(&row);
        rows.push(row);
    }
    siege.honest.stop().await;
    Ok(rows)
}

/// Connections need descriptors on this side too; who may not have them attacks less.
fn raise_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let now = getrlimit(Resource::Nofile);
    let hard = now.maximum.unwrap_or(DESCRIPTORS);
    for limit in [hard.max(DESCRIPTORS), hard] {
        if setrlimit(Resource::Nofile, Rlimit { current: Some(limit), maximum: now.maximum.map(|_| limit) }).is_ok() {
            return;
        }
    }
}

/// What is done to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Attack {
    /// More connections of one address than the limit, which say nothing
    OfOneAddress,
    /// More connections than the limit in all; not in the short run
    Flood,
    /// Logons that are begun and not ended
    HalfOpen,
    /// Wrong passwords
    Refused,
    /// Messages of 8 MiB before a logon
    Long,
    /// Messages of 64 KiB whose last byte never comes
    Unfinished,
    /// Requests whose answers are not read
    Unread,
    /// Noise, and logons with wrong bytes
    SpoiltLogons,
    /// Signed requests of a user with wrong bytes
    SpoiltRequests,
    /// One byte after the other
    Slow,
    /// Many sessions that do nothing
    Idle,
}

impl Attack {
    /// Every attack, in the order in which they are made.
    pub const EVERY: [Self; 11] = [
        Self::OfOneAddress,
        Self::Flood,
        Self::HalfOpen,
        Self::Refused,
        Self::Long,
        Self::Unfinished,
        Self::Unread,
        Self::SpoiltLogons,
        Self::SpoiltRequests,
        Self::Slow,
        Self::Idle,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::OfOneAddress => "flood of one address",
            Self::Flood => "flood of connections",
            Self::HalfOpen => "half-open logons",
            Self::Refused => "wrong passwords",
            Self::Long => "8 MiB before a logon",
            Self::Unfinished => "unfinished messages",
            Self::Unread => "answers not read",
            Self::SpoiltLogons => "spoilt logons",
            Self::SpoiltRequests => "spoilt requests",
            Self::Slow => "byte after byte",
            Self::Idle => "idle sessions",
        }
    }

    /// The limit that must have refused something.
    const fn limit(self) -> Option<&'static str> {
        match self {
            Self::OfOneAddress => Some("connections_per_address"),
            Self::Flood => Some("connections"),
            Self::HalfOpen => Some("logons_under_way"),
            Self::Long => Some("message_bytes_before_logon"),
            Self::Unfinished => Some("bytes_before_logon"),
            Self::Refused | Self::Unread | Self::SpoiltLogons | Self::SpoiltRequests | Self::Slow | Self::Idle => None,
        }
    }
}

impl Siege<'_> {
    async fn row(&self, attack: Attack) -> anyhow::Result<Row> {
        let node = &self.cluster.nodes[self.index];
        let refused_before = match attack.limit() {
            Some(limit) => node::refusals(&node.socket, limit).await?,
            None => 0,
        };
        self.honest.take();
        tokio::time::sleep(self.scale.hold).await;
        let calm = self.honest.take();
        let before = self.memory.begin()?;
        let left = self.make(attack).await?;
        tokio::time::sleep(self.scale.hold).await;
        let (held, peak, open) = (self.memory.now()?, self.memory.peak_kib(), node::metric(&node.socket, OPEN).await?);
        let during = self.honest.take();
        let mut broken: Vec<String> = during.errors.iter().take(5).map(|error| format!("the honest client: {error}")).collect();
        let Left { made, wires, sessions } = left;
        let mut note = String::new();
        if attack == Attack::Idle {
            note = format!("{} bytes each", (held.saturating_sub(before) * 1024) / u64::try_from(made.max(1))?);
            let lost = sessions.iter().filter(|session| session.connection.is_closed()).count();
            if made < self.scale.idle || lost > 0 {
                broken.push(format!("{made} of {} idle sessions could be made, {lost} of them were lost", self.scale.idle));
            }
        }
        for session in &sessions {
            session.connection.sever();
        }
        drop((wires, sessions));
        if !node::falls_to(&node.socket, OPEN, HONEST_CONNECTIONS, SETTLE_MAX).await? {
            broken.push(format!("connections that have gone are still counted: {}", node::metric(&node.socket, OPEN).await?));
        }
        if let Some(limit) = attack.limit() {
            let refused = node::refusals(&node.socket, limit).await?.saturating_sub(refused_before);
            note = format!("{limit}: {refused} refused, {open} open");
            if refused == 0 {
                broken.push(format!("the limit {limit} was not reached"));
            }
            let most = node::limit(&node.socket, "connections").await?;
            if open > most {
                broken.push(format!("{open} connections are open, {most} may be"));
            }
        }
        let after = self.memory.now()?;
        self.judge(before, peak, &during, &mut broken);
        anyhow::ensure!(is_running(node.pid), "node {} is gone", node.id);
        Ok(Row { attack: attack.name(), connections: made, memory_kib: (before, peak, after), calm, during, note, broken })
    }

    fn judge(&self, before: u64, peak: u64, during: &Seen, broken: &mut Vec<String>) {
        let growth = peak.saturating_sub(before);
        if growth > self.scale.growth_kib_max {
            broken.push(format!("the node has grown by {} MiB, {} are allowed", growth / 1024, self.scale.growth_kib_max / 1024));
        }
        if during.echo.count() == 0 || during.logon.count() == 0 {
            broken.push("the honest client has not been answered once".to_owned());
        }
        if let Some(most) = self.scale.echo_max {
            let (took, most) = (during.echo.percentile(99), most.as_secs_f64() * 1000.0);
            if took > most {
                broken.push(format!("the honest client waits {took:.0} ms for an ECHO, {most:.0} are allowed"));
            }
        }
    }

    async fn make(&self, attack: Attack) -> anyhow::Result<Left> {
        let (target, scale) = (self.target, self.scale);
        let node = &self.cluster.nodes[self.index];
        let limit = async |name| anyhow::Ok(usize::try_from(node::limit(&node.socket, name).await?)?);
        Ok(match attack {
            Attack::OfOneAddress => attack::connections(target, limit("connections_per_address").await? + 100, None).await,
            Attack::Flood => {
                let (in_all, of_address) = (limit("connections").await?, limit("connections_per_address").await?);
                attack::connections(target, in_all + scale.flood.unwrap_or(0), Some(of_address)).await
            }
            Attack::HalfOpen => attack::half_open_logons(target, scale.half_open.0, scale.half_open.1).await,
            Attack::Refused => attack::refused_logons(target, scale.refused.0, scale.refused.1).await,
            Attack::Long => attack::long_messages(target, scale.long).await,
            Attack::Unfinished => attack::unfinished_messages(target, scale.unfinished).await,
            Attack::Unread => attack::unread_answers(target, scale.unread.0, scale.unread.1).await,
            Attack::SpoiltLogons => attack::spoilt_logons(target, scale.spoilt_logons).await,
            Attack::SpoiltRequests => {
                let (identity, server) = (self.cluster.identity(), &self.cluster.net_name);
                attack::spoilt_requests(target, identity, server, PLAIN_SHARE, scale.spoilt_requests).await?
            }
            Attack::Slow => attack::slow(target, scale.slow.0, scale.slow.1).await,
            Attack::Idle => attack::idle(target, &self.cluster.identity(), scale.idle, IDLE_PER_SOURCE).await,
        })
    }
}
