//! Bytes at every port that a node listens on, whatever it speaks there.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::client::{Mount, OpenPlan, PersistentFile, Session, Timeline};
use crate::cluster::{Cluster, is_running, resident_kib};
use crate::failover::run::mount_options;
use crate::rng::Rng;

/// Resident memory that a node may have after all of it, in KiB.
pub const RESIDENT_KIB_MAX: u64 = 400 * 1024;
/// Connections of each kind of garbage.
const TRIES: u64 = 25;
/// How long a connection is listened to after its garbage.
const LISTEN: Duration = Duration::from_millis(50);
/// How long the node may take to serve a well-mannered client meanwhile.
const SERVE_LIMIT: Duration = Duration::from_secs(10);

/// What was seen.
#[derive(Clone, Copy, Debug)]
pub struct GarbageReport {
    /// Ports that got it.
    pub ports: usize,
    /// Connections that carried it.
    pub connections: u64,
    /// Resident memory before, KiB.
    pub before_kib: u64,
    /// Resident memory after, KiB.
    pub after_kib: u64,
}

/// Throws garbage at every port that a node listens on, and checks that it still serves while it does.
pub async fn garbage(cluster: &Cluster, index: usize, half_open: usize, seed: u64) -> anyhow::Result<GarbageReport> {
    let node = cluster.nodes.get(index).context("no such node")?;
    let ports = listening(node.pid).context("ports of the node")?;
    if ports.is_empty() {
        bail!("node {} listens on no port", node.id);
    }
    let before_kib = resident_kib(node.pid).context("memory of the node")?;
    let mut rng = Rng::new(seed);
    let mut connections = 0;
    for port in &ports {
        let held = hold(*port, half_open).await;
        for kind in 0..=4u8 {
            let mut tasks = JoinSet::new();
            for _ in 0..TRIES {
                tasks.spawn(throw(*port, bytes(kind, &mut rng)));
                connections += 1;
            }
            while tasks.join_next().await.is_some() {}
        }
        // The half-open ones are still there: the node must serve beside them.
        serves(cluster, index).await.with_context(|| format!("with {} half-open connections to {port}", held.len()))?;
        connections += held.len() as u64;
    }
    serves(cluster, index).await.context("after all garbage")?;
    if !is_running(node.pid) {
        bail!("node {} is gone", node.id);
    }
    let after_kib = resident_kib(node.pid).context("memory of the node")?;
    if after_kib > RESIDENT_KIB_MAX {
        bail!("node {} has grown from {before_kib} to {after_kib} KiB", node.id);
    }
    Ok(GarbageReport { ports: ports.len(), connections, before_kib, after_kib })
}

/// A piece of garbage of one of five kinds.
fn bytes(kind: u8, rng: &mut Rng) -> Vec<u8> {
    let mut noise = vec![0; usize::try_from(rng.between(1, 4096)).unwrap_or(1)];
    rng.fill(&mut noise);
    match kind {
        // Noise from the first byte.
        0 => noise,
        // A direct-TCP frame that promises more than comes.
        1 => [&[0, 0xFF, 0xFF, 0xFF][..], &noise].concat(),
        // A frame with an SMB2 header and noise behind it.
        2 => frame(&[&[0xFE, b'S', b'M', b'B', 64, 0][..], &noise].concat()),
        // A frame that says it is encrypted.
        3 => frame(&[&[0xFD, b'S', b'M', b'B'][..], &noise].concat()),
        // A DCE/RPC bind with a fragment length that is a lie.
        _ => [&[5, 0, 11, 3, 0x10, 0, 0, 0, 0xFF, 0xFF, 0, 0, 1, 0, 0, 0][..], &noise].concat(),
    }
}

fn frame(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap_or(0).to_be_bytes();
    [&length[..], message].concat()
}

