//! How long opens take while something happens to the cluster: while snapshots are taken, and while the leader dies.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::json;
use smb_types::NtStatus;
use tokio::task::JoinSet;

use super::opens::{OpenClass, Target, remove, tree};
use super::printer::Printer;
use super::{Scale, Section};
use crate::client::{Tree, Try};
use crate::cluster::{CA_SHARE, Cluster, ClusterOptions, http};
use crate::stats::Samples;

/// Connections that open while snapshots are taken, and while the leader dies.
const SNAPSHOT_CONNECTIONS: usize = 4;
const DEATH_CONNECTIONS: usize = 16;
/// Pause between two snapshots of all nodes.
const SNAPSHOT_PAUSE: Duration = Duration::from_millis(250);
/// Time before and after a death that belongs to a round.
const BEFORE_KILL: Duration = Duration::from_millis(1000);
const AFTER_KILL: Duration = Duration::from_millis(1500);
/// Pause before an open that was told to try again.
const RETRY_PAUSE: Duration = Duration::from_millis(10);
/// Sessions that hold opens.
const HOLDERS: usize = 4;
/// The promises, ms.
const DEATH_P99_MS: f64 = 1000.0;
const SNAPSHOT_MORE_MS: f64 = 5.0;

/// Measures and prints both.
pub(crate) async fn trouble(printer: Printer, scale: &Scale, options: &ClusterOptions) -> anyhow::Result<()> {
    let notes = [
        "persistent opens on three nodes. Snapshots: 4 connections at the leader, all nodes take a snapshot every quarter of a second while many",
        "opens are held. Death: 16 connections at the two nodes that live on; an open that is told to try again counts from its first try.",
    ];
    printer.section(Section::Trouble, &notes);
    let mut cluster = Cluster::start(options).await?;
    snapshots(printer, scale, &cluster).await?;
    deaths(printer, scale.rounds.max(2), &mut cluster).await?;
    cluster.stop().await
}

pub(super) fn target(cluster: &Cluster, index: usize) -> Target {
    let address = cluster.nodes[index % cluster.nodes.len()].smb;
    Target { name: String::new(), address, share: CA_SHARE.to_owned(), identity: cluster.identity() }
}

async fn snapshots(printer: Printer, scale: &Scale, cluster: &Cluster) -> anyhow::Result<()> {
    let leader = cluster.leader().await.context("no leader")?;
    let target = target(cluster, leader);
    let holders = hold(&target, scale.held).await?;
    let normal = openers(std::slice::from_ref(&target), SNAPSHOT_CONNECTIONS, Duration::from_secs_f64(scale.seconds * 2.0)).await?;
    let taking = Arc::new(AtomicBool::new(true));
    let sockets = cluster.nodes.iter().map(|node| node.socket.clone()).collect();
    let snapshots = tokio::spawn(take_snapshots(sockets, taking.clone()));
    let busy = openers(&[target], SNAPSHOT_CONNECTIONS, Duration::from_secs_f64(scale.seconds * 2.0)).await?;
    taking.store(false, Ordering::Relaxed);
    let taken = snapshots.await.context("the task that takes snapshots")??;
    drop(holders);
    let (normal, busy) = (samples(&normal), samples(&busy));
    let (p99, busy_p99) = (normal.percentile(99), busy.percentile(99));
    let good = busy_p99 - p99 <= SNAPSHOT_MORE_MS;
    let text = format!(
        "opens with {} held: p99 {p99:.2} ms; while {taken} snapshots are taken {busy_p99:.2} ms, longest {:.2} ms (goal: at most {SNAPSHOT_MORE_MS} ms more: {})",
        scale.held,
        busy.max(),
        if good { "met" } else { "NOT met" }
    );
    let values = json!({"held": scale.held, "p99_ms": p99, "snapshots": taken, "snapshot_p99_ms": busy_p99, "snapshot_max_ms": busy.max(), "good": good});
    printer.row(Section::Trouble, &text, values);
    Ok(())
}

/// Opens files and keeps them open until what is given back is dropped.
async fn hold(target: &Target, count: usize) -> anyhow::Result<Vec<Tree>> {
    let mut tasks = JoinSet::new();
    for holder in 0..HOLDERS {
        let target = target.clone();
        tasks.spawn(async move {
            let tree = tree(&target).await?;
            for n in 0..count / HOLDERS {
                tree.create(&OpenClass::Persistent.request(&format!("held-{holder}-{n}.bin")), Try::default()).await?;
            }
            anyhow::Ok(tree)
        });
    }
    let mut trees = Vec::new();
    while let Some(done) = tasks.join_next().await {
        trees.push(done.context("a holder of opens")??);
    }
    Ok(trees)
}

