//! What nodes say to each other for one open, one lock, one close: their own counters before and after many of them.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::json;
use smb_proto::message::lock::{LockElement, LockFlags};

use super::opens::{OpenClass, Target, remove, tree};
use super::printer::Printer;
use super::{Scale, Section};
use crate::client::{Tree, Try};
use crate::cluster::{CA_SHARE, Cluster, http};

/// How long the idle cluster is listened to.
const IDLE: Duration = Duration::from_secs(2);
/// Names of the counters.
const MESSAGES: &str = "holdfast_peer_messages_total";
const BYTES: &str = "holdfast_peer_bytes_total";

/// What all nodes have sent so far.
#[derive(Clone, Copy, Debug, Default)]
struct Sent {
    messages: f64,
    bytes: f64,
}

/// A stretch of time and what was sent in it.
struct Stretch {
    from: Instant,
    sent: Sent,
}

/// Measures and prints.
pub(crate) async fn messages(printer: Printer, scale: &Scale, cluster: &Cluster) -> anyhow::Result<()> {
    let notes = [
        "all frames that the nodes of the cluster send to each other, answers included, before TLS, divided by the number of operations; one after",
        "the other on one connection, so nothing is shared. What the idle cluster sends in the same time (heartbeats, leases) is taken off.",
    ];
    printer.section(Section::Wire, &notes);
    let sockets: Vec<PathBuf> = cluster.nodes.iter().map(|node| node.socket.clone()).collect();
    let idle = idle(&sockets).await?;
    let text = format!("idle: {:.0} messages and {:.0} bytes per second", idle.messages, idle.bytes);
    printer.row(Section::Wire, &text, json!({"idle_messages_per_second": idle.messages, "idle_bytes_per_second": idle.bytes}));
    let leader = cluster.leader().await.context("no leader")?;
    for (place, index) in [("leader", leader), ("follower", leader + 1)] {
        let node = cluster.nodes.get(index % cluster.nodes.len()).context("no such node")?;
        let target = Target { name: place.to_owned(), address: node.smb, share: CA_SHARE.to_owned(), identity: cluster.identity() };
        let tree = tree(&target).await?;
        for n in 0..scale.counted {
            // So that every open below is one of a file that exists.
            let opened = tree.create(&OpenClass::Plain.request(&name(n)), Try::default()).await?;
            tree.close(opened.file_id, Try::default()).await?;
        }
        for class in OpenClass::EVERY {
            count_class(printer, &sockets, &tree, (class, place), scale.counted, idle).await?;
        }
        for n in 0..scale.counted {
            remove(&tree, &name(n)).await?;
        }
        tree.session.log_off().await?;
    }
    Ok(())
}

fn name(n: usize) -> String {
    format!("wire-{n}.bin")
}

async fn count_class(
    printer: Printer,
    sockets: &[PathBuf],
    tree: &Tree,
    (class, place): (OpenClass, &str),
    count: usize,
    idle: Sent,
) -> anyhow::Result<()> {
    let say = |what: &str, sent: Sent| {
        let text = format!("{:<10} {what:<7} at the {place:<9} {:>6.2} messages {:>8.0} bytes", class.word(), sent.messages, sent.bytes);
        printer.row(
            Section::Wire,
            &text,
            json!({"class": class.word(), "what": what, "place": place, "messages": sent.messages, "bytes": sent.bytes}),
        );
    };
    let stretch = Stretch::begin(sockets).await?;
    let mut opened = Vec::new();
    for n in 0..count {
        opened.push(tree.create(&class.request(&name(n)), Try::default()).await?.file_id);
    }
    say("open", stretch.end(sockets, count, idle).await?);
    let stretch = Stretch::begin(sockets).await?;
    for &file in &opened {
        let lock = LockElement { offset: 0, length: 1, flags: LockFlags::EXCLUSIVE | LockFlags::FAIL_IMMEDIATELY };
        tree.lock(file, &[lock], (0, 0), Try::default()).await?;
    }
    say("lock", stretch.end(sockets, count, idle).await?);
    let stretch = Stretch::begin(sockets).await?;
    for file in opened {
        tree.close(file, Try::default()).await?;
    }
    say("close", stretch.end(sockets, count, idle).await?);
    Ok(())
}

impl Stretch {
    async fn begin(sockets: &[PathBuf]) -> anyhow::Result<Self> {
        Ok(Self { sent: all_sent(sockets).await?, from: Instant::now() })
    }

    /// What each of `count` operations has cost, without what an idle cluster sends.
    async fn end(self, sockets: &[PathBuf], count: usize, idle: Sent) -> anyhow::Result<Sent> {
        let seconds = self.from.elapsed().as_secs_f64();
        let (now, count) = (all_sent(sockets).await?, count as f64);
        Ok(Sent {
            messages: (now.messages - self.sent.messages - idle.messages * seconds) / count,
            bytes: (now.bytes - self.sent.bytes - idle.bytes * seconds) / count,
        })
    }
}

async fn idle(sockets: &[PathBuf]) -> anyhow::Result<Sent> {
    let stretch = Stretch::begin(sockets).await?;
    tokio::time::sleep(IDLE).await;
    let seconds = stretch.from.elapsed().as_secs_f64();
    let sent = stretch.end(sockets, 1, Sent::default()).await?;
    Ok(Sent { messages: sent.messages / seconds, bytes: sent.bytes / seconds })
}

async fn all_sent(sockets: &[PathBuf]) -> anyhow::Result<Sent> {
    let mut sum = Sent::default();
    for socket in sockets {
        let (_, body) = http::get(socket, "/metrics").await?;
        let text = String::from_utf8_lossy(&body);
        let (messages, bytes) = (total(&text, MESSAGES), total(&text, BYTES));
        sum.messages += messages.context("the node counts no messages")?;
        sum.bytes += bytes.context("the node counts no bytes")?;
    }
    Ok(sum)
}

/// The sum of a counter over its labels, in the text of an exporter.
fn total(text: &str, counter: &str) -> Option<f64> {
    let lines = text.lines().filter(|line| line.strip_prefix(counter).is_some_and(|rest| rest.starts_with(['{', ' '])));
    let values: Vec<f64> = lines.filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect();
    (!values.is_empty()).then(|| values.iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_summed_over_their_labels() {
        let text = "# TYPE sent_total counter\nsent_total{lane=\"raft\"} 5\nsent_total{lane=\"bulk\"} 2.5\nsent_total_other 9\n";
        assert_eq!(total(text, "sent_total"), Some(7.5));
        assert_eq!(total(text, "absent"), None);
    }
}
