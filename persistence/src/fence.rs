//! What must have happened to a silent node before its handles may be taken.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use persistence_model::Node;
use tokio::process::Command;

use crate::config::Fence;
use crate::error::OpenError;

/// Why a fence did not close.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FenceError {
    #[error("it could not be run: {0}")]
    Run(#[from] io::Error),
    #[error("it was not done in time")]
    Timeout,
    #[error("it ended with {0}")]
    Failed(String),
}

/// Closes the fence behind a node that has been silent for longer than its lease.
pub(crate) async fn close(fence: &Fence, node: &Node) -> Result<(), FenceError> {
    match fence {
        Fence::None => Ok(()),
        Fence::Command { program, args, timeout } => run(program, args, *timeout, node).await,
        // It last fed its watchdog while it had its lease, which is over.
        Fence::Watchdog { timeout, .. } => {
            tokio::time::sleep(*timeout).await;
            Ok(())
        }
    }
}

async fn run(program: &Path, args: &[String], timeout: Duration, node: &Node) -> Result<(), FenceError> {
    let mut child = Command::new(program)
        .args(args)
        .env("HOLDFAST_NODE_ID", node.id.0.to_string())
        .env("HOLDFAST_NODE_NAME", &node.name)
        .env("HOLDFAST_NODE_ADDRESS", node.addresses.raft.ip().to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let ended = tokio::time::timeout(timeout, child.wait()).await.map_err(|_| FenceError::Timeout)??;
    match (ended.code(), ended.signal()) {
        (Some(0), _) => Ok(()),
        (Some(code), _) => Err(FenceError::Failed(format!("exit code {code}"))),
        (None, signal) => Err(FenceError::Failed(format!("signal {}", signal.unwrap_or_default()))),
    }
}

/// This node's own watchdog: while it is fed the machine runs on.
pub(crate) struct Watchdog {
    device: Arc<Mutex<std::fs::File>>,
}

impl Watchdog {
    /// Opens the device if the fence is a watchdog. From then on it must be fed.
    pub(crate) fn open(fence: &Fence) -> Result<Option<Self>, OpenError> {
        let Fence::Watchdog { device, .. } = fence else { return Ok(None) };
        let opened = std::fs::OpenOptions::new().write(true).open(device);
        let file = opened.map_err(|source| OpenError::Watchdog { device: device.clone(), source })?;
        Ok(Some(Self { device: Arc::new(Mutex::new(file)) }))
    }

    /// Keeps the machine running for another timeout of the device.
    pub(crate) async fn feed(&self) {
        self.write(b"\0").await;
    }

    /// Tells the device that nobody will feed it any more, and that this is well.
    pub(crate) async fn release(&self) {
        self.write(b"V").await;
    }

    async fn write(&self, what: &'static [u8]) {
        let device = self.device.clone();
        let written = tokio::task::spawn_blocking(move || io::Write::write_all(&mut *device.lock(), what)).await;
        match written {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the watchdog was not fed: the machine may be reset"),
            Err(error) => tracing::error!(%error, "the watchdog was not fed: the machine may be reset"),
        }
    }
}

#[cfg(test)]
mod tests {
    use persistence_model::{Incarnation, LogTime, NodeAddresses, NodeId, NodeState};

    use super::*;

    fn node() -> Node {
        let any = "127.0.0.9:1".parse().unwrap();
        Node {
            id: NodeId(4),
            incarnation: Incarnation(9),
            name: "four".into(),
            addresses: NodeAddresses { smb: Vec::new(), witness: any, mapper: any, admin: any, raft: any },
            state: NodeState::Up,
            boot_id: String::new(),
            since: LogTime(0),
        }
    }

    fn shell(script: &str, timeout: Duration) -> Fence {
        Fence::Command { program: "/bin/sh".into(), args: vec!["-c".into(), script.into()], timeout }
    }

    #[tokio::test]
    async fn the_command_knows_the_node_and_must_succeed() {
        let long = Duration::from_secs(20);
        let told = "test \"$HOLDFAST_NODE_ID $HOLDFAST_NODE_NAME $HOLDFAST_NODE_ADDRESS\" = '4 four 127.0.0.9'";
        close(&shell(told, long), &node()).await.unwrap();
        assert!(matches!(close(&shell("exit 3", long), &node()).await, Err(FenceError::Failed(why)) if why == "exit code 3"));
        assert!(matches!(close(&shell("kill -9 $$", long), &node()).await, Err(FenceError::Failed(why)) if why == "signal 9"));
        assert!(matches!(close(&shell("sleep 60", Duration::from_millis(20)), &node()).await, Err(FenceError::Timeout)));
        let missing = Fence::Command { program: "/nowhere/fence".into(), args: Vec::new(), timeout: long };
        assert!(matches!(close(&missing, &node()).await, Err(FenceError::Run(_))));
    }

    #[tokio::test]
    async fn the_watchdog_is_fed_and_released() {
        let device = tempfile::NamedTempFile::new().unwrap();
        let fence = Fence::Watchdog { device: device.path().to_owned(), timeout: Duration::from_millis(1) };
        let watchdog = Watchdog::open(&fence).unwrap().unwrap();
        watchdog.feed().await;
        watchdog.release().await;
        assert_eq!(std::fs::read(device.path()).unwrap(), b"\0V");
        assert!(Watchdog::open(&Fence::None).unwrap().is_none());
        let missing = Fence::Watchdog { device: "/nowhere/watchdog".into(), timeout: Duration::from_secs(1) };
        assert!(Watchdog::open(&missing).is_err());
    }
}
