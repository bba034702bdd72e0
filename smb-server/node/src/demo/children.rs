//! The demo's processes. They end with it: their standard input is a pipe that closes when the demo dies in whatever way.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::process::{Child, Command};

use super::layout::NodePlan;
use crate::failure::{Failure, UNAVAILABLE};

/// How long a node may take to stop before it is killed.
const STOP_MAX: Duration = Duration::from_secs(10);
/// How much of a dead node's log is shown.
const TAIL_LINES: usize = 3;

struct Running {
    number: u8,
    child: Child,
    log: PathBuf,
    /// Its end has been told.
    is_over: bool,
}

/// All nodes that were started.
pub(crate) struct Children {
    dir: PathBuf,
    all: Vec<Running>,
}

impl Children {
    pub(crate) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), all: Vec::new() }
    }

    /// Starts a node's process.
    pub(crate) fn start(&mut self, plan: &NodePlan) -> Result<(), Failure> {
        let program = std::env::current_exe().map_err(|e| Failure::new(UNAVAILABLE, format!("the own program cannot be found: {e}")))?;
        let log = File::options().create(true).append(true).open(&plan.log).map_err(|e| Failure::file("write", &plan.log, &e))?;
        let child = Command::new(program)
            .args(["serve", "--exit-with-stdin", "--config"])
            .arg(&plan.file)
            .current_dir(&self.dir)
            // The C library keeps what each of its arenas once held: two are enough, and a node that has moved gigabytes stays small.
            .env("MALLOC_ARENA_MAX", "2")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            // Ctrl-C is for the demo; it tells its nodes itself.
            .process_group(0)
            .spawn()
            .map_err(|e| Failure::new(UNAVAILABLE, format!("node {} cannot be started: {e}", plan.number)))?;
        self.all.push(Running { number: plan.number, child, log: plan.log.clone(), is_over: false });
        Ok(())
    }

    /// The process of a node.
    pub(crate) fn pid(&self, number: u8) -> Option<u32> {
        self.all.iter().find(|running| running.number == number).and_then(|running| running.child.id())
    }

    /// An error if a node has ended.
    pub(crate) fn check(&mut self) -> Result<(), Failure> {
        for running in &mut self.all {
            if let Ok(Some(status)) = running.child.try_wait() {
                let code = status.code().and_then(|c| u8::try_from(c).ok()).filter(|c| *c != 0).unwrap_or(UNAVAILABLE);
                return Err(Failure::new(code, format!("node {} ended ({status}): {}", running.number, tail(&running.log))));
            }
        }
        Ok(())
    }

    /// Nodes that have ended since the last call, with how.
    pub(crate) fn ended(&mut self) -> Vec<(u8, String)> {
        let mut ended = Vec::new();
        for running in self.all.iter_mut().filter(|running| !running.is_over) {
            if let Ok(Some(status)) = running.child.try_wait() {
                running.is_over = true;
                ended.push((running.number, status.to_string()));
            }
        }
        ended
    }

    /// Stops all, cleanly if they can.
    pub(crate) async fn stop(&mut self) {
        for running in &mut self.all {
            drop(running.child.stdin.take());
        }
        let waits = self.all.iter_mut().map(|running| async move {
            if tokio::time::timeout(STOP_MAX, running.child.wait()).await.is_err() {
                // It may have ended in this very moment.
                let _ = running.child.kill().await;
            }
        });
        let mut tasks = Vec::from_iter(waits.map(Box::pin));
        for task in &mut tasks {
            task.await;
        }
    }
}

fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(TAIL_LINES).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join(" / ")
}
