//! `holdfast store`: the records of a node that does not run.

use std::{
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use indicatif::ProgressBar;
use persistence::offline::{self, FileKind, FileReport, Line, OfflineError, Plan, Report, Step, What};
use serde::Serialize;

use super::{local_audit, say, say_json};
use crate::{
    admin::certificate::hex,
    cli::{DumpArgs, DumpWhat, RepairArgs, StoreBackupArgs, StoreCommand, StoreDir},
    failure::{CANNOT_CREATE, DATA, Failure, IO, NO_INPUT, NO_PERMISSION, UNAVAILABLE},
};

/// Carries it out.
///
/// # Errors
/// The directory is missing, in use, or damaged (65).
pub fn run(command: &StoreCommand) -> Result<(), Failure> {
    match command {
        StoreCommand::Check(args) => check(args),
        StoreCommand::Dump(args) => dump(args),
        StoreCommand::Repair(args) if args.dry_run => repair(args),
        StoreCommand::Repair(args) => {
            let about = serde_json::json!({"refill": args.refill});
            local_audit::around(&data_dir(&args.dir), "store repair", about, || repair(args))
        }
        StoreCommand::Backup(args) => {
            let about = serde_json::json!({"to": args.to});
            local_audit::around(&data_dir(&args.dir), "store backup", about, || backup(args))
        }
    }
}

/// The records below a node's data directory, or the directory itself.
fn records(dir: &Path) -> PathBuf {
    let below = dir.join("records");
    if below.is_dir() { below } else { dir.to_owned() }
}

/// The data directory; the argument may be the folder `records` in it.
fn data_dir(dir: &Path) -> PathBuf {
    if dir.join("records").is_dir() { dir.to_owned() } else { dir.join("..") }
}

fn failure(error: OfflineError) -> Failure {
    let code = match &error {
        OfflineError::Missing(_) => NO_INPUT,
        OfflineError::InUse(_) => UNAVAILABLE,
        OfflineError::Io { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => NO_PERMISSION,
        OfflineError::Io { .. } => IO,
        _ => DATA,
    };
    Failure::new(code, error.to_string())
}

fn word(kind: FileKind) -> &'static str {
    match kind {
        FileKind::Identity => "identity",
        FileKind::Life => "mark of the last run",
        FileKind::Log => "log",
        FileKind::State => "state",
        FileKind::Snapshot => "snapshot",
    }
}

fn check(args: &StoreDir) -> Result<(), Failure> {
    let dir = records(&args.dir);
    let bar = if args.json { ProgressBar::hidden() } else { ProgressBar::new_spinner() };
    let report = offline::check(&dir, |file| {
        bar.set_message(file.path.display().to_string());
        bar.tick();
    });
    bar.finish_and_clear();
    let report = report.map_err(failure)?;
    if args.json {
        say_json(&report)?;
    } else {
        tell(&report);
    }
    if report.is_sound() {
        return Ok(());
    }
    Err(Failure::new(
        DATA,
        format!("{} is damaged; `holdfast store repair {} --dry-run` says what can be done", dir.display(), args.dir.display()),
    ))
}

fn tell(report: &Report) {
    let number = |value: Option<u64>| value.map_or("none".to_owned(), |value| value.to_string());
    let cluster = report.cluster.map_or("unknown".to_owned(), |cluster| cluster.to_string());
    say(&format!("{}: node {} of cluster {cluster}", report.dir.display(), number(report.node)));
    say(&format!("  vote: term {} for node {}", number(report.term), number(report.voted_for)));
    say(&format!(
        "  log {} to {}, purged up to {}, committed {}",
        number(report.first),
        number(report.last),
        number(report.purged),
        number(report.committed)
    ));
    say(&format!("  state at entry {}, snapshot at {}", number(report.applied), number(report.snapshot)));
    let end = if report.clean_stop { "stopped cleanly" } else { "did not stop cleanly" };
    say(&format!(
        "  the last run {end}{}",
        report.doubt.as_ref().map_or(String::new(), |doubt| format!("; it does not vote at first: {doubt}"))
    ));
    for FileReport { path, kind, bytes, records, problems } in &report.files {
        say(&format!("  {:<20} {bytes:>12} bytes {records:>10} records  {}", word(*kind), path.display()));
        problems.iter().for_each(|problem| say(&format!("      DAMAGED: {problem}")));
    }
    report.problems.iter().for_each(|problem| say(&format!("  PROBLEM: {problem}")));
    if report.is_sound() {
        say("every byte was read; nothing is wrong");
    }
}

/// One line of `dump --json`.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum DumpLine {
    Entry { index: u64, term: u64, leader: u64, time_ms: u64, what: String, command: String, bytes: usize },
    Value { key: String, record: String, bytes: usize },
}

