//! `events`: what has happened and what happens, at whichever node is there to tell.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::Args;

use super::{say, say_json};
use crate::{
    admin::{
        events::{EventLine, GAP, IDLE_LINE},
        view::Status,
    },
    cli::At,
    client::AdminClient,
    config::Config,
    failure::{DATA, Failure, NO_PERMISSION, UNAVAILABLE},
    identity,
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
    /// Only this kind (may be given several times): node_up, node_down, node_draining, share_changed; those that name users, handles or files
    /// need the admin token of each node
    #[arg(long = "kind", value_name = "KIND")]
    pub kinds: Vec<String>,
    /// Only what is about this node
    #[arg(long, value_name = "ID")]
    pub node: Option<u64>,
    /// A file with the admin token of another node (may be given several times), for going on there
    #[arg(long = "token-file", value_name = "FILE")]
    pub tokens: Vec<PathBuf>,
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
    tokens: Vec<String>,
    /// The nodes' admin addresses; the first is the one that is asked.
    nodes: Vec<SocketAddr>,
    position: Option<String>,
    heard: bool,
}

impl<'a> Watcher<'a> {
    fn new(args: &'a EventsArgs) -> Result<Self, Failure> {
        let config = Config::read(&args.at.config)?;
        let read = |path: &PathBuf| std::fs::read_to_string(path).map(|token| token.trim().to_owned());
        let mut tokens: Vec<String> = read(&identity::admin_token_path(&config.data_dir)).into_iter().collect();
        for path in &args.tokens {
            tokens.push(read(path).map_err(|e| Failure::file("read", path, &e))?);
        }
        Ok(Self { args, tokens, nodes: vec![config.listen.admin], position: args.from.clone(), heard: false })
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

    /// Has the present node tell, with whichever token it takes.
    fn listen(&mut self) -> Result<Left, Failure> {
        let node = self.nodes[0];
        let mut tokens: Vec<Option<String>> = self.tokens.iter().cloned().map(Some).collect();
        // Without a token it would tell less than was asked for, unless nothing secret was.
        if tokens.is_empty() || !self.args.kinds.is_empty() {
            tokens.push(None);
        }
        let mut refused = None;
        for token in tokens {
            match self.listen_with(&AdminClient::new(node, token)) {
                Err(failure) if failure.code == NO_PERMISSION => refused = Some(failure),
                Err(failure) if failure.code == UNAVAILABLE => return Ok(Left::Away(failure)),
                other => return other,
            }
        }
        Ok(Left::Away(refused.unwrap_or_else(|| Failure::new(NO_PERMISSION, format!("{node} takes no token of ours")))))
    }

    fn listen_with(&mut self, client: &AdminClient) -> Result<Left, Failure> {
        self.learn_nodes(client)?;
        let mut path = format!("/api/v1/events?seconds={}", if self.args.follow { ANSWER_SECONDS } else { 0 });
        let kinds = if self.args.kinds.is_empty() { None } else { Some(self.args.kinds.join(",")) };
        let node = self.args.node.map(|node| node.to_string());
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

    /// Remembers where the others are, for when this one is gone.
    fn learn_nodes(&mut self, client: &AdminClient) -> Result<(), Failure> {
        let status: Status = client.get("/api/v1/status")?;
        let present = self.nodes[0];
        let others = status.nodes.iter().map(|node| node.admin).filter(|admin| *admin != present);
        self.nodes = std::iter::once(present).chain(others).collect();
        Ok(())
    }
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
