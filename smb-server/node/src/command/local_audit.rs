//! Audit lines of commands that work on a node's files without its API.
//!
//! A running node writes the line itself, on a request over its socket. A line that cannot be
//! written is a warning: the command has been carried out already.

use std::{path::Path, time::Duration};

use serde_json::Value;

use super::warn;
use crate::{
    admin::{audit::CommandNote, change::Done},
    audit::{self, AuditResult, Entry, Origin},
    client::{Connection, Endpoint},
    failure::{Failure, UNAVAILABLE},
    identity,
};

/// Timeout for the running node.
const TELL_MAX: Duration = Duration::from_secs(5);

/// Runs a command and records it.
pub(super) fn around(data_dir: &Path, command: &str, about: Value, run: impl FnOnce() -> Result<(), Failure>) -> Result<(), Failure> {
    let done = run();
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(record(data_dir, command, about, done.as_ref().err())),
        Err(error) => warn(&format!("the audit log was not written: {error}")),
    }
    done
}

/// Records a command and its failure, if any.
pub(super) async fn record(data_dir: &Path, command: &str, about: Value, failed: Option<&Failure>) {
    // Without a data directory nothing was changed.
    if !data_dir.is_dir() {
        return;
    }
    if let Err(because) = write(data_dir, command, about, failed).await {
        warn(&format!("the audit log was not written: {because}"));
    }
}

async fn write(data_dir: &Path, command: &str, about: Value, failed: Option<&Failure>) -> Result<(), String> {
    let about = match failed {
        Some(failure) => serde_json::json!({"asked": about, "failed": failure.message}),
        None => about,
    };
    let connection = Connection { endpoint: Endpoint::local(data_dir), token: None };
    let told = CommandNote { command: command.to_owned(), about: about.clone() };
    let told = tokio::time::timeout(TELL_MAX, connection.post::<Done>("/api/v1/audit/commands", &told)).await;
    match told.map_err(|_| "the node does not answer".to_owned())? {
        Ok(_) => return Ok(()),
        Err(failure) if failure.code != UNAVAILABLE => return Err(failure.message),
        // The node does not run.
        Err(_) => {}
    }
    let uid = rustix::process::getuid().as_raw();
    let entry = Entry {
        number: 0,
        time: String::new(),
        node: 0,
        who: audit::user_name(uid),
        role: None,
        from: Origin { uid: Some(uid), pid: i32::try_from(std::process::id()).ok(), ..Origin::default() },
        method: "COMMAND".to_owned(),
        route: command.to_owned(),
        body: Some(about),
        result: if failed.is_some() { AuditResult::Failed } else { AuditResult::Done },
        status: failed.map_or(0, |failure| u16::from(failure.code)),
        error: failed.map(|failure| failure.message.clone()),
        left_out: 0,
    };
    let node = identity::load(data_dir).map_or(0, |identity| identity.node_id);
    audit::append_once(data_dir, node, entry).map_err(|error| error.to_string())
}
