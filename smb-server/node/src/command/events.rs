//! `events`: what has happened and what happens, at whichever node is there to tell.

use std::{path::Path, time::Duration};

use clap::Args;

use super::{say, say_json};
use crate::{
    admin::{
        events::{EventLine, GAP, IDLE_LINE},
        view::Status,
    },
    cli::At,
    client::{ANSWER_MAX, AdminClient, Connection, Endpoint, Tls, token_of},
    config::Config,
    failure::{DATA, Failure, NO_PERMISSION, UNAVAILABLE},
    identity,
    secret::Secret,
    words::NodeAddress,
};

/// One answer lasts so long; then the same node is asked again. A node that has vanished without a word is noticed a little later.
const ANSWER_SECONDS: u64 = 15;
/// Pause before all nodes are tried again.
const ROUND_PAUSE: Duration = Duration::from_millis(250);

/// `events`.
#[derive(Debug, Args)]
pub struct EventsArgs {
    /// Which node to begin with.
    #[command(flatten)]
    pub at: At,
    /// Print JSON, one line each
    #[arg(long)]
    pub json: bool,
    /// Go on until Ctrl-C, at another node when this one dies
    #[arg(long)]
    pub follow: bool,
    /// Begin behind this position, as an earlier line gave it, or with what happens from `now` on. Default: as far back as is known
    #[arg(long, value_name = "INDEX.NUMBER")]
    pub from: Option<String>,
    /// Only this kind (may be given several times): node_up, node_down, node_draining, share_changed, …
    #[arg(long = "kind", value_name = "KIND")]
    pub kinds: Vec<String>,
    /// Only what is about this node
    #[arg(long, value_name = "ID")]
    pub only_node: Option<u64>,
}

/// Why a node is left.
enum Left {
    /// It has told what it had to tell.
    Done,
    /// It cannot be asked, or is not part of the cluster at present.
    Away(Failure),
}

/// `holdfast events`.
///
/// # Errors
/// No node can be asked, or all refuse.
pub fn run(args: &EventsArgs) -> Result<(), Failure> {
    Watcher::new(args)?.run()
}

struct Watcher<'a> {
    args: &'a EventsArgs,
    /// ServerCertificates at every node: tokens are the cluster's.
    token: Option<Secret>,
    /// Authorities (PEM) to verify other nodes with, if known.
    authorities: Option<Vec<u8>>,
    /// Endpoint named by the arguments.
    first: Endpoint,
    /// Endpoints of all nodes; the first is in use.
    nodes: Vec<Endpoint>,
    position: Option<String>,
    heard: bool,
}

impl<'a> Watcher<'a> {
    fn new(args: &'a EventsArgs) -> Result<Self, Failure> {
        let first = Endpoint::of(&args.at)?;
        let token = token_of(&args.at, &first)?;
        let authorities = match &args.at.ca {
            Some(ca) => Some(std::fs::read(ca).map_err(|e| Failure::file("read", ca, &e))?),
            None => local_authorities(&args.at.config),
        };
        let nodes = vec![first.clone()];
        Ok(Self { args, token, authorities, first, nodes, position: args.from.clone(), heard: false })
    }

    fn run(&mut self) -> Result<(), Failure> {
        let mut failed = 0;
        loop {
            match self.listen() {
                Ok(Left::Done) if self.args.follow => failed = 0,
                Ok(Left::Done) => return Ok(()),
                Ok(Left::Away(failure)) if !self.args.follow => return Err(failure),
                Ok(Left::Away(failure)) => {
                    failed = if std::mem::take(&mut self.heard) { 1 } else { failed + 1 };
                    if failed == self.nodes.len() {
                        complain(&format!("no node tells anything: {failure}; trying on"));
                    }
                    if failed >= self.nodes.len() {
                        std::thread::sleep(ROUND_PAUSE);
                    }
                    self.nodes.rotate_left(1);
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    /// Prints the events of the current node.
    fn listen(&mut self) -> Result<Left, Failure> {
        let connection = Connection { endpoint: self.nodes[0].clone(), token: self.token.clone() };
        let client = AdminClient::new(connection, ANSWER_MAX)?;
        match self.listen_with(&client) {
            Err(failure) if failure.code == UNAVAILABLE => Ok(Left::Away(failure)),
            other => other,
        }
    }

    fn listen_with(&mut self, client: &AdminClient) -> Result<Left, Failure> {
        self.learn_nodes(client)?;
        let mut path = format!("/api/v1/events?seconds={}", if self.args.follow { ANSWER_SECONDS } else { 0 });
        let kinds = if self.args.kinds.is_empty() { None } else { Some(self.args.kinds.join(",")) };
        let node = self.args.only_node.map(|node| node.to_string());
        for (name, value) in [("from", &self.position), ("kinds", &kinds), ("node", &node)] {
            if let Some(value) = value {
                path += &format!("&{name}={value}");
            }
        }
        let mut left = Left::Done;
        let (args, position, heard) = (self.args, &mut self.position, &mut self.heard);
        client.get_lines(&path, |text| {
            let line: EventLine = serde_json::from_str(text).map_err(|e| Failure::new(DATA, format!("a line makes no sense: {e}")))?;
            *position = Some(line.position.clone());
            if line.kind != IDLE_LINE {
                *heard = true;
                show(args, &line)?;
            } else if line.serving == Some(false) && args.follow {
                left = Left::Away(Failure::new(UNAVAILABLE, "the node is cut off from the others"));
                return Ok(false);
            }
            Ok(true)
        })?;
        Ok(left)
    }

    /// Learns the endpoints of the other nodes, for failover. They need a token and the authorities.
    fn learn_nodes(&mut self, client: &AdminClient) -> Result<(), Failure> {
        let status: Status = client.get("/api/v1/status").map_err(needs_a_token)?;
        let (Some(authorities), Some(_)) = (&self.authorities, &self.token) else { return Ok(()) };
        let present = self.nodes[0].clone();
        let mut nodes = vec![present.clone(), self.first.clone()];
        for node in status.nodes {
            let address = NodeAddress { id: Some(node.id), host: node.admin.ip().to_string(), port: node.admin.port() };
            nodes.extend(Tls::new(authorities, &address).map(Endpoint::Tls));
        }
        let mut known: Vec<String> = Vec::new();
        nodes.retain(|endpoint| {
            let name = endpoint.to_string();
            let is_new = !known.contains(&name);
            known.push(name);
            is_new
        });
        self.nodes = nodes;
        Ok(())
    }
}

/// The authorities of a local node, if this user may read its identity.
fn local_authorities(config: &Path) -> Option<Vec<u8>> {
    let config = Config::read(config).ok()?;
    identity::load(&config.data_dir).ok().map(|identity| identity.ca_pem.into_bytes())
}

/// Without a token the answer is the brief status, which does not decode as [`Status`].
fn needs_a_token(failure: Failure) -> Failure {
    if failure.code == DATA { Failure::new(NO_PERMISSION, "this needs a token with the role viewer: --token-file FILE") } else { failure }
}

fn show(args: &EventsArgs, line: &EventLine) -> Result<(), Failure> {
    if args.json {
        return say_json(line);
    }
    let kind = if line.kind == GAP { "GAP" } else { &line.kind };
    say(&format!("{:<14} {kind:<14} {}", line.position, line.text));
    Ok(())
}

/// Something beside the events: not part of the output.
fn complain(text: &str) {
    use std::io::Write as _;
    // Nobody may be listening.
    let _ = writeln!(std::io::stderr(), "holdfast: {text}");
}
