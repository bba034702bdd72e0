//! `chaos storm`: random faults, one after the other, under writers that never stop.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::process::Signal;
use tokio_util::sync::CancellationToken;

use crate::client::{Mount, Timeline};
use crate::cluster::{Cluster, ClusterOptions};
use crate::failover::run::{check_blocks, mount_options};
use crate::failover::writer::{Writer, region};
use crate::rng::Rng;

/// Blocks of one writer after which a file is compared and a new one begun: 1 GiB.
const ROUND_BLOCKS: usize = 16_384;

/// What is done to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL, and a new start after a while.
    Kill,
    /// SIGSTOP, and SIGCONT after a while: longer or shorter than a lease.
    Pause,
    /// SIGTERM, and a new start: an orderly restart.
    Restart,
}

/// What to do.
#[derive(Clone, Debug)]
pub struct StormOptions {
    /// The cluster.
    pub cluster: ClusterOptions,
    /// How long faults go on.
    pub duration: Duration,
    /// Writers.
    pub writers: u32,
    /// Decides everything random.
    pub seed: u64,
}

/// What was seen.
#[derive(Clone, Debug, Default)]
pub struct StormReport {
    /// Faults that were made.
    pub faults: usize,
    /// Acknowledged blocks.
    pub acknowledged: usize,
    /// Those that could not be read back.
    pub lost: Vec<String>,
    /// What applications would have been told.
    pub errors: Vec<String>,
}

/// Runs a storm; afterwards everything must heal, and every acknowledged block must be there.
pub async fn storm(options: &StormOptions, mut say: impl FnMut(&str)) -> anyhow::Result<StormReport> {
    let mut cluster = Cluster::start(&options.cluster).await?;
    let mut rng = Rng::new(options.seed);
    let deadline = Instant::now() + options.duration;
    let mut report = StormReport::default();
    while Instant::now() < deadline && report.errors.is_empty() && report.lost.is_empty() {
        round(&mut cluster, options, &mut rng, deadline, &mut report, &mut say).await?;
    }
    cluster.stop().await?;
    Ok(report)
}

/// Faults over one file, until time is up or the file is large enough; then everything in it is compared.
async fn round(
    cluster: &mut Cluster,
    options: &StormOptions,
    rng: &mut Rng,
    deadline: Instant,
    report: &mut StormReport,
    say: &mut impl FnMut(&str),
) -> anyhow::Result<()> {
    let seed = rng.next();
    let path = format!("storm-{seed:016x}.bin");
    let count = u64::try_from(cluster.nodes.len()).unwrap_or(1);
    let mut writers = Vec::new();
    for number in 0..options.writers {
        let node = usize::try_from(u64::from(number) % count).unwrap_or(0);
        let mount = Mount::connect(mount_options(cluster), node, Timeline::default().named(&format!("writer {number}"))).await?;
        writers.push(Writer::open(&mount, &path, seed, number).await?);
    }
    let stop = CancellationToken::new();
    let tasks: Vec<_> = writers.iter().map(|w| tokio::spawn(Arc::clone(w).run(stop.clone()))).collect();
    while Instant::now() < deadline && writers.iter().all(|w| w.errors().is_empty() && w.count() < ROUND_BLOCKS) {
        fault(cluster, rng, report.acknowledged + total(&writers), say).await?;
        report.faults += 1;
        tokio::time::sleep(Duration::from_millis(rng.between(100, 1500))).await;
    }
    stop.cancel();
    for task in tasks {
        task.await.context("a writer")?;
    }
    for writer in &writers {
        report.errors.extend(writer.errors());
        for step in [writer.file.unlock(region(writer.number)).await, writer.file.close().await] {
            if let Err(error) = step {
                report.errors.push(format!("writer {} at the end: {error}", writer.number));
            }
        }
    }
    report.acknowledged += total(&writers);
    report.lost.extend(check_blocks(cluster, 0, &path, &writers).await?);
    Ok(())
}

/// Makes one fault and waits until the cluster is whole again.
async fn fault(cluster: &mut Cluster, rng: &mut Rng, blocks: usize, say: &mut impl FnMut(&str)) -> anyhow::Result<()> {
    let count = u64::try_from(cluster.nodes.len()).unwrap_or(1);
    let node = usize::try_from(rng.next() % count).unwrap_or(0);
    let fault = [Fault::Kill, Fault::Pause, Fault::Restart][usize::try_from(rng.next() % 3).unwrap_or(0)];
    let away = Duration::from_millis(rng.between(50, 4000));
    say(&format!("{fault:?} node {} for {} ms; {blocks} blocks so far", cluster.nodes[node].id, away.as_millis()));
    match fault {
        Fault::Kill | Fault::Restart => {
            cluster.signal(node, if fault == Fault::Kill { Signal::KILL } else { Signal::TERM })?;
            tokio::time::sleep(away).await;
            cluster.restart(node).await?;
        }
        Fault::Pause => {
            cluster.signal(node, Signal::STOP)?;
            tokio::time::sleep(away).await;
            cluster.signal(node, Signal::CONT)?;
        }
    }
    cluster.wait_ready().await.with_context(|| format!("after {fault:?} of node {}", cluster.nodes[node].id))
}

fn total(writers: &[Arc<Writer>]) -> usize {
    writers.iter().map(|w| w.count()).sum()
}
