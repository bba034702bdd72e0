//! `chaos bench`: opens per second by class, sequential throughput, idle memory; a peer's figures beside ours.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use smb_types::LeaseState;
use tokio::task::JoinSet;

use crate::client::tree::durable_grant;
use crate::client::{ClientIdentity, OpenPlan, Session, Tree, Try, random};
use crate::stats::Samples;

/// Connections of the rows.
const CONNECTIONS: [usize; 3] = [1, 4, 16];
/// Bytes of one READ or WRITE of the throughput rows.
const IO_BYTES: u32 = 1 << 20;
/// READs or WRITEs under way at once.
const IO_DEPTH: u64 = 4;
/// Files that one connection opens in turn.
const FILES: u64 = 16;

/// How an open is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenClass {
    /// Without any promise.
    Plain,
    /// DH2Q with a lease that has H.
    Durable,
    /// DH2Q with the persistent flag, no lease.
    Persistent,
}

impl OpenClass {
    /// Every class.
    pub const EVERY: [Self; 3] = [Self::Plain, Self::Durable, Self::Persistent];
}

/// A server to measure.
#[derive(Clone, Debug)]
pub struct Target {
    /// What the table calls it.
    pub name: String,
    /// Its address.
    pub address: SocketAddr,
    /// A continuously available share.
    pub share: String,
    /// Who measures.
    pub identity: ClientIdentity,
}

/// One row: opens per second and the time of one.
#[derive(Clone, Debug)]
pub struct OpenRow {
    /// Opens (with their closes) per second.
    pub per_second: f64,
    /// Time of one CREATE, ms.
    pub create_ms: Samples,
    /// Opens that got the promise that was asked for.
    pub granted: usize,
}

async fn tree(target: &Target) -> anyhow::Result<Tree> {
    let mut identity = target.identity.clone();
    identity.client_guid = smb_types::Guid(random());
    let (session, breaks) = Session::connect(target.address, &identity, 0).await.with_context(|| format!("logon at {}", target.name))?;
    // No two of these clients share a file, so no break ever comes.
    drop(breaks);
    Ok(Tree::connect(&session, &target.address.ip().to_string(), &target.share).await?)
}

/// Opens and closes for `seconds` on `connections` connections.
pub async fn opens(target: &Target, class: OpenClass, connections: usize, seconds: f64) -> anyhow::Result<OpenRow> {
    let mut tasks = JoinSet::new();
    let deadline = Instant::now() + Duration::from_secs_f64(seconds);
    for connection in 0..connections {
        let target = target.clone();
        tasks.spawn(async move {
            let tree = tree(&target).await?;
            let (mut times, mut granted, mut count) = (Vec::new(), 0, 0u64);
            while Instant::now() < deadline {
                let mut plan = OpenPlan::read_write(&format!("bench-{connection}-{}.bin", count % FILES));
                let request = match class {
                    OpenClass::Plain => plan.request(),
                    OpenClass::Durable => {
                        plan.lease = Some((smb_types::Guid(random()), LeaseState::RWH));
                        plan.durable_request(false)
                    }
                    OpenClass::Persistent => plan.durable_request(true),
                };
                let from = Instant::now();
                let opened = tree.create(&request, Try::default()).await?;
                times.push(from.elapsed().as_secs_f64() * 1000.0);
                granted += usize::from(match class {
                    OpenClass::Plain => true,
                    OpenClass::Durable => durable_grant(&opened).is_some(),
                    OpenClass::Persistent => durable_grant(&opened).is_some_and(|d| d.is_persistent()),
                });
                tree.close(opened.file_id, Try::default()).await?;
                count += 1;
            }
            for n in 0..count.min(FILES) {
                remove(&tree, &format!("bench-{connection}-{n}.bin")).await?;
            }
            tree.session.log_off().await?;
            anyhow::Ok((times, granted))
        });
    }
    let (mut times, mut granted) = (Vec::new(), 0);
    while let Some(done) = tasks.join_next().await {
        let (t, g) = done.context("a connection of the bench")??;
        times.extend(t);
        granted += g;
    }
    let count = f64::from(u32::try_from(times.len()).unwrap_or(u32::MAX));
    Ok(OpenRow { per_second: count / seconds, create_ms: Samples::new(times), granted })
}

async fn remove(tree: &Tree, path: &str) -> anyhow::Result<()> {
    let opened = tree.create(&OpenPlan::deleting(path).request(), Try::default()).await?;
    tree.close(opened.file_id, Try::default()).await?;
    Ok(())
}

/// MiB per second of sequential writing and reading of `mib` MiB.
pub async fn throughput(target: &Target, mib: u64) -> anyhow::Result<(f64, f64)> {
    let tree = tree(target).await?;
    let opened = tree.create(&OpenPlan::read_write("bench-io.bin").request(), Try::default()).await?;
    let data = Bytes::from(vec![0xA5; usize::try_from(IO_BYTES)?]);
    let mut rates = [0.0; 2];
    for (rate, writes) in rates.iter_mut().zip([true, false]) {
        let from = Instant::now();
        let mut tasks = JoinSet::new();
        for lane in 0..IO_DEPTH {
            let (tree, data) = (tree.clone(), data.clone());
            tasks.spawn(async move {
                for n in (lane..mib).step_by(usize::try_from(IO_DEPTH).unwrap_or(1)) {
                    let offset = n * u64::from(IO_BYTES);
                    if writes {
                        tree.write(opened.file_id, offset, data.clone(), Try::default()).await?;
                    } else {
                        tree.read(opened.file_id, offset, IO_BYTES, Try::default()).await?;
                    }
                }
                anyhow::Ok(())
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.context("a lane of the bench")??;
        }
        *rate = f64::from(u32::try_from(mib)?) / from.elapsed().as_secs_f64();
    }
    tree.close(opened.file_id, Try::default()).await?;
    remove(&tree, "bench-io.bin").await?;
    tree.session.log_off().await?;
    Ok((rates[0], rates[1]))
}

/// Measures every target and prints each row as it is known.
pub async fn bench(targets: &[Target], seconds: f64, mib: u64, mut say: impl FnMut(&str)) -> anyhow::Result<()> {
    say("server       what                  conns     per s   p50 ms   p99 ms   granted");
    for class in OpenClass::EVERY {
        for connections in CONNECTIONS {
            for target in targets {
                let row = opens(target, class, connections, seconds).await?;
                say(&format!(
                    "{:<12} {:<21} {connections:>5} {:>9.0} {:>8.2} {:>8.2}   {}/{}",
                    target.name,
                    format!("{class:?} opens").to_lowercase(),
                    row.per_second,
                    row.create_ms.percentile(50),
                    row.create_ms.percentile(99),
                    row.granted,
                    row.create_ms.count()
                ));
            }
        }
    }
    for target in targets {
        let (write, read) = throughput(target, mib).await?;
        say(&format!("{:<12} sequential            {:>5}  write {write:.0} MiB/s, read {read:.0} MiB/s", target.name, 1));
    }
    Ok(())
}