async fn take_snapshots(sockets: Vec<PathBuf>, taking: Arc<AtomicBool>) -> anyhow::Result<usize> {
    let mut taken = 0;
    while taking.load(Ordering::Relaxed) {
        for socket in &sockets {
            let (status, body) = http::post(socket, "/api/v1/snapshot", "").await?;
            anyhow::ensure!(status == 200, "a snapshot was refused: {}", String::from_utf8_lossy(&body));
            taken += 1;
        }
        tokio::time::sleep(SNAPSHOT_PAUSE).await;
    }
    Ok(taken)
}

/// One open: when it was first tried, and how long until it was granted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Opened {
    pub(super) from: Instant,
    pub(super) took: Duration,
}

pub(super) fn samples(opened: &[Opened]) -> Samples {
    Samples::new(opened.iter().map(|open| open.took.as_secs_f64() * 1000.0).collect())
}

/// Opens and closes on connections that are spread over the targets.
async fn openers(targets: &[Target], connections: usize, time: Duration) -> anyhow::Result<Vec<Opened>> {
    let mut tasks = JoinSet::new();
    let until = Instant::now() + time;
    for connection in 0..connections {
        let target = targets[connection % targets.len()].clone();
        tasks.spawn(async move {
            let tree = tree(&target).await?;
            let name = format!("trouble-{connection}.bin");
            let mut opened = Vec::new();
            while Instant::now() < until {
                opened.push(open_once(&tree, &name).await?);
            }
            remove(&tree, &name).await?;
            tree.session.log_off().await?;
            anyhow::Ok(opened)
        });
    }
    let mut all = Vec::new();
    while let Some(done) = tasks.join_next().await {
        all.extend(done.context("a connection of the bench")??);
    }
    Ok(all)
}

pub(super) async fn open_once(tree: &Tree, name: &str) -> anyhow::Result<Opened> {
    let request = OpenClass::Persistent.request(name);
    let from = Instant::now();
    let mut again = Try::default();
    loop {
        match tree.create(&request, again).await {
            Ok(opened) => {
                let took = from.elapsed();
                tree.close(opened.file_id, Try::default()).await?;
                return Ok(Opened { from, took });
            }
            Err(error) if error.status() == Some(NtStatus::FILE_NOT_AVAILABLE) => {
                again.replay = true;
                tokio::time::sleep(RETRY_PAUSE).await;
            }
            Err(error) => return Err(error).context("an open while something happens"),
        }
    }
}

async fn deaths(printer: Printer, rounds: usize, cluster: &mut Cluster) -> anyhow::Result<()> {
    let mut all = Vec::new();
    for round in 0..rounds {
        cluster.wait_ready().await?;
        let leader = cluster.leader().await.context("no leader")?;
        let targets = [target(cluster, leader + 1), target(cluster, leader + 2)];
        let opening = tokio::spawn(async move { openers(&targets, DEATH_CONNECTIONS, BEFORE_KILL + AFTER_KILL).await });
        tokio::time::sleep(BEFORE_KILL).await;
        cluster.kill(leader)?;
        let killed = Instant::now();
        let opened = opening.await.context("the connections")??;
        cluster.restart(leader).await?;
        // Those that were under way when it died, or began while nobody led.
        let met: Vec<Opened> =
            opened.iter().copied().filter(|open| open.from + open.took >= killed && open.from <= killed + AFTER_KILL).collect();
        let times = samples(&met);
        let text = format!(
            "death {:>2}: {:>6} opens in the {:.1} s after it: p50 {:.2} ms, p99 {:.2} ms, longest {:.0} ms",
            round + 1,
            met.len(),
            AFTER_KILL.as_secs_f64(),
            times.percentile(50),
            times.percentile(99),
            times.max()
        );
        let values = json!({"death": round + 1, "opens": met.len(), "p50_ms": times.percentile(50), "p99_ms": times.percentile(99), "max_ms": times.max()});
        printer.row(Section::Trouble, &text, values);
        all.extend(met);
    }
    cluster.wait_ready().await?;
    let times = samples(&all);
    let good = times.percentile(99) <= DEATH_P99_MS;
    let word = if good { "met" } else { "NOT met" };
    let text = format!(
        "opens while the leader dies: p99 {:.1} ms, longest {:.0} ms (goal: p99 at most {DEATH_P99_MS} ms: {word})",
        times.percentile(99),
        times.max()
    );
    printer.row(Section::Trouble, &text, json!({"p99_ms": times.percentile(99), "max_ms": times.max(), "good": good}));
    Ok(())
}
