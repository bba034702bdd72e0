//! A node is drained under a client that writes without pause, then stopped: nothing is lost, nobody hears an error, and the client has gone
//! before the node does.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use rustix::process::Signal;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::run::{check_blocks, longest_silence, mount_options, wait};
use super::writer::Writer;
use crate::client::{Event, Mount, Timeline};
use crate::cluster::Cluster;

/// How long everything that is waited for may take.
const LIMIT: Duration = Duration::from_secs(60);
/// Blocks that must be acknowledged before, in between and afterwards.
const BLOCKS: usize = 32;

/// What was seen.
#[derive(Clone, Debug)]
pub struct DrainReport {
    /// The order to drain until the cluster said that it is safe to stop the node, ms.
    pub drained_ms: u64,
    /// The longest time without an acknowledgment, from before the order until after the end of the node, ms.
    pub stall_ms: f64,
    /// The longest one before the order, for comparison, ms.
    pub quiet_stall_ms: f64,
    /// The writer had gone on elsewhere before the node was stopped.
    pub moved_first: bool,
    /// Acknowledged blocks.
    pub acknowledged: usize,
    /// Those that could not be read back.
    pub lost: Vec<String>,
    /// What applications would have been told.
    pub errors: Vec<String>,
}

impl DrainReport {
    /// Tells whether every promise was kept.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.moved_first && self.lost.is_empty() && self.errors.is_empty()
    }

    /// One line about it.
    #[must_use]
    pub fn line(&self) -> String {
        format!(
            "drained in {} ms, stall {:.0} ms (longest before: {:.0} ms), {} blocks acknowledged, {} lost, {} errors{}",
            self.drained_ms,
            self.stall_ms,
            self.quiet_stall_ms,
            self.acknowledged,
            self.lost.len(),
            self.errors.len(),
            if self.moved_first { "" } else { "; the node was stopped before its client had gone" }
        )
    }
}

/// Drains node `index` under a writer and stops it; it serves again afterwards.
pub async fn drain(cluster: &mut Cluster, index: usize, seed: u64) -> anyhow::Result<DrainReport> {
    let (timeline, path) = (Timeline::default(), format!("drain-{seed:016x}.bin"));
    let mount = Mount::connect(mount_options(cluster), index, timeline.clone()).await?;
    let writer = Writer::open(&mount, &path, seed, 0).await?;
    let stop = CancellationToken::new();
    let task = tokio::spawn(Arc::clone(&writer).run(stop.clone()));
    let registered = || timeline.entries().iter().any(|entry| matches!(entry.event, Event::WitnessRegistered { .. }));
    let started = wait(LIMIT, || writer.count() >= BLOCKS && registered()).await;
    started.context("the writer did not get going, or found no witness")?;
    let (quiet_stall_ms, generation) = (longest_silence(&writer), mount.current().map_or(0, |channel| channel.generation));

    let (id, other) = (cluster.nodes[index].id, (index + 1) % cluster.nodes.len());
    let (status, drained) = cluster.order(other, "/api/v1/nodes/drain", &json!({"id": id, "on": true, "wait_s": 60})).await?;
    ensure!(status == 200 && drained["safe_to_stop"] == true, "draining node {id}: {status} {drained}");
    // Whatever is served from now on is served elsewhere.
    let moved_first = mount.channel().await?.node_id != id;
    let count = writer.count();
    wait(LIMIT, || writer.count() >= count + BLOCKS || !writer.errors().is_empty()).await.context("the writer does not go on")?;
    cluster.signal(index, Signal::TERM)?;
    cluster.wait_gone(index).await?;
    let count = writer.count();
    wait(LIMIT, || writer.count() >= count + BLOCKS || !writer.errors().is_empty()).await.context("the writer stopped with the node")?;
    stop.cancel();
    task.await.context("the writer")?;

    let mut errors = writer.errors();
    if writer.first_after(generation).is_none() {
        errors.push("no write was acknowledged elsewhere".to_owned());
    }
    if let Err(error) = writer.file.close().await {
        errors.push(format!("closing: {error}"));
    }
    let lost = check_blocks(cluster, other, &path, std::slice::from_ref(&writer)).await?;
    mount.unmount().await?;
    cluster.restart(index).await?;
    cluster.wait_ready().await?;
    Ok(DrainReport {
        drained_ms: drained["waited_ms"].as_u64().unwrap_or(0),
        stall_ms: longest_silence(&writer),
        quiet_stall_ms,
        moved_first,
        acknowledged: writer.count(),
        lost,
        errors,
    })
}