/// Sends it; whatever comes back, or that nothing does, is fine.
async fn throw(port: SocketAddr, garbage: Vec<u8>) {
    let Ok(mut stream) = TcpStream::connect(port).await else { return };
    if stream.write_all(&garbage).await.is_ok() {
        let mut sink = [0; 1024];
        // Only so that an answer is taken: its content does not matter.
        _ = tokio::time::timeout(LISTEN, stream.read(&mut sink)).await;
    }
}

/// Connections that say nothing, or half a word.
async fn hold(port: SocketAddr, count: usize) -> Vec<TcpStream> {
    let mut held = Vec::with_capacity(count);
    for i in 0..count {
        let Ok(Ok(mut stream)) = tokio::time::timeout(Duration::from_secs(2), TcpStream::connect(port)).await else { break };
        // A server may have a limit and close it at once.
        if i % 2 == 0 {
            _ = stream.write_all(&[0, 0]).await;
        }
        held.push(stream);
    }
    held
}

/// A well-mannered client gets its work done.
async fn serves(cluster: &Cluster, index: usize) -> anyhow::Result<()> {
    let work = async {
        let endpoint = *cluster.endpoints().get(index).context("no such node")?;
        let (session, _breaks) = Session::connect(endpoint.smb, &cluster.identity(), 0).await.context("logon")?;
        session.echo().await.context("echo")?;
        session.log_off().await.context("logoff")?;
        let mut options = mount_options(cluster);
        options.witness = false;
        options.nodes = vec![endpoint];
        let mount = Mount::connect(options, 0, Timeline::default()).await?;
        let file = PersistentFile::open(&mount, OpenPlan::read_write("garbage-check.bin")).await?;
        file.write(0, bytes::Bytes::from_static(b"still here")).await?;
        file.close().await?;
        Ok::<(), anyhow::Error>(mount.unmount().await?)
    };
    tokio::time::timeout(SERVE_LIMIT, work).await.context("the node does not answer")?
}

/// The addresses that a process listens on, as the kernel tells them.
fn listening(pid: i32) -> anyhow::Result<Vec<SocketAddr>> {
    let mut inodes = std::collections::BTreeSet::new();
    for entry in std::fs::read_dir(format!("/proc/{pid}/fd")).context("open files of the process")? {
        // A descriptor may be closed while we look.
        let Ok(target) = entry.and_then(|e| std::fs::read_link(e.path())) else { continue };
        if let Some(inode) = target.to_str().and_then(|t| t.strip_prefix("socket:[")?.strip_suffix(']')?.parse::<u64>().ok()) {
            inodes.insert(inode);
        }
    }
    let table = std::fs::read_to_string(format!("/proc/{pid}/net/tcp")).context("table of sockets")?;
    Ok(table.lines().skip(1).filter_map(parse_listener).filter(|(_, inode)| inodes.contains(inode)).map(|(a, _)| a).collect())
}

/// Address and inode of a line of /proc/net/tcp, if it is a listener's.
fn parse_listener(line: &str) -> Option<(SocketAddr, u64)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [_, local, _, state, ..] = fields.as_slice() else { return None };
    if *state != "0A" {
        return None;
    }
    let (ip, port) = local.split_once(':')?;
    let ip = u32::from_str_radix(ip, 16).ok()?.to_le_bytes();
    let ip = if ip == [0; 4] { [127, 0, 0, 1] } else { ip };
    Some((SocketAddr::from((ip, u16::from_str_radix(port, 16).ok()?)), fields.get(9)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_are_read_from_the_kernels_table() {
        let line = "   0: 0B00007F:1162 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0";
        assert_eq!(parse_listener(line), Some(("127.0.0.11:4450".parse().unwrap(), 4711)));
        assert_eq!(parse_listener(&line.replace(" 0A ", " 01 ")), None, "an established connection is no listener");
        let own = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let found = listening(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(found.contains(&own.local_addr().unwrap()));
    }

    #[test]
    fn garbage_is_reproducible() {
        for kind in 0..=4 {
            assert_eq!(bytes(kind, &mut Rng::new(3)), bytes(kind, &mut Rng::new(3)));
        }
    }
}