fn dump(args: &DumpArgs) -> Result<(), Failure> {
    let what = match args.what {
        DumpWhat::Log => What::Log,
        DumpWhat::State => What::State,
    };
    let mut failed = None;
    let shown = offline::dump(&records(&args.dir), what, |line| {
        let line = match line {
            Line::Entry { index, term, leader, time_ms, what, command } => {
                DumpLine::Entry { index, term, leader, time_ms, what, bytes: command.len(), command: persistence::describe_entry(&command) }
            }
            Line::Value { key, value } => DumpLine::Value { record: persistence::describe_key(&key), bytes: value.len(), key: hex(&key) },
        };
        if args.json {
            if let Err(failure) = say_json(&line) {
                failed = Some(failure);
                return Err(std::io::ErrorKind::InvalidData.into());
            }
            return Ok(());
        }
        match line {
            DumpLine::Entry { index, term, leader, time_ms, what, command, bytes } => {
                say(&format!("{index:>10}  term {term:<4} by {leader:<3} at {time_ms:>10} ms  {what:<11} {command} ({bytes} bytes)"));
            }
            DumpLine::Value { key, record, bytes } => say(&format!("{record:<14} {key} ({bytes} bytes)")),
        }
        Ok(())
    });
    match failed {
        Some(failure) => Err(failure),
        None => shown.map_err(failure),
    }
}

/// What `repair --json` prints.
#[derive(Debug, Serialize)]
struct Repaired<'a> {
    is_done: bool,
    #[serde(flatten)]
    plan: &'a Plan,
}

fn backup(args: &StoreBackupArgs) -> Result<(), Failure> {
    if args.to.exists() {
        return Err(Failure::new(CANNOT_CREATE, format!("{} exists; name another file", args.to.display())));
    }
    let io = |e: std::io::Error| Failure::file("write", &args.to, &e);
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&args.to).map_err(io)?;
    let notes = std::collections::BTreeMap::from([
        ("program".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
        ("made by".to_owned(), "holdfast store backup, of one node that did not run".to_owned()),
    ]);
    let written = offline::export(&records(&args.dir), notes, std::io::BufWriter::new(file)).map_err(failure).and_then(|(out, _, _)| {
        let file = out.into_inner().map_err(|e| io(e.into_error()))?;
        file.sync_all().map_err(io)
    });
    written.inspect_err(|_| {
        // What is left of it is of no use to anybody.
        let _ = std::fs::remove_file(&args.to);
    })?;
    super::backup::verify_file(&args.to, args.json)
}

fn repair(args: &RepairArgs) -> Result<(), Failure> {
    let dir = records(&args.dir);
    let plan = if args.dry_run { offline::plan(&dir).map_err(failure)?.1 } else { offline::repair(&dir, args.refill).map_err(failure)? };
    if args.json {
        return say_json(&Repaired { is_done: !args.dry_run, plan: &plan });
    }
    if plan.steps.is_empty() {
        say("there is nothing to repair");
        return Ok(());
    }
    let (would, did) = (args.dry_run, if args.dry_run { "would be" } else { "was" });
    for step in &plan.steps {
        say(&match step {
            Step::SetAside { path } => format!("{} {did} set aside: it is not needed", path.display()),
            Step::MakeStateAnew { path } => {
                format!("{} {did} set aside: the node makes its state anew from snapshot and log when it starts", path.display())
            }
            Step::Refill if would => {
                "with --refill, the node would forget what it holds, and get everything from the others; its vote stays".to_owned()
            }
            Step::Refill => {
                "the node has forgotten what it holds, except its vote: start it, and it gets everything from the others".to_owned()
            }
            Step::Distrust => format!("the mark of the last run {did} written anew: the node does not vote before it has caught up"),
            Step::WriteIdentity => format!("the file identity {did} written anew, as the log has it"),
        });
    }
    if let Some(kept_in) = &plan.kept_in {
        say(&format!("what was damaged is kept in {}; remove it when the node runs again", kept_in.display()));
    }
    Ok(())
}
