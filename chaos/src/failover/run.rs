//! One run: writers write, a node dies, everybody goes on; then the evidence is looked at.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio_util::sync::CancellationToken;

use super::Variant;
use super::intruder::{History, Intruder};
use super::report::RunReport;
use super::writer::{Writer, offset, region};
use crate::checker::blocks::{self, BLOCK_BYTES};
use crate::checker::intruder::{self, Away};
use crate::client::{Event, Mount, MountOptions, OpenPlan, PersistentFile, RetryPolicy, Timeline, Tree, Try};
use crate::cluster::{CA_SHARE, Cluster};
use crate::rng::Rng;

/// How long a writer may need to go on after the kill.
const RESUME_LIMIT: Duration = Duration::from_secs(60);
/// Blocks that must be acknowledged before the kill, so that there is something to lose.
const WARM_UP_BLOCKS: usize = 8;
/// Blocks that must be acknowledged after the reclaim.
const AFTER_BLOCKS: usize = 16;
/// How long the intruder goes on after the reclaim.
const AFTER_RECLAIM: Duration = Duration::from_millis(500);
/// Blocks read at once when everything is checked.
const CHECK_BLOCKS: u64 = 16;

/// What a run is made of.
#[derive(Clone, Copy, Debug)]
pub struct RunPlan {
    /// Which nodes die.
    pub variant: Variant,
    /// Decides everything random.
    pub seed: u64,
    /// The pace of further tries.
    pub retry: RetryPolicy,
    /// Register with the witness.
    pub witness: bool,
}

/// Where everybody sits.
struct Roles {
    /// Index of the node that each writer starts on.
    writers: Vec<usize>,
    /// Indexes of the nodes that are killed.
    killed: Vec<usize>,
    /// Indexes of the nodes that the intruder may use.
    intruder: Vec<usize>,
}

async fn roles(cluster: &Cluster, variant: Variant, rng: &mut Rng) -> anyhow::Result<Roles> {
    let leader = cluster.leader().await.context("the cluster has no leader")?;
    let count = cluster.nodes.len();
    let others: Vec<usize> = (0..count).filter(|n| *n != leader).collect();
    if others.len() < 2 {
        bail!("a failover needs three nodes");
    }
    let pick = usize::try_from(rng.next() % others.len() as u64).unwrap_or(0);
    let follower = others[pick];
    let third = others[(pick + 1) % others.len()];
    let victim = match variant {
        Variant::Leader | Variant::All => leader,
        Variant::Follower => follower,
        Variant::TwoWriters => [leader, follower][usize::try_from(rng.next() % 2).unwrap_or(0)],
    };
    let writers = match variant {
        Variant::TwoWriters => vec![victim, if victim == leader { follower } else { leader }],
        Variant::Leader | Variant::Follower | Variant::All => vec![victim],
    };
    let killed = if variant == Variant::All { (0..count).collect() } else { vec![victim] };
    let intruder = match variant {
        Variant::All => (0..count).collect(),
        Variant::TwoWriters => vec![third],
        Variant::Leader | Variant::Follower => (0..count).filter(|n| *n != victim).collect(),
    };
    Ok(Roles { writers, killed, intruder })
}

