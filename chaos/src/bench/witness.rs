//! The witness of one node with many clients: how soon each is told, what they cost in memory, how fast they register and move.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use futures::StreamExt as _;
use serde_json::json;

use super::printer::Printer;
use super::{Scale, Section};
use crate::client::{Listener, Listens};
use crate::cluster::{Cluster, ClusterOptions, resident_kib};
use crate::stats::Samples;

/// How long everything that is waited for may take.
const LIMIT: Duration = Duration::from_secs(120);
/// Registrations under way at once.
const REGISTERING: usize = 32;
/// Clients that share a source address.
const PER_ADDRESS: usize = 1000;
/// Clients that are moved, one after the other.
const MOVES: usize = 20;
/// A client's pause between an answer and its next call: it has better things to do first, and here it shares the machine with the server.
const ASK_PAUSE: Duration = Duration::from_millis(500);
/// The promises.
const NOTICE_P99_MS: f64 = 20.0;
const NOTICE_CLIENTS: usize = 1_000;
const MEMORY_MIB: f64 = 64.0;
const MEMORY_CLIENTS: usize = 10_000;

/// Measures and prints all of it.
pub(crate) async fn witness(printer: Printer, scale: &Scale, options: &ClusterOptions) -> anyhow::Result<()> {
    let notes = [
        "Clients, each with a connection and a logon of its own, wait in AsyncNotify at one node for news of another, which is killed and started again.",
        "Latency: from the committed event, as the leader's or that node's event stream tells it first, to the answer at each client. All of it shares this",
        "machine; clients ask again half a second after an answer.",
    ];
    printer.section(Section::Witness, &notes);
    let mut cluster = Cluster::start(options).await?;
    ensure!(cluster.nodes.len() >= 3, "the witness rows need three nodes");
    // The watched node does not lead, so that its death costs no election.
    let leader = cluster.leader().await.context("no leader")?;
    let (at, watched) = ((leader + 1) % 3, (leader + 2) % 3);
    let before_kib = resident_kib(cluster.nodes[at].pid).context("the node's memory is unknown")?;
    let mut listeners = Vec::new();
    for &count in scale.listeners {
        let from = Instant::now();
        let more = count - listeners.len();
        register(&cluster, (at, watched), more, &mut listeners).await?;
        let per_second = more as f64 / from.elapsed().as_secs_f64();
        if more > 1 {
            let text =
                format!("{more:>6} clients registered in turns of {REGISTERING}: {per_second:.0} per second, with connection and logon");
            printer.row(Section::Witness, &text, json!({"what": "register", "clients": more, "per_second": per_second}));
        }
        let (deaths, returns) = notices(&mut cluster, (at, watched), &listeners, scale.rounds).await?;
        let good = count != NOTICE_CLIENTS || deaths.percentile(99) <= NOTICE_P99_MS;
        let goal = if count == NOTICE_CLIENTS { met(&format!("p99 at most {NOTICE_P99_MS} ms"), good) } else { String::new() };
        say_notices(printer, (count, "death"), &deaths, &goal);
        say_notices(printer, (count, "return"), &returns, "   (while the process starts on the same processors)");
        memory(printer, &cluster, at, (before_kib, count));
    }
    moves(printer, &cluster, (at, leader), listeners.len()).await?;
    drop(listeners);
    cluster.stop().await
}

fn say_notices(printer: Printer, (count, what): (usize, &str), times: &Samples, note: &str) {
    let (p50, p99, max) = (times.percentile(50), times.percentile(99), times.max());
    let text =
        format!("{count:>6} clients pending: told of a {what:<6} after p50 {p50:.2} ms   p99 {p99:.2} ms   longest {max:.2} ms{note}");
    printer.row(Section::Witness, &text, json!({"what": what, "clients": count, "p50_ms": p50, "p99_ms": p99, "max_ms": max}));
}

fn met(goal: &str, good: bool) -> String {
    format!("   (goal: {goal}: {})", if good { "met" } else { "NOT met" })
}

async fn register(cluster: &Cluster, (at, watched): (usize, usize), more: usize, all: &mut Vec<Listener>) -> anyhow::Result<()> {
    let first = all.len();
    let what = |number: usize| Listens {
        witness: cluster.nodes[at].witness,
        from: Some(Ipv4Addr::new(127, 99, u8::try_from(number / PER_ADDRESS % 250).unwrap_or(0), 1)),
        net_name: cluster.net_name.clone(),
        client: format!("CLIENT-{number}"),
        about: cluster.nodes[watched].smb.ip(),
        share: None,
        is_first_version: false,
        identity: cluster.identity(),
        pause: ASK_PAUSE,
    };
    let registering = (first..first + more).map(|number| {
        let what = what(number);
        async move { Listener::register(&what).await }
    });
    let mut registered = futures::stream::iter(registering).buffer_unordered(REGISTERING);
    while let Some(listener) = registered.next().await {
        all.push(listener.context("a client cannot register")?);
    }
    all_wait(cluster, (at, watched), all.len()).await
}

