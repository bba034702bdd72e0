//! `holdfast audit`: shows changes and refused requests.

use clap::Args;

use super::{say, say_json};
use crate::{
    admin::audit::LIMIT_DEFAULT,
    audit::{AuditResult, Entries, Entry},
    cli::At,
    client::AdminClient,
    failure::{Failure, UNAVAILABLE},
};

/// `audit`.
#[derive(Debug, Args)]
pub struct AuditArgs {
    /// Which node to ask.
    #[command(flatten)]
    pub at: At,
    /// How many of the newest entries
    #[arg(long, value_name = "N", default_value_t = LIMIT_DEFAULT)]
    pub limit: usize,
    /// Of all nodes that are up, not only of the one that is asked
    #[arg(long)]
    pub all_nodes: bool,
    /// Print JSON, one line each
    #[arg(long)]
    pub json: bool,
}

/// `holdfast audit`. Exit code 69 when a live node did not answer.
///
/// # Errors
/// The node cannot be asked, or refuses.
pub fn run(args: &AuditArgs) -> Result<(), Failure> {
    let path = format!("/api/v1/audit?limit={}&all_nodes={}", args.limit, args.all_nodes);
    let found: Entries = AdminClient::of(&args.at)?.get(&path)?;
    for entry in &found.entries {
        if args.json { say_json(entry)? } else { say(&line(entry)) }
    }
    if found.unanswered.is_empty() {
        return Ok(());
    }
    let nodes: Vec<&str> = found.unanswered.iter().map(|silent| silent.because.as_str()).collect();
    Err(Failure::new(UNAVAILABLE, format!("{}; what they have written down is missing: try again", nodes.join("; "))))
}

fn line(entry: &Entry) -> String {
    let from = match (&entry.from.address, entry.from.uid) {
        (Some(address), _) => address.to_string(),
        (None, Some(uid)) => format!("uid {uid} pid {}", entry.from.pid.unwrap_or_default()),
        (None, None) => "unknown".to_owned(),
    };
    let what = match entry.result {
        AuditResult::Done => "done",
        AuditResult::Forbidden => "REFUSED",
        AuditResult::Failed => "failed",
    };
    let role = entry.role.as_deref().unwrap_or("-");
    let body = entry.body.as_ref().map_or(String::new(), |body| format!("   {body}"));
    let error = entry.error.as_ref().map_or(String::new(), |error| format!("   {error}"));
    let left_out = if entry.left_out > 0 { format!("   ({} refusals before it left out)", entry.left_out) } else { String::new() };
    format!(
        "{}  node {:<3} {:<16} {role:<9} {from:<22} {what:<8} {} {} {}{body}{error}{left_out}",
        entry.time, entry.node, entry.who, entry.status, entry.method, entry.route
    )
}