/// Carries out one run; the cluster is whole again afterwards.
pub async fn run(cluster: &mut Cluster, plan: RunPlan) -> anyhow::Result<RunReport> {
    let mut rng = Rng::new(plan.seed);
    let roles = roles(cluster, plan.variant, &mut rng).await?;
    let timeline = Timeline::default();
    let epoch = Instant::now();
    let path = format!("failover-{:016x}.bin", plan.seed);
    let mut writers = Vec::new();
    for (number, node) in (0..).zip(&roles.writers) {
        let options = MountOptions { retry: plan.retry, witness: plan.witness, ..mount_options(cluster) };
        let mount = Mount::connect(options, *node, timeline.named(&format!("writer {number}"))).await?;
        writers.push(Writer::open(&mount, &path, plan.seed, number).await?);
    }
    let stop = CancellationToken::new();
    let tasks: Vec<_> = writers.iter().map(|w| tokio::spawn(Arc::clone(w).run(stop.clone()))).collect();
    let (history, intruder_stop) = (History::default(), CancellationToken::new());
    let intruder = Intruder {
        nodes: roles.intruder.iter().filter_map(|n| cluster.endpoints().get(*n).copied()).collect(),
        share: CA_SHARE.to_owned(),
        path: path.clone(),
        victim: 0,
        identity: cluster.identity(),
        epoch,
    };
    let intruder = tokio::spawn(intruder.run(history.clone(), intruder_stop.clone()));

    // Before: everybody is at work, and the intruder has heard its no.
    wait(RESUME_LIMIT, || writers.iter().all(|w| w.count() >= WARM_UP_BLOCKS || !w.errors().is_empty()) && history.records().len() >= 6)
        .await
        .context("the writers did not get going")?;
    tokio::time::sleep(Duration::from_millis(rng.between(100, 1000))).await;

    // The kill.
    let generations: Vec<u64> = writers.iter().map(|w| w.file.mount().current().map_or(0, |c| c.generation)).collect();
    let killed_at = Instant::now();
    for node in &roles.killed {
        cluster.kill(*node)?;
    }
    for node in &roles.killed {
        timeline.note_at(killed_at, Event::Kill { node: cluster.nodes[*node].id });
    }
    if plan.variant == Variant::All {
        for node in &roles.killed {
            cluster.restart(*node).await?;
            timeline.note(Event::Restart { node: cluster.nodes[*node].id });
        }
    }

    // After: the victim's writer goes on elsewhere, the others were never away.
    let counts: Vec<usize> = writers.iter().map(|w| w.count()).collect();
    let victims: Vec<bool> = roles.writers.iter().map(|n| roles.killed.contains(n)).collect();
    let resumed = wait(RESUME_LIMIT, || {
        writers.iter().enumerate().all(|(i, w)| {
            !w.errors().is_empty() || ((!victims[i] || w.first_after(generations[i]).is_some()) && w.count() >= counts[i] + AFTER_BLOCKS)
        })
    })
    .await
    .is_ok();
    let first_write = writers[0].first_after(generations[0]);
    if let Some(first) = first_write {
        timeline.note_at(first.at, Event::FirstWrite { node: first.by.node_id });
    }
    tokio::time::sleep(AFTER_RECLAIM).await;
    intruder_stop.cancel();
    intruder.await.context("the intruder")?;
    stop.cancel();
    for task in tasks {
        task.await.context("a writer")?;
    }

    // The evidence.
    let ms = |at: Instant| u64::try_from(at.saturating_duration_since(epoch).as_millis()).unwrap_or(u64::MAX);
    let entries = timeline.entries();
    let reclaimed = entries.iter().find(|e| e.who == "writer 0" && e.at >= killed_at && matches!(e.event, Event::Reclaimed { .. }));
    let away = Away { from_ms: ms(killed_at), to_ms: reclaimed.map(|e| ms(e.at)) };
    let violations = intruder::check(&history.records(), away);
    let mut errors: Vec<String> = writers.iter().flat_map(|w| w.errors()).collect();
    errors.extend(history.problems());
    if !resumed {
        errors.push(format!("no write was acknowledged elsewhere within {} s", RESUME_LIMIT.as_secs()));
    } else if reclaimed.is_none() {
        errors.push("the writer went on without reclaiming its handle".to_owned());
    }
    for writer in &writers {
        // An unlock of exactly what was locked proves that the lock was ours to the end.
        for step in [writer.file.unlock(region(writer.number)).await, writer.file.close().await] {
            if let Err(error) = step {
                errors.push(format!("writer {} at the end: {error}", writer.number));
            }
        }
    }
    if plan.variant != Variant::All {
        for node in &roles.killed {
            cluster.restart(*node).await?;
        }
    }
    cluster.wait_ready().await?;
    let reader = (roles.writers[0] + 1) % cluster.nodes.len();
    let lost = check_blocks(cluster, reader, &path, &writers).await?;
    Ok(RunReport {
        variant: plan.variant,
        seed: plan.seed,
        outage_ms: first_write.map(|f| f.at.saturating_duration_since(killed_at).as_secs_f64() * 1000.0),
        acknowledged: writers.iter().map(|w| w.count()).sum(),
        lost,
        errors,
        violations,
        attempts: intruder::count(&history.records()),
        timeline: entries,
        killed_at,
        longest_silence_ms: writers.iter().map(|w| longest_silence(w)).collect(),
    })
}

/// The options of a client of this cluster.
#[must_use]
pub fn mount_options(cluster: &Cluster) -> MountOptions {
    MountOptions::new(cluster.endpoints(), &cluster.net_name, CA_SHARE, cluster.identity())
}

/// Waits for a condition.
pub(super) async fn wait(limit: Duration, mut done: impl FnMut() -> bool) -> anyhow::Result<()> {
    let deadline = Instant::now() + limit;
    while !done() {
        if Instant::now() > deadline {
            bail!("nothing within {} s", limit.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

/// The longest time between two acknowledgments, ms.
pub(super) fn longest_silence(writer: &Writer) -> f64 {
    let mut times: Vec<Instant> = writer.acknowledged().values().map(|a| a.at).collect();
    times.sort();
    times.windows(2).map(|w| w[1].saturating_duration_since(w[0]).as_secs_f64() * 1000.0).fold(0.0, f64::max)
}

/// Reads every acknowledged block back with a fresh client on another node, then deletes the file. Returns what is not as acknowledged.
pub async fn check_blocks(cluster: &Cluster, node: usize, path: &str, writers: &[Arc<Writer>]) -> anyhow::Result<Vec<String>> {
    let options = MountOptions { witness: false, ..mount_options(cluster) };
    let mount = Mount::connect(options, node, Timeline::default()).await.context("the reader's connection")?;
    let tree: &Tree = &mount.channel().await?.tree;
    let opened = tree.create(&OpenPlan::read_write(path).request(), Try::default()).await.context("the reader's open")?;
    let mut lost = Vec::new();
    for writer in writers {
        let acknowledged = writer.acknowledged();
        let Some((last, _)) = acknowledged.last_key_value() else { continue };
        for from in (0..=*last).step_by(usize::try_from(CHECK_BLOCKS).unwrap_or(1)) {
            let length = u32::try_from(CHECK_BLOCKS).unwrap_or(1) * u32::try_from(BLOCK_BYTES).unwrap_or(1);
            let data = tree.read(opened.file_id, offset(writer.number, from), length, Try::default()).await.context("reading back")?;
            for (number, _) in acknowledged.range(from..from + CHECK_BLOCKS) {
                let at = usize::try_from(number - from).unwrap_or(0) * BLOCK_BYTES;
                let bytes = data.get(at..data.len().min(at + BLOCK_BYTES)).unwrap_or_default();
                if let Err(fault) = blocks::check(writer.id(*number), bytes) {
                    lost.push(format!("writer {} block {number}: {fault}", writer.number));
                }
            }
        }
    }
    tree.close(opened.file_id, Try::default()).await.context("the reader's close")?;
    PersistentFile::open(&mount, OpenPlan::deleting(path)).await.context("deleting the file")?.close().await?;
    mount.unmount().await.context("the reader's logoff")?;
    Ok(lost)
}
