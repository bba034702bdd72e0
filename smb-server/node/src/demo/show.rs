//! What the demo tells the person at the terminal. In JSON mode nothing but the one line.

use std::{
    io::{IsTerminal as _, Write as _},
    path::Path,
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};

use super::{LOOK_MAX, Ready, Stop, ask, children::Children, layout::NodePlan};
use crate::{admin::view::Status, command::say};

/// Pause between two looks at the nodes.
const LOOK_PAUSE: Duration = Duration::from_millis(500);

/// Steps of the start.
pub(crate) struct Progress {
    is_json: bool,
}

impl Progress {
    pub(crate) fn new(is_json: bool) -> Self {
        Self { is_json }
    }

    pub(crate) fn step(&mut self, what: &str) {
        if !self.is_json {
            let _ = writeln!(std::io::stderr(), "demo: {what}");
        }
    }
}

/// Addresses, users and the lines to type.
pub(crate) fn banner(ready: &Ready, dir: &Path) {
    say("");
    say(&format!("cluster {} is ready, in {}", ready.net_name, dir.display()));
    for node in &ready.nodes {
        say(&format!(
            "  {}  {}  SMB {}  endpoint mapper {}  witness {}  admin https://{}:{}  pid {}",
            node.name, node.address, node.smb_port, node.mapper_port, node.witness_port, node.address, node.admin_port, node.pid
        ));
    }
    for share in &ready.shares {
        let kind = if share.ca { "continuously available" } else { "plain" };
        say(&format!("  share {}  {kind}{}  {}", share.name, if share.scaleout { ", scale-out" } else { "" }, share.path));
    }
    for user in &ready.users {
        match user.password {
            Some(password) => say(&format!("  user {}  password {password}", user.name)),
            None => say(&format!("  user {}", user.name)),
        }
    }
    if let (Some(node), Some(share), Some(user)) = (ready.nodes.first(), ready.shares.first(), ready.users.first()) {
        let (address, port) = (node.address, node.smb_port);
        say("");
        say(&format!("  smbclient //{address}/{} -p {port} -U '{}'", share.name, user.name));
        let options = format!("port={port},vers=3.1.1,username={}", user.name);
        say(&format!("  mount -t cifs //{address}/{} /mnt -o '{options}{}'", share.name, if share.ca { ",persistenthandles" } else { "" }));
        say(&format!("  kill -9 {}      (node {}; its clients go on elsewhere)", node.pid, node.id));
        say(&format!("  holdfast status --config {}", node.config.display()));
    }
    say("");
    say("Ctrl-C stops the cluster.");
}

/// Shows what the nodes do, until told to stop.
pub(crate) async fn live(is_json: bool, plans: &[NodePlan], children: &mut Children, stop: &mut Stop) {
    let is_terminal = !is_json && std::io::stdout().is_terminal();
    let bar = is_terminal.then(|| {
        let style = ProgressStyle::with_template("{spinner} {msg}").unwrap_or_else(|_| ProgressStyle::default_spinner());
        ProgressBar::new_spinner().with_style(style)
    });
    let mut last = String::new();
    loop {
        tokio::select! {
            () = stop.wait() => break,
            () = tokio::time::sleep(LOOK_PAUSE) => {}
        }
        for (number, how) in children.ended() {
            tell(is_json, bar.as_ref(), &format!("node {number} has ended: {how}"));
        }
        if is_json {
            continue;
        }
        let line = look(plans).await;
        match &bar {
            Some(bar) => {
                bar.set_message(line);
                bar.tick();
            }
            None if line != last => {
                say(&line);
                last = line;
            }
            None => {}
        }
    }
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
}

fn tell(is_json: bool, bar: Option<&ProgressBar>, line: &str) {
    match bar {
        Some(bar) => bar.println(line),
        None if is_json => {
            let _ = writeln!(std::io::stderr(), "demo: {line}");
        }
        None => say(line),
    }
}

/// One line: leader, state of each node, opens.
async fn look(plans: &[NodePlan]) -> String {
    let looks = plans.iter().map(|plan| async { (plan.number, ask::<Status>(plan, "/api/v1/status", LOOK_MAX).await.ok()) });
    let statuses: Vec<(u8, Option<Status>)> = futures::future::join_all(looks).await;
    // The node that has seen most knows best.
    let Some(best) = statuses.iter().filter_map(|(_, status)| status.as_ref()).max_by_key(|status| (status.serving, status.applied)) else {
        return "no node answers".to_owned();
    };
    let leader = best.leader.map_or("none".to_owned(), |id| id.to_string());
    let nodes: Vec<String> = statuses
        .iter()
        .map(|(number, status)| {
            let word = match status {
                Some(status) if status.serving => "serving",
                Some(_) => "waiting",
                None => "gone",
            };
            format!("node {number} {word}")
        })
        .collect();
    format!(
        "leader {leader}   {}   sessions {}   opens {} ({} without their client)",
        nodes.join("   "),
        best.sessions,
        best.opens,
        best.disconnected_opens
    )
}
