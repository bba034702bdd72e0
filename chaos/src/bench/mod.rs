//! `chaos bench`: what the store and the server do per second and how soon, in one run, beside a flush of the same disk and beside peers.
//!
//! `disk` is the yardstick, `commits` the store beside etcd, `opens` SMB beside another server, `trouble` opens while something happens to the
//! cluster, `handles` many handles of one client whose node dies, `wire` what nodes say to each other, `records` a store with many records,
//! `witness` many clients that wait for news. Peers are measured in turns with ours, never alone.

mod bare;
mod commits;
mod disk;
pub mod etcd;
mod handles;
pub mod helper;
pub mod opens;
pub mod printer;
mod records;
mod trouble;
mod wire;
mod witness;

use anyhow::Context as _;
use serde_json::json;

use crate::cluster::{CA_SHARE, Cluster, ClusterOptions, resident_kib};
pub use opens::Target;
pub use printer::Printer;

/// Members of the clusters of the store rows.
const MEMBERS: usize = 3;

/// What can be measured by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Section {
    /// A flush of this disk, and a commit of members that do nothing else
    Disk,
    /// Commits of the store beside etcd
    Commits,
    /// The death of the store's leader, beside etcd
    Deaths,
    /// Opens per second through SMB, and throughput
    Opens,
    /// Opens while the leader dies and while snapshots are taken
    Trouble,
    /// Many handles of one client whose node dies
    Handles,
    /// Messages and bytes between nodes per operation
    Wire,
    /// A store with many records
    Records,
    /// Many clients at one witness
    Witness,
}

impl Section {
    /// All, in their order.
    pub const EVERY: [Self; 9] =
        [Self::Disk, Self::Commits, Self::Deaths, Self::Opens, Self::Trouble, Self::Handles, Self::Wire, Self::Records, Self::Witness];

    /// Its name.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::Commits => "commits",
            Self::Deaths => "deaths",
            Self::Opens => "opens",
            Self::Trouble => "trouble",
            Self::Handles => "handles",
            Self::Wire => "wire",
            Self::Records => "records",
            Self::Witness => "witness",
        }
    }
}

/// How much is measured.
#[derive(Clone, Debug)]
pub struct Scale {
    /// Seconds of one round of a row.
    pub seconds: f64,
    /// Rounds of a row.
    pub rounds: usize,
    /// Deaths of our leader.
    pub deaths_ours: usize,
    /// Deaths of etcd's.
    pub deaths_etcd: usize,
    /// MiB written and read sequentially.
    pub mib: u64,
    /// Opens that are held while snapshots are taken.
    pub held: usize,
    /// Handles of the client whose node dies.
    pub handles: usize,
    /// Operations whose messages are counted.
    pub counted: usize,
    /// Open records of the store with many.
    pub records: u64,
    /// Clients at the witness, row by row; each row has those of the row before.
    pub listeners: &'static [usize],
}

impl Scale {
    /// For figures that are quoted.
    pub const FULL: Self = Self {
        seconds: 2.0,
        rounds: 3,
        deaths_ours: 20,
        deaths_etcd: 5,
        mib: 256,
        held: 4000,
        handles: 12_000,
        counted: 500,
        records: 1_000_000,
        listeners: &[1, 1_000, 10_000],
    };
    /// To see that all of it works.
    pub const QUICK: Self = Self {
        seconds: 1.0,
        rounds: 1,
        deaths_ours: 3,
        deaths_etcd: 1,
        mib: 64,
        held: 500,
        handles: 1_000,
        counted: 100,
        records: 20_000,
        listeners: &[1, 1_000],
    };
}

/// What to measure.
#[derive(Clone, Debug)]
pub struct BenchOptions {
    /// The cluster of the SMB rows.
    pub cluster: ClusterOptions,
    /// How much.
    pub scale: Scale,
    /// Another SMB server.
    pub peer: Option<Target>,
    /// Which sections.
    pub sections: Vec<Section>,
    /// How to print.
    pub printer: Printer,
}

