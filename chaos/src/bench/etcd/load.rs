//! The load generator for etcd: a process of its own, as etcd's clients are. It obeys lines, see [`run`].

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use super::grpc::Channel;
use super::messages::{self, PUT, RANGE, STATUS};
use crate::bench::helper::{Death, Load};
use crate::stats::Samples;

/// Bytes of a value.
const VALUE_BYTES: usize = 256;
/// Clients that share a connection.
const CLIENTS_PER_CONNECTION: usize = 16;
/// Keys that one client puts in turn when they need not be unique.
const RING: u64 = 100;
/// A client gives a put up after this time.
const PUT_MAX: Duration = Duration::from_secs(10);
/// Pause before a client turns to the next member.
const RECONNECT_PAUSE: Duration = Duration::from_millis(10);
/// First letter of the keys that are put once only.
const UNIQUE: u8 = b'u';

/// Obeys the lines of the standard input, one JSON value each:
///
/// ```text
/// leader ENDPOINTS                            the endpoint that leads, or null
/// load CLIENTS SECONDS ENDPOINTS              what it came to; the clients are spread evenly over the endpoints
/// death CLIENTS MILLIS BEFORE_MILLIS ENDPOINTS   the same with keys that are put once, for the time around a death
/// verify ENDPOINTS                            [lost, doubled] of those keys at the worst member, or null
/// ```
pub async fn run() -> anyhow::Result<()> {
    let say = |value: serde_json::Value| {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{value}").and_then(|()| out.flush())
    };
    say(json!({"ready": true}))?;
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let mut acknowledged = BTreeMap::new();
    let mut deaths = 0;
    while let Some(line) = lines.next_line().await? {
        let words: Vec<&str> = line.split_whitespace().collect();
        say(match words.as_slice() {
            ["leader", at] => json!(leader(&endpoints(at)?).await),
            ["load", clients, seconds, at] => {
                let time = Duration::from_secs_f64(seconds.parse()?);
                let puts = put_load(clients.parse()?, time, None, &endpoints(at)?).await?;
                json!(summary(&puts, time))
            }
            ["death", clients, millis, before, at] => {
                deaths += 1;
                let (time, before) = (Duration::from_millis(millis.parse()?), Duration::from_millis(before.parse()?));
                let puts = put_load(clients.parse()?, time, Some(deaths), &endpoints(at)?).await?;
                acknowledged.extend(puts.iter().map(|put| (put.key.clone(), put.acknowledged)));
                json!(around(&puts, time, before))
            }
            ["verify", at] => json!(verify(&acknowledged, &endpoints(at)?).await.ok()),
            _ => bail!("what is {line}?"),
        })?;
    }
    Ok(())
}

fn endpoints(word: &str) -> anyhow::Result<Vec<SocketAddr>> {
    word.split(',').map(|at| at.parse().with_context(|| format!("{at} is no address"))).collect()
}

async fn leader(endpoints: &[SocketAddr]) -> Option<SocketAddr> {
    for &at in endpoints {
        let Ok(channel) = Channel::connect(at).await else { continue };
        let Ok(Ok(status)) = tokio::time::timeout(PUT_MAX, channel.call(STATUS, &[])).await else { continue };
        if messages::leads(&status) == Some(true) {
            return Some(at);
        }
    }
    None
}

/// One put.
struct Put {
    key: Vec<u8>,
    began: Instant,
    ended: Instant,
    acknowledged: bool,
}

async fn put_load(clients: usize, time: Duration, death: Option<u64>, endpoints: &[SocketAddr]) -> anyhow::Result<Vec<Put>> {
    let mut channels = Vec::new();
    for &at in endpoints {
        for _ in 0..clients.div_ceil(endpoints.len() * CLIENTS_PER_CONNECTION) {
            channels.push(Channel::connect(at).await?);
        }
    }
    // Neighbours are at different endpoints.
    let per_endpoint = channels.len() / endpoints.len();
    let endpoints: Arc<[SocketAddr]> = endpoints.into();
    let until = Instant::now() + time;
    let tasks: Vec<_> = (0..clients)
        .map(|client| {
            let place = client % endpoints.len() * per_endpoint + client / endpoints.len() % per_endpoint;
            let caller = Caller { channel: Some(channels[place].clone()), at: client % endpoints.len(), endpoints: endpoints.clone() };
            tokio::spawn(puts_of(caller, client, death, until))
        })
        .collect();
    let mut puts = Vec::new();
    for task in tasks {
        puts.extend(task.await.context("a client of the load")?);
    }
    Ok(puts)
}

