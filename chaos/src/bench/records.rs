//! A store with many records: runs the program that makes one, when it is there.

use std::process::Stdio;

use anyhow::Context as _;
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use super::helper::example;
use super::printer::Printer;
use super::{Scale, Section};

/// Runs it and passes its lines on.
pub(crate) async fn records(printer: Printer, scale: &Scale) -> anyhow::Result<()> {
    printer.section(Section::Records, &["one store with many open records: memory, restart, the price of an open"]);
    let program = match example("scale") {
        Ok(program) => program,
        Err(because) => {
            printer.absent(Section::Records, "many records", &because.to_string());
            return Ok(());
        }
    };
    let mut child = Command::new(&program)
        .arg(scale.records.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))?;
    let mut lines = BufReader::new(child.stdout.take().context("no output")?).lines();
    while let Some(line) = lines.next_line().await? {
        printer.row(Section::Records, &line, json!({ "line": line }));
    }
    let ended = child.wait().await?;
    anyhow::ensure!(ended.success(), "{} ended with {ended}", program.display());
    Ok(())
}
