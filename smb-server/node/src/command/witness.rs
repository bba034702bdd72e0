//! `holdfast witness`: who is registered where, and what clients are told by hand.

use std::net::IpAddr;

use clap::{ArgGroup, Args, Subcommand};

use super::{say, say_json};
use crate::{
    admin::witness::{ClientMove, Notify, ShareMove, Unregister},
    cli::At,
    client::AdminClient,
    failure::{DATA, Failure, UNAVAILABLE},
    registrations::{Found, Silent, Told},
};

/// `witness`.
#[derive(Debug, Subcommand)]
pub enum WitnessCommand {
    /// Lists the registrations of all nodes
    List(ListArgs),
    /// Asks a client to move to a node (CLIENT_MOVE)
    Move(MoveArgs),
    /// Gives an asymmetric share to a node, or tells the clients of any other one to go there (SHARE_MOVE, to those registered for it by name)
    MoveShare(MoveShareArgs),
    /// Ends registrations; their clients register anew
    Unregister(UnregisterArgs),
    /// Tells clients the state of an address (RESOURCE_CHANGE), or that addresses changed (IP_CHANGE)
    Notify(NotifyArgs),
}

/// `witness list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Which node to ask; any will do.
    #[command(flatten)]
    pub at: At,
    /// Only registrations at this node
    #[arg(long, value_name = "ID")]
    pub only_node: Option<u64>,
    /// Only registrations of this client
    #[arg(long, value_name = "NAME")]
    pub client: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `witness move`.
#[derive(Debug, Args)]
pub struct MoveArgs {
    /// Which node to ask; any will do.
    #[command(flatten)]
    pub at: At,
    /// The client computer, as `witness list` shows it
    #[arg(long, value_name = "NAME")]
    pub client: String,
    /// The node where it should go
    #[arg(long, value_name = "ID")]
    pub to: u64,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `witness move-share`.
#[derive(Debug, Args)]
pub struct MoveShareArgs {
    /// Which node to ask; any will do.
    #[command(flatten)]
    pub at: At,
    /// The share
    pub share: String,
    /// The node where its clients should go
    #[arg(long, value_name = "ID")]
    pub to: u64,
    /// Only this client
    #[arg(long, value_name = "NAME")]
    pub client: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `witness unregister`.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("whom").required(true).args(["client", "id"])))]
pub struct UnregisterArgs {
    /// Which node to ask; any will do.
    #[command(flatten)]
    pub at: At,
    /// All registrations of this client
    #[arg(long, value_name = "NAME")]
    pub client: Option<String>,
    /// The registration of this number
    #[arg(long, value_name = "ID")]
    pub id: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `witness notify`.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("what").required(true).multiple(true).args(["address", "online", "offline"])))]
#[command(group(ArgGroup::new("state").args(["available", "unavailable"])))]
pub struct NotifyArgs {
    /// Which node to ask; any will do.
    #[command(flatten)]
    pub at: At,
    /// RESOURCE_CHANGE of this address; say which with --available or --unavailable
    #[arg(long, value_name = "IP", requires = "state", conflicts_with_all = ["online", "offline"])]
    pub address: Option<IpAddr>,
    /// It serves
    #[arg(long, requires = "address")]
    pub available: bool,
    /// It does not
    #[arg(long, requires = "address")]
    pub unavailable: bool,
    /// IP_CHANGE with this address online (may be given several times)
    #[arg(long, value_name = "IP")]
    pub online: Vec<IpAddr>,
    /// IP_CHANGE with this address offline (may be given several times)
    #[arg(long, value_name = "IP")]
    pub offline: Vec<IpAddr>,
    /// Only to this client
    #[arg(long, value_name = "NAME")]
    pub client: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Carries it out. Exit code 65 when no registration was concerned, 69 when a live node did not answer.
///
/// # Errors
/// The node cannot be asked, or refuses.
pub fn run(command: &WitnessCommand) -> Result<(), Failure> {
    match command {
        WitnessCommand::List(args) => list(args),
        WitnessCommand::Move(args) => {
            let wish = ClientMove { client: args.client.clone(), to: args.to };
            let told = AdminClient::of(&args.at)?.post("/api/v1/witness/move", &wish)?;
            let nobody = format!("no client {} is registered at the moment; if it registers within 30 s it is told then", args.client);
            say_told(&told, args.json, "asked to move", &nobody)
        }
        WitnessCommand::MoveShare(args) => {
            let wish = ShareMove { share: args.share.clone(), to: args.to, client: args.client.clone() };
            let told: Told = AdminClient::of(&args.at)?.post("/api/v1/witness/move-share", &wish)?;
            if let Some(owner) = told.owner {
                if args.json {
                    return say_json(&told);
                }
                say(&format!("node {owner} owns the share {} now; the clients that have registered for it are told", args.share));
                return Ok(());
            }
            let nobody = format!("nobody has registered for the share {} by name: clients do so for scale-out shares", args.share);
            say_told(&told, args.json, "told where the share is", &nobody)
        }
        WitnessCommand::Unregister(args) => {
            let wish = Unregister { client: args.client.clone(), id: args.id.clone() };
            let told = AdminClient::of(&args.at)?.post("/api/v1/witness/unregister", &wish)?;
            say_told(&told, args.json, "ended", "there is no such registration; `holdfast witness list` shows them")
        }
        WitnessCommand::Notify(args) => {
            let wish = Notify {
                address: args.address,
                available: args.address.map(|_| args.available),
                online: args.online.clone(),
                offline: args.offline.clone(),
                client: args.client.clone(),
            };
            let told = AdminClient::of(&args.at)?.post("/api/v1/witness/notify", &wish)?;
            say_told(&told, args.json, "told", "no registration wants to know that; `holdfast witness list` shows them")
        }
    }
}

fn list(args: &ListArgs) -> Result<(), Failure> {
    let mut found: Found = AdminClient::of(&args.at)?.get("/api/v1/witness")?;
    found.registrations.retain(|r| args.only_node.is_none_or(|node| r.node == node));
    if let Some(client) = &args.client {
        found.registrations.retain(|r| r.client.to_lowercase() == client.to_lowercase());
    }
    if args.json {
        say_json(&found)?;
    } else {
        for r in &found.registrations {
            let share = r.share.as_ref().map_or(String::new(), |share| format!("   share {share}"));
            let counts = format!("sent {} kept {}", r.sent, r.queued);
            say(&format!("{:<16} at node {:<3} about {:<16} v{} {:<8} {counts}{share}", r.client, r.node, r.address, r.version, r.state));
        }
        say(&format!("{} registrations", found.registrations.len()));
    }
    silent(&found.unanswered)
}

fn say_told(told: &Told, json: bool, done: &str, nobody: &str) -> Result<(), Failure> {
    if json {
        say_json(told)?;
    } else if told.registrations > 0 {
        let at: Vec<String> =
            told.nodes.iter().filter(|at| at.registrations > 0).map(|at| format!("{} at node {}", at.registrations, at.node)).collect();
        say(&format!("{} registrations {done}: {}", told.registrations, at.join(", ")));
    }
    silent(&told.unanswered)?;
    if told.registrations == 0 { Err(Failure::new(DATA, nobody)) } else { Ok(()) }
}

fn silent(unanswered: &[Silent]) -> Result<(), Failure> {
    if unanswered.is_empty() {
        return Ok(());
    }
    let nodes: Vec<String> = unanswered.iter().map(|silent| silent.because.clone()).collect();
    Err(Failure::new(UNAVAILABLE, format!("{}; what is registered there is not known: try again", nodes.join("; "))))
}