/// A client and the member that it talks to.
struct Caller {
    channel: Option<Channel>,
    at: usize,
    endpoints: Arc<[SocketAddr]>,
}

impl Caller {
    async fn put(&mut self, key: &[u8], value: &[u8]) -> bool {
        if self.channel.is_none() {
            self.channel = Channel::connect(self.endpoints[self.at]).await.ok();
        }
        let Some(channel) = &self.channel else { return false };
        let message = messages::put(key, value);
        if matches!(tokio::time::timeout(PUT_MAX, channel.call(PUT, &message)).await, Ok(Ok(_))) {
            return true;
        }
        self.channel = None;
        self.at = (self.at + 1) % self.endpoints.len();
        tokio::time::sleep(RECONNECT_PAUSE).await;
        false
    }
}

async fn puts_of(mut caller: Caller, client: usize, death: Option<u64>, until: Instant) -> Vec<Put> {
    let value = [7; VALUE_BYTES];
    let mut puts = Vec::new();
    for n in 0u64.. {
        let began = Instant::now();
        if began >= until {
            break;
        }
        let key = match death {
            Some(death) => format!("{}{death:04}-{client:04}-{n:08}", char::from(UNIQUE)).into_bytes(),
            None => format!("k{client:04}-{:08}", n % RING).into_bytes(),
        };
        let acknowledged = caller.put(&key, &value).await;
        puts.push(Put { key, began, ended: Instant::now(), acknowledged });
    }
    puts
}

fn summary(puts: &[Put], time: Duration) -> Load {
    let took = |put: &Put| (put.ended - put.began).as_secs_f64() * 1000.0;
    let samples = Samples::new(puts.iter().filter(|put| put.acknowledged).map(took).collect());
    let commits = samples.count();
    Load {
        commits: commits as u64,
        failed: (puts.len() - commits) as u64,
        per_second: commits as f64 / time.as_secs_f64(),
        p50_ms: samples.percentile(50),
        p99_ms: samples.percentile(99),
        max_ms: samples.max(),
    }
}

/// The longest silence and the longest put of a load under which somebody died.
fn around(puts: &[Put], time: Duration, before: Duration) -> Death {
    let Some(begin) = puts.iter().map(|put| put.began).min() else { return Death::default() };
    let mut moments: Vec<Instant> = puts.iter().filter(|put| put.acknowledged).map(|put| put.ended).collect();
    let acknowledged = moments.len();
    moments.extend([begin, begin + time]);
    moments.sort_unstable();
    let ms = |longest: Option<Duration>| longest.unwrap_or_default().as_secs_f64() * 1000.0;
    let gap = moments.windows(2).max_by_key(|pair| pair[1] - pair[0]).map_or((begin, begin), |pair| (pair[0], pair[1]));
    let from_begin = (gap.0 - begin).as_secs_f64() - before.as_secs_f64();
    Death {
        before_per_second: moments.iter().filter(|moment| **moment < begin + before).count() as f64 / before.as_secs_f64(),
        gap_ms: ms(Some(gap.1 - gap.0)),
        gap_at_ms: from_begin * 1000.0,
        hang_ms: ms(puts.iter().map(|put| put.ended - put.began).max()),
        acknowledged: acknowledged as u64,
        unknown: (puts.len() - acknowledged) as u64,
        ..Death::default()
    }
}

/// Asks each member by itself for all keys of the deaths: how many that were acknowledged are not there, how many are there twice.
async fn verify(acknowledged: &BTreeMap<Vec<u8>, bool>, endpoints: &[SocketAddr]) -> anyhow::Result<(u64, u64)> {
    let (mut lost, mut doubled) = (0, 0);
    for &at in endpoints {
        let answer = Channel::connect(at).await?.call(RANGE, &messages::keys_from(&[UNIQUE])).await?;
        let there: BTreeMap<_, _> = messages::keys(&answer).context("an answer that makes no sense")?.into_iter().collect();
        let have = |key: &[u8]| there.get(key).copied().unwrap_or(0);
        lost = lost.max(acknowledged.iter().filter(|(key, acknowledged)| **acknowledged && have(key) == 0).count() as u64);
        doubled = doubled.max(acknowledged.keys().filter(|key| have(key) > 1).count() as u64);
    }
    Ok((lost, doubled))
}
