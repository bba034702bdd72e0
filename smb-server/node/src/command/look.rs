//! `status`: what a node sees.

use serde::Deserialize as _;

use super::{say, say_json};
use crate::{
    admin::view::{BriefStatus, Status},
    cli::LookArgs,
    client::AdminClient,
    failure::{DATA, Failure, UNAVAILABLE},
};

/// `holdfast status`. Exit code 69 when the node does not serve.
///
/// # Errors
/// The node cannot be asked.
pub fn status(args: &LookArgs) -> Result<(), Failure> {
    let status: serde_json::Value = AdminClient::of(&args.at)?.get("/api/v1/status")?;
    if args.json {
        say_json(&status)?;
    }
    if let Ok(brief) = BriefStatus::deserialize(&status) {
        return brief_status(args, &brief);
    }
    let status = Status::deserialize(&status).map_err(|e| Failure::new(DATA, format!("the answer makes no sense: {e}")))?;
    if !args.json {
        let leader = status.leader.map_or("none".to_owned(), |id| id.to_string());
        say(&format!("cluster {}   node {}   {}", status.net_name, status.node, if status.serving { "serving" } else { "NOT serving" }));
        say(&format!("leader {leader}   term {}   applied {}   format level {}", status.term, status.applied, status.level));
        let days = status.certificate_days.map_or("unknown".to_owned(), |days| format!("{days} days"));
        let free = status.disk_free_bytes.map_or("unknown".to_owned(), |free| format!("{} MiB", free >> 20));
        say(&format!("program {}   certificate good for {days}   disk free {free}", status.program));
        say(&format!("sessions {}   opens {} ({} without their client)", status.sessions, status.opens, status.disconnected_opens));
        for node in &status.nodes {
            let smb = node.smb.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
            let votes = if node.voter { "" } else { "   does not vote" };
            say(&format!("  node {} {:<12} {:<9} {smb}   opens {}{votes}", node.id, node.name, node.state, node.opens));
        }
        for line in &status.attention {
            say(&format!("attention: {line}"));
        }
    }
    serving(status.serving, status.node)
}

/// Shows the status that needs no token.
fn brief_status(args: &LookArgs, status: &BriefStatus) -> Result<(), Failure> {
    if !args.json {
        let leader = status.leader.map_or("none".to_owned(), |id| id.to_string());
        say(&format!("node {}   {}", status.node, if status.serving { "serving" } else { "NOT serving" }));
        say(&format!("leader {leader}   {} of {} nodes up", status.nodes_up, status.nodes));
        say("more is shown to those who have a token: --token-file");
    }
    serving(status.serving, status.node)
}

fn serving(is_serving: bool, node: u64) -> Result<(), Failure> {
    if is_serving { Ok(()) } else { Err(Failure::new(UNAVAILABLE, format!("node {node} does not serve at the moment"))) }
}