/// Waits until all clients wait. The third node is asked: putting the whole list together costs memory where it is done.
async fn all_wait(cluster: &Cluster, (at, watched): (usize, usize), count: usize) -> anyhow::Result<()> {
    let ask = (0..cluster.nodes.len()).find(|index| *index != at && *index != watched).context("the witness rows need three nodes")?;
    let deadline = Instant::now() + LIMIT;
    loop {
        let found = cluster.look(ask, "/api/v1/witness").await?;
        let waiting = found["registrations"].as_array().map_or(0, |all| all.iter().filter(|r| r["state"] == "waiting").count());
        if waiting >= count {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{waiting} of {count} clients wait");
        tokio::time::sleep(ASK_PAUSE).await;
    }
}

/// Times from the event to each client: of deaths, and of returns of the watched node.
async fn notices(
    cluster: &mut Cluster,
    (at, watched): (usize, usize),
    listeners: &[Listener],
    rounds: usize,
) -> anyhow::Result<(Samples, Samples)> {
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..rounds {
        for dies in [true, false] {
            all_wait(cluster, (at, watched), listeners.len()).await?;
            let told: Vec<usize> = listeners.iter().map(|listener| listener.times().len()).collect();
            let what = (watched, if dies { "node_down" } else { "node_up" });
            let leader = cluster.leader().await.context("no leader")?;
            let events = [event_of(cluster, leader, what)?, event_of(cluster, at, what)?];
            if dies {
                cluster.kill(watched)?;
            } else {
                cluster.restart(watched).await?;
            }
            for (listener, told) in listeners.iter().zip(&told) {
                ensure!(listener.wait(told + 1, LIMIT).await, "a client was not told: {:?}", listener.end());
            }
            let seen = events.map(|event| event.recv_timeout(LIMIT).ok());
            let zero = seen.into_iter().flatten().min().context("the event was not told")?;
            for (listener, told) in listeners.iter().zip(&told) {
                let heard = *listener.times().get(*told).context("a client was not told")?;
                // A client may hear of it before the line has come.
                times[usize::from(!dies)].push(heard.saturating_duration_since(zero).as_secs_f64() * 1000.0);
            }
            if !dies {
                cluster.wait_ready().await?;
            }
        }
    }
    let [deaths, returns] = times.map(Samples::new);
    Ok((deaths, returns))
}

/// When a node tells of an event of another one. Read by a thread of its own, which nothing else holds up.
fn event_of(cluster: &Cluster, at: usize, (about, kind): (usize, &str)) -> anyhow::Result<mpsc::Receiver<Instant>> {
    let id = cluster.nodes[about].id;
    let mut stream = UnixStream::connect(&cluster.nodes[at].socket)?;
    stream.set_read_timeout(Some(LIMIT))?;
    write!(stream, "GET /api/v1/events?from=now&kinds={kind}&node={id} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut lines = BufReader::new(stream).lines();
    // The first line of JSON says that the watch has begun.
    loop {
        let line = lines.next().context("the event stream ended")??;
        if line.contains("\"idle\"") {
            break;
        }
    }
    let (sender, event) = mpsc::channel();
    let kind = format!("\"{kind}\"");
    std::thread::spawn(move || {
        let found = lines.map_while(Result::ok).find(|line| line.contains(&kind)).map(|_| Instant::now());
        // Nobody may wait any more.
        _ = found.map(|at| sender.send(at));
    });
    Ok(event)
}

fn memory(printer: Printer, cluster: &Cluster, at: usize, (before_kib, count): (u64, usize)) {
    let Some(now_kib) = resident_kib(cluster.nodes[at].pid) else { return };
    let more_mib = now_kib.saturating_sub(before_kib) as f64 / 1024.0;
    let good = count < MEMORY_CLIENTS || more_mib <= MEMORY_MIB;
    let goal = if count >= MEMORY_CLIENTS { met(&format!("at most {MEMORY_MIB} MiB"), good) } else { String::new() };
    let text = format!("{count:>6} clients pending: {more_mib:.1} MiB more than without them{goal}");
    printer.row(Section::Witness, &text, json!({"what": "memory", "clients": count, "more_mib": more_mib, "good": good}));
}

/// From the operator's order to the client's answer.
async fn moves(printer: Printer, cluster: &Cluster, (at, to): (usize, usize), others: usize) -> anyhow::Result<()> {
    let mut times = Vec::new();
    for number in 0..MOVES {
        let client = format!("MOVER-{number}");
        let what = Listens {
            from: None,
            witness: cluster.nodes[at].witness,
            net_name: cluster.net_name.clone(),
            client: client.clone(),
            about: cluster.nodes[(to + 1) % 3].smb.ip(),
            share: None,
            is_first_version: false,
            identity: cluster.identity(),
            pause: ASK_PAUSE,
        };
        let listener = Listener::register(&what).await?;
        let from = Instant::now();
        let wish = json!({"client": client, "to": cluster.nodes[to].id});
        let (status, told) = cluster.order(to, "/api/v1/witness/move", &wish).await?;
        ensure!(status == 200 && told["registrations"] == 1, "the move was not told: {status} {told}");
        ensure!(listener.wait(1, LIMIT).await, "a client was not told to move: {:?}", listener.end());
        let heard = listener.times().first().map_or(from, |at| *at);
        times.push(heard.saturating_duration_since(from).as_secs_f64() * 1000.0);
    }
    let times = Samples::new(times);
    let (p50, p99) = (times.percentile(50), times.percentile(99));
    let text = format!(
        "a client is moved while {others} others wait: from the order at another node to the client p50 {p50:.2} ms   p99 {p99:.2} ms"
    );
    printer.row(Section::Witness, &text, json!({"what": "move", "others": others, "p50_ms": p50, "p99_ms": p99}));
    Ok(())
}
