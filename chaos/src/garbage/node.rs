//! A node from outside: its memory while something goes on, and the numbers that it tells.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio_util::sync::CancellationToken;

use crate::cluster::{http, resident_kib};

/// Pause between two looks at the memory.
const LOOK_PAUSE: Duration = Duration::from_millis(10);
/// Pause between two looks at the numbers.
const POLL_PAUSE: Duration = Duration::from_millis(50);

/// Looks at a process's memory until it is dropped.
pub(super) struct Memory {
    pid: i32,
    peak_kib: Arc<AtomicU64>,
    stop: CancellationToken,
}

impl Memory {
    pub(super) fn watch(pid: i32) -> Self {
        let (peak_kib, stop) = (Arc::new(AtomicU64::new(0)), CancellationToken::new());
        let (peak, stopped) = (Arc::clone(&peak_kib), stop.clone());
        tokio::spawn(async move {
            while stopped.run_until_cancelled(tokio::time::sleep(LOOK_PAUSE)).await.is_some() {
                peak.fetch_max(resident_kib(pid).unwrap_or(0), Ordering::Relaxed);
            }
        });
        Self { pid, peak_kib, stop }
    }

    /// Now, KiB; the peak begins anew here.
    pub(super) fn begin(&self) -> anyhow::Result<u64> {
        let now = self.now()?;
        self.peak_kib.store(now, Ordering::Relaxed);
        Ok(now)
    }

    /// Now, KiB.
    pub(super) fn now(&self) -> anyhow::Result<u64> {
        resident_kib(self.pid).context("memory of the node: is it gone?")
    }

    /// The most since [`Self::begin`], KiB.
    pub(super) fn peak_kib(&self) -> u64 {
        self.peak_kib.load(Ordering::Relaxed)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A number of the node's metrics; 0 when it is not there.
pub(super) async fn metric(socket: &Path, name: &str) -> anyhow::Result<u64> {
    let (status, body) = http::get(socket, "/metrics").await?;
    anyhow::ensure!(status == 200, "metrics of the node: {status}");
    number(&String::from_utf8_lossy(&body), name)
}

fn number(text: &str, name: &str) -> anyhow::Result<u64> {
    let Some(line) = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')) else { return Ok(0) };
    let value: f64 = line.trim().parse().with_context(|| format!("metric {name}: {line}"))?;
    if !(0.0..=1e15).contains(&value) {
        bail!("metric {name} is {value}");
    }
    Ok(value as u64)
}

/// The value of a limit.
pub(super) async fn limit(socket: &Path, name: &str) -> anyhow::Result<u64> {
    let value = metric(socket, &format!("smb_limit{{limit=\"{name}\"}}")).await?;
    anyhow::ensure!(value > 0, "the node does not tell its limit {name}");
    Ok(value)
}

/// How often a limit has refused.
pub(super) async fn refusals(socket: &Path, name: &str) -> anyhow::Result<u64> {
    metric(socket, &format!("smb_limit_refusals_total{{limit=\"{name}\"}}")).await
}

/// Waits until a metric is at most `most`; whether it came to that.
pub(super) async fn falls_to(socket: &Path, name: &str, most: u64, within: Duration) -> anyhow::Result<bool> {
    let deadline = Instant::now() + within;
    loop {
        if metric(socket, name).await? <= most {
            return Ok(true);
        }
        if Instant::now() > deadline {
            return Ok(false);
        }
        tokio::time::sleep(POLL_PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_by_their_whole_name() {
        let text = "# TYPE a counter\na_total 3\na{limit=\"x\"} 17\na 5\n";
        assert_eq!(number(text, "a").unwrap(), 5);
        assert_eq!(number(text, "a{limit=\"x\"}").unwrap(), 17);
        assert_eq!(number(text, "b").unwrap(), 0);
        assert!(number("a -1\n", "a").is_err());
    }
}
