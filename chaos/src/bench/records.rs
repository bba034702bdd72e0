//! What the records cost: runs the programs of `persistence` that measure it, when they are there.

use std::process::Stdio;

use anyhow::Context as _;
use serde_json::json;
use tokio::process::Command;

use super::helper::example;
use super::printer::Printer;
use super::{Scale, Section};

/// Runs them and passes on what they print.
pub(crate) async fn records(printer: Printer, scale: &Scale) -> anyhow::Result<()> {
    printer.section(
        Section::Records,
        &["one store with many open records: memory, restart, the price of an open, the death of a node; and what a lock costs that others must hear of"],
    );
    let seconds = if scale.rounds > 1 { 2 } else { 1 };
    // A third of all is what one node of three has.
    let (records, of_a_node) = (scale.records.to_string(), (scale.records / 3).to_string());
    for (name, argument) in [("scale", records.clone()), ("whole", records), ("crowd", of_a_node), ("barrier_cost", seconds.to_string())] {
        let program = match example(name) {
            Ok(program) => program,
            Err(because) => {
                printer.absent(Section::Records, name, &because.to_string());
                continue;
            }
        };
        let said = Command::new(&program).arg(argument).stdin(Stdio::null()).stderr(Stdio::inherit()).kill_on_drop(true).output().await;
        let said = said.with_context(|| format!("cannot run {}", program.display()))?;
        anyhow::ensure!(said.status.success(), "{} ended with {}", program.display(), said.status);
        for line in String::from_utf8_lossy(&said.stdout).lines() {
            printer.row(Section::Records, line, json!({"program": name, "line": line}));
        }
    }
    Ok(())
}