/// Measures and prints each row as it is known; false when an acknowledged commit or a handle was lost.
pub async fn bench(options: &BenchOptions) -> anyhow::Result<bool> {
    let (printer, scale) = (options.printer, &options.scale);
    let dir = tempfile::Builder::new().prefix("holdfast-bench-").tempdir().context("no temporary directory")?;
    let wants = |section| options.sections.contains(&section);
    let mut good = true;
    if wants(Section::Disk) {
        disk_row(printer, dir.path())?;
    }
    if wants(Section::Commits) {
        commits::commits(printer, scale, dir.path()).await?;
    }
    if wants(Section::Deaths) {
        good &= commits::deaths(printer, scale, dir.path()).await?;
    }
    if wants(Section::Opens) || wants(Section::Wire) {
        let cluster = Cluster::start(&options.cluster).await?;
        if wants(Section::Opens) {
            open_rows(options, &cluster).await?;
        }
        if wants(Section::Wire) {
            wire::messages(printer, scale, &cluster).await?;
        }
        cluster.stop().await?;
    }
    if wants(Section::Trouble) {
        trouble::trouble(printer, scale, &options.cluster).await?;
    }
    if wants(Section::Handles) {
        good &= handles::handles(printer, scale, &options.cluster).await?;
    }
    if wants(Section::Records) {
        records::records(printer, scale).await?;
    }
    if wants(Section::Witness) {
        witness::witness(printer, scale, &options.cluster).await?;
    }
    Ok(good)
}

fn disk_row(printer: Printer, dir: &std::path::Path) -> anyhow::Result<()> {
    printer.section(
        Section::Disk,
        &["fdatasync after 4 KiB into a file that has its blocks already: the yardstick of every commit that must be on disk"],
    );
    if disk::is_in_memory(dir) {
        printer.absent(Section::Disk, "a disk", "the temporary folder lies in memory; set TMPDIR to a folder on a disk");
    }
    let flushes = disk::flushes(dir)?;
    let (p50, p99) = (flushes.percentile(50), flushes.percentile(99));
    printer.row(
        Section::Disk,
        &format!("one writer               p50 {p50:.3} ms   p99 {p99:.3} ms"),
        json!({"writers": 1, "p50_ms": p50, "p99_ms": p99}),
    );
    let flushes = disk::flushes_at_once(dir, MEMBERS)?;
    let (p50, p99) = (flushes.percentile(50), flushes.percentile(99));
    let text = format!(
        "{MEMBERS} writers at once        p50 {p50:.3} ms   p99 {p99:.3} ms   (as the {MEMBERS} members of a cluster on this disk)"
    );
    printer.row(Section::Disk, &text, json!({"writers": MEMBERS, "p50_ms": p50, "p99_ms": p99}));
    for (name, synced) in [("in memory", false), ("on disk", true)] {
        let times = bare::commits(dir, MEMBERS - 1, synced)?;
        let (p50, p99) = (times.percentile(50), times.percentile(99));
        let text = format!(
            "bare members, {name:<9}  p50 {p50:.3} ms   p99 {p99:.3} ms   (a lone commit of {MEMBERS} that only write, send, sync and answer)"
        );
        printer.row(Section::Disk, &text, json!({"bare_members": MEMBERS, "synced": synced, "p50_ms": p50, "p99_ms": p99}));
    }
    Ok(())
}

async fn open_rows(options: &BenchOptions, cluster: &Cluster) -> anyhow::Result<()> {
    let printer = options.printer;
    printer.section(
        Section::Opens,
        &[
            "CREATE and CLOSE of existing files, one after the other on each connection; ours: a cluster of three processes with its records on disk.",
            "\"leader\" and \"follower\" say at which node the connections are. Rounds alternate between the servers.",
        ],
    );
    for node in &cluster.nodes {
        let mib = resident_kib(node.pid).unwrap_or(0) / 1024;
        printer.row(Section::Opens, &format!("node {} idle: {mib} MiB", node.id), json!({"node": node.id, "idle_mib": mib}));
    }
    let leader = cluster.leader().await.context("no leader")?;
    let target = |name: &str, index: usize| Target {
        name: name.to_owned(),
        address: cluster.nodes[index % cluster.nodes.len()].smb,
        share: CA_SHARE.to_owned(),
        identity: cluster.identity(),
    };
    let mut targets = vec![target("ours leader", leader)];
    if cluster.nodes.len() > 1 {
        targets.push(target("ours follower", leader + 1));
    }
    match &options.peer {
        Some(peer) => targets.push(peer.clone()),
        None => printer.absent(Section::Opens, "peer", "none was named (--peer HOST:PORT --peer-share SHARE --peer-user NAME:PASSWORD)"),
    }
    opens::opens(printer, &options.scale, &targets).await
}
