//! Opens and closes per second by class, and sequential throughput, of any number of servers in turns.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use serde_json::json;
use smb_proto::message::create::CreateRequest;
use smb_types::LeaseState;
use tokio::task::JoinSet;

use super::printer::{Printer, median, ratio};
use super::{Scale, Section};
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

    /// Its name.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Durable => "durable",
            Self::Persistent => "persistent",
        }
    }

    /// A CREATE of this class.
    #[must_use]
    pub fn request(self, path: &str) -> CreateRequest {
        let mut plan = OpenPlan::read_write(path);
        match self {
            Self::Plain => plan.request(),
            Self::Durable => {
                plan.lease = Some((smb_types::Guid(random()), LeaseState::RWH));
                plan.durable_request(false)
            }
            Self::Persistent => plan.durable_request(true),
        }
    }
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

/// A session of its own and the share.
pub async fn tree(target: &Target) -> anyhow::Result<Tree> {
    let mut identity = target.identity.clone();
    identity.client_guid = smb_types::Guid(random());
    let (session, breaks) = Session::connect(target.address, &identity, 0).await.with_context(|| format!("logon at {}", target.name))?;
    // No two of these clients share a file, so no break ever comes.
    drop(breaks);
    Ok(Tree::connect(&session, &target.address.ip().to_string(), &target.share).await?)
}

/// Opens and closes for `seconds` on `connections` connections.
async fn open_load(target: &Target, class: OpenClass, connections: usize, seconds: f64) -> anyhow::Result<OpenRow> {
    let mut tasks = JoinSet::new();
    let deadline = Instant::now() + Duration::from_secs_f64(seconds);
    for connection in 0..connections {
        let target = target.clone();
        tasks.spawn(async move {
            let tree = tree(&target).await?;
            let (mut times, mut granted, mut count) = (Vec::new(), 0, 0u64);
            while Instant::now() < deadline {
                let request = class.request(&format!("bench-{connection}-{}.bin", count % FILES));
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

/// Opens a file to delete it.
pub async fn remove(tree: &Tree, path: &str) -> anyhow::Result<()> {
    let opened = tree.create(&OpenPlan::deleting(path).request(), Try::default()).await?;
    tree.close(opened.file_id, Try::default()).await?;
    Ok(())
}

/// MiB per second of sequential writing and reading of `mib` MiB.
async fn throughput(target: &Target, mib: u64) -> anyhow::Result<(f64, f64)> {
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

/// Measures every target in turns and prints each row as it is known.
pub async fn opens(printer: Printer, scale: &Scale, targets: &[Target]) -> anyhow::Result<()> {
    let text = format!(
        "{:<14} {:<16} {:>5} {:>9} {:>8} {:>8} {:>9}  {}",
        "server", "what", "conns", "per s", "p50 ms", "p99 ms", "granted", "ours to it"
    );
    printer.row(Section::Opens, &text, json!({"columns": ["server", "class", "connections", "per_second", "p50_ms", "p99_ms", "granted"]}));
    let mut halves = BTreeMap::new();
    for connections in CONNECTIONS {
        for class in OpenClass::EVERY {
            let mut rounds: Vec<Vec<OpenRow>> = vec![Vec::new(); targets.len()];
            for _ in 0..scale.rounds {
                for (target, rows) in targets.iter().zip(&mut rounds) {
                    rows.push(open_load(target, class, connections, scale.seconds).await?);
                }
            }
            let ours = rate(rounds.first().map_or(&[][..], Vec::as_slice));
            for (target, rows) in targets.iter().zip(&rounds) {
                let p50 = print_opens(printer, target, (class, connections), rows, ours);
                halves.insert((target.name.clone(), connections, class.word()), p50);
            }
        }
        for target in targets {
            let of = |class: OpenClass| halves.get(&(target.name.clone(), connections, class.word())).copied().unwrap_or(0.0);
            let times = of(OpenClass::Persistent) / of(OpenClass::Durable).max(f64::MIN_POSITIVE);
            let text = format!("{:<14} persistent p50 is {times:.2} times the durable one, with {connections} connections", target.name);
            printer.row(
                Section::Opens,
                &text,
                json!({"server": target.name, "connections": connections, "persistent_to_durable_p50": times}),
            );
        }
    }
    for target in targets {
        let (write, read) = throughput(target, scale.mib).await?;
        let text = format!("{:<14} sequential       {:>5}  write {write:.0} MiB/s, read {read:.0} MiB/s", target.name, 1);
        printer.row(Section::Opens, &text, json!({"server": target.name, "write_mib_s": write, "read_mib_s": read}));
    }
    Ok(())
}

fn rate(rows: &[OpenRow]) -> f64 {
    median(&rows.iter().map(|row| row.per_second).collect::<Vec<_>>())
}

/// Prints a row and gives the time of half of its opens.
fn print_opens(printer: Printer, target: &Target, what: (OpenClass, usize), rows: &[OpenRow], ours: f64) -> f64 {
    let (class, connections) = what;
    let of = |percent: usize| median(&rows.iter().map(|row| row.create_ms.percentile(percent)).collect::<Vec<_>>());
    let (per_second, p50, p99) = (rate(rows), of(50), of(99));
    let granted: usize = rows.iter().map(|row| row.granted).sum();
    let count: usize = rows.iter().map(|row| row.create_ms.count()).sum();
    let share = if granted == count { "all".to_owned() } else { format!("{granted}/{count}") };
    let text = format!(
        "{:<14} {:<16} {connections:>5} {per_second:>9.0} {p50:>8.3} {p99:>8.3} {share:>9}  {}",
        target.name,
        format!("{} opens", class.word()),
        ratio(ours, per_second)
    );
    let values = json!({"server": target.name, "class": class.word(), "connections": connections, "per_second": per_second, "p50_ms": p50,
        "p99_ms": p99, "granted": granted, "opens": count});
    printer.row(Section::Opens, &text, values);
    p50
}
