//! A program beside ours that obeys lines with lines of JSON.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// Longest wait for an answer, beside what was asked for.
const ANSWER_MAX: Duration = Duration::from_secs(120);

/// A running helper; it ends with this value.
#[derive(Debug)]
pub struct Helper {
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    name: String,
    _child: Child,
}

/// What a load came to.
#[derive(Clone, Copy, Debug, Default, Deserialize, serde::Serialize)]
pub struct Load {
    /// Acknowledged commits.
    pub commits: u64,
    /// Those without an outcome.
    pub failed: u64,
    /// Commits per second.
    pub per_second: f64,
    /// Time of half of them.
    pub p50_ms: f64,
    /// Time of 99 in 100.
    pub p99_ms: f64,
    /// Time of the slowest.
    pub max_ms: f64,
}

/// What the death of a leader came to.
#[derive(Clone, Copy, Debug, Default, Deserialize, serde::Serialize)]
pub struct Death {
    /// Commits per second before it.
    pub before_per_second: f64,
    /// Longest time without an acknowledged commit.
    pub gap_ms: f64,
    /// When that began, from the death on: one that began long after it had another cause.
    pub gap_at_ms: f64,
    /// Longest time that one proposal took.
    pub hang_ms: f64,
    /// Acknowledged commits.
    pub acknowledged: u64,
    /// Proposals without an outcome.
    pub unknown: u64,
    /// Acknowledged commits that a node does not have afterwards.
    pub lost: u64,
    /// Keys that a node has twice.
    pub doubled: u64,
}

impl Helper {
    /// Starts a program and waits for its first line.
    pub async fn start(program: &Path, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> anyhow::Result<Self> {
        let mut child = Command::new(program)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let orders = child.stdin.take().context("no input of a helper")?;
        let answers = BufReader::new(child.stdout.take().context("no output of a helper")?).lines();
        let name = program.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let mut helper = Self { orders, answers, name, _child: child };
        helper.answer::<serde_json::Value>().await?;
        Ok(helper)
    }

    /// Gives an order and waits for its answer.
    pub async fn ask<T: DeserializeOwned>(&mut self, order: &str) -> anyhow::Result<T> {
        self.order(order).await?;
        self.answer().await
    }

    /// Gives an order.
    pub async fn order(&mut self, order: &str) -> anyhow::Result<()> {
        self.orders.write_all(format!("{order}\n").as_bytes()).await.with_context(|| format!("{} ended", self.name))
    }

    /// Waits for an answer.
    pub async fn answer<T: DeserializeOwned>(&mut self) -> anyhow::Result<T> {
        let line = tokio::time::timeout(ANSWER_MAX, self.answers.next_line()).await;
        let Some(line) = line.with_context(|| format!("{} does not answer", self.name))?? else { bail!("{} ended", self.name) };
        serde_json::from_str(&line).with_context(|| format!("{} said {line}", self.name))
    }
}

/// Finds an example that was built beside our own program.
pub fn example(name: &str) -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("our own path is unknown")?;
    let beside = own.ancestors().skip(1).take(2).map(|folder| folder.join("examples").join(name)).find(|path| path.is_file());
    beside.with_context(|| format!("the example {name} is not built beside {}; `make bench` builds it", own.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_helper_answers_in_order_and_its_end_is_noticed() {
        let script = "echo '{}'; while read n; do [ $n = end ] && exit; echo \"{\\\"commits\\\":$n,\\\"failed\\\":0,\\\"per_second\\\":1,\\\"p50_ms\\\":1,\\\"p99_ms\\\":1,\\\"max_ms\\\":1}\"; done";
        let mut helper = Helper::start(Path::new("/bin/sh"), ["-c", script]).await.unwrap();
        for n in [3, 5] {
            assert_eq!(helper.ask::<Load>(&n.to_string()).await.unwrap().commits, n);
        }
        assert!(helper.ask::<Load>("end").await.unwrap_err().to_string().contains("ended"));
    }
}
