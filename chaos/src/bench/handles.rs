//! A client with many persistent handles whose node dies: how soon it has them all back on another node, and what that costs a client of a
//! third node.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::json;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::opens::{Target, remove, tree};
use super::printer::Printer;
use super::trouble::{Opened, open_once, samples, target};
use super::{Scale, Section};
use crate::client::{Mount, MountOptions, OpenPlan, PersistentFile, Timeline};
use crate::cluster::{CA_SHARE, Cluster, ClusterOptions};

/// Requests that the client has under way at once.
const UNDER_WAY_MAX: usize = 64;
/// The promise: so many handles are reclaimed within this time.
const PROMISED_HANDLES: usize = 10_000;
const PROMISED: Duration = Duration::from_secs(3);
/// Nodes that a row needs.
const NODES_MIN: usize = 3;
/// Opens of the other client before the kill.
const WARM_UP_OPENS: usize = 200;
/// What it opens.
const BYSTANDER_FILE: &str = "bystander.bin";

/// Measures and prints the death of a follower and of the leader; false when a handle did not come back.
pub(crate) async fn handles(printer: Printer, scale: &Scale, options: &ClusterOptions) -> anyhow::Result<bool> {
    let notes = [
        "persistent handles of one client (one connection, 64 requests under way) at the node that dies; each is had back when a read through it on",
        "another node is answered. Counted from the kill. Beside it the opens of a client of a third node, from the kill to the last handle.",
    ];
    printer.section(Section::Handles, &notes);
    if options.nodes < NODES_MIN {
        printer.absent(Section::Handles, "a death", "it takes three nodes: one that dies, one to go to, one for the other client");
        return Ok(true);
    }
    let mut cluster = Cluster::start(options).await?;
    let mut good = true;
    for (round, of_leader) in [false, true].into_iter().enumerate() {
        good &= death(printer, scale.handles, &mut cluster, round, of_leader).await?;
    }
    cluster.stop().await?;
    Ok(good)
}

async fn death(printer: Printer, count: usize, cluster: &mut Cluster, round: usize, of_leader: bool) -> anyhow::Result<bool> {
    cluster.wait_ready().await?;
    let leader = cluster.leader().await.context("no leader")?;
    let nodes = cluster.nodes.len();
    let victim = if of_leader { leader } else { (leader + 1) % nodes };
    let (refuge, third) = ((victim + 1) % nodes, (victim + 2) % nodes);
    // It goes to the next node of its list.
    let endpoints = cluster.endpoints();
    let options = MountOptions {
        witness: false,
        ..MountOptions::new(vec![endpoints[victim], endpoints[refuge]], &cluster.net_name, CA_SHARE, cluster.identity())
    };
    let mount = Mount::connect(options, 0, Timeline::default()).await?;
    let began = Instant::now();
    let files = open_all(&mount, round, count).await?;
    let opening = began.elapsed();
    let (going, is_going) = oneshot::channel();
    let stop = CancellationToken::new();
    let other = tokio::spawn(open_until(target(cluster, third), going, stop.clone()));
    if is_going.await.is_err() {
        other.await.context("the other client")??;
        anyhow::bail!("the other client ended before the kill");
    }
    cluster.kill(victim)?;
    let killed = Instant::now();
    let (mut back, lost) = prove_all(files, killed).await?;
    back.sort_unstable();
    stop.cancel();
    let opened = other.await.context("the other client")??;
    cluster.restart(victim).await?;
    let until = killed + back.last().copied().unwrap_or_default();
    let met: Vec<Opened> = opened.into_iter().filter(|open| open.from + open.took >= killed && open.from <= until).collect();
    let times = samples(&met);
    let at = |n: usize| back.get(n.min(back.len()).saturating_sub(1)).copied().unwrap_or_default().as_secs_f64();
    let (first, promised, all) = (at(1), at(PROMISED_HANDLES), at(back.len()));
    let kept = (count >= PROMISED_HANDLES).then(|| lost.is_empty() && promised <= PROMISED.as_secs_f64());
    let who = if of_leader { "leader" } else { "follower" };
    let text = format!(
        "{who:<9} {count} handles, opened in {:.1} s: first back after {:.0} ms, {} after {promised:.2} s, all after {all:.2} s (goal: {PROMISED_HANDLES} \
         within {} s: {}), lost {}; other client: p50 {:.1} ms, longest {:.0} ms of {}",
        opening.as_secs_f64(),
        first * 1000.0,
        PROMISED_HANDLES.min(back.len()),
        PROMISED.as_secs(),
        match kept {
            Some(true) => "met",
            Some(false) => "NOT met",
            None => "not asked of fewer",
        },
        lost.len(),
        times.percentile(50),
        times.max(),
        met.len()
    );
    let values = json!({
        "death_of": who, "handles": count, "first_s": first, "promised_s": promised, "all_s": all, "good": kept, "lost": lost.len(),
        "other_p50_ms": times.percentile(50), "other_max_ms": times.max(),
    });
    printer.row(Section::Handles, &text, values);
    if let Some(because) = lost.first() {
        printer.row(Section::Handles, &format!("          the first that was lost: {because}"), json!({"lost": because}));
    }
    Ok(lost.is_empty())
}

/// Opens and closes a file until told to stop; tells when it has got going.
async fn open_until(target: Target, going: oneshot::Sender<()>, stop: CancellationToken) -> anyhow::Result<Vec<Opened>> {
    let tree = tree(&target).await?;
    let (mut going, mut opened) = (Some(going), Vec::new());
    while !stop.is_cancelled() {
        opened.push(open_once(&tree, BYSTANDER_FILE).await?);
        if opened.len() == WARM_UP_OPENS
            && let Some(going) = going.take()
        {
            // Nobody waits any more: then it is told to stop, too.
            let _ = going.send(());
        }
    }
    remove(&tree, BYSTANDER_FILE).await?;
    tree.session.log_off().await?;
    Ok(opened)
}

/// Opens the handles, each on a file of its own.
async fn open_all(mount: &Arc<Mount>, round: usize, count: usize) -> anyhow::Result<Vec<PersistentFile>> {
    let (mut tasks, places) = (JoinSet::new(), Arc::new(Semaphore::new(UNDER_WAY_MAX)));
    for n in 0..count {
        let (mount, places) = (Arc::clone(mount), Arc::clone(&places));
        tasks.spawn(async move {
            let _place = places.acquire_owned().await;
            PersistentFile::open(&mount, OpenPlan::read_write(&format!("crowd-{round}-{n}.bin"))).await
        });
    }
    let mut files = Vec::with_capacity(count);
    while let Some(done) = tasks.join_next().await {
        files.push(done.context("an open of the crowd")??);
    }
    Ok(files)
}

/// Reads through each handle; how long after `killed` each read was answered, and why others were not.
async fn prove_all(files: Vec<PersistentFile>, killed: Instant) -> anyhow::Result<(Vec<Duration>, Vec<String>)> {
    let (mut tasks, places) = (JoinSet::new(), Arc::new(Semaphore::new(UNDER_WAY_MAX)));
    for file in files {
        let places = Arc::clone(&places);
        tasks.spawn(async move {
            let _place = places.acquire_owned().await;
            file.read(0, 1).await.map(|_nothing| killed.elapsed())
        });
    }
    let (mut back, mut lost) = (Vec::new(), Vec::new());
    while let Some(done) = tasks.join_next().await {
        match done.context("a read of the crowd")? {
            Ok(after) => back.push(after),
            Err(error) => lost.push(error.to_string()),
        }
    }
    Ok((back, lost))
}
