//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::words::{ShareWord, UserWord};

/// A continuously available SMB3 file server.
#[derive(Debug, Parser)]
#[command(name = "holdfast", version, about, propagate_version = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Starts a cluster of real processes on loopback addresses, and stops it at Ctrl-C
    Demo(DemoArgs),
    /// Creates a new cluster; this is its first node
    Init(InitArgs),
    /// Makes this node a member of an existing cluster
    Join(JoinArgs),
    /// Runs a node
    Serve(ServeArgs),
    /// Shows the cluster as a node sees it
    Status(LookArgs),
    /// Lists open handles
    Handles(LookArgs),
    /// Lists witness registrations at a node
    Witness(LookArgs),
    /// Tells what has happened and what happens in the cluster
    Events(crate::command::events::EventsArgs),
    /// Makes, changes and lists users
    #[command(subcommand)]
    User(UserCommand),
    /// Makes, removes and lists shares
    #[command(subcommand)]
    Share(ShareCommand),
    /// Drains and removes nodes, moves the lead
    #[command(subcommand)]
    Node(NodeCommand),
    /// Makes a token that lets one node join, once
    Token(TokenArgs),
}

/// Which node to ask.
#[derive(Debug, Clone, Args)]
pub struct At {
    /// The node's configuration file
    #[arg(long, value_name = "FILE", env = "HOLDFAST_CONFIG", default_value = "/etc/holdfast/holdfast.toml")]
    pub config: PathBuf,
}

/// Looking at something.
#[derive(Debug, Args)]
pub struct LookArgs {
    /// Which node.
    #[command(flatten)]
    pub at: At,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// How many nodes
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=9))]
    pub nodes: u8,
    /// Where everything is kept; reused when it exists. Default: a temporary directory, removed at the end
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// A user (may be given several times). Default: demo:Holdfast1!
    #[arg(long = "user", value_name = "NAME:PASSWORD")]
    pub users: Vec<UserWord>,
    /// A share (may be given several times). Default: share,ca and plain
    #[arg(long = "share", value_name = "NAME[=DIR][,ca][,scaleout][,encrypt]")]
    pub shares: Vec<ShareWord>,
    /// Print one line of JSON when the cluster is ready, nothing else
    #[arg(long)]
    pub json: bool,
    /// Use ports 445 and 135, as Windows clients want (needs root)
    #[arg(long, conflicts_with_all = ["smb_port", "mapper_port", "ephemeral_ports"])]
    pub well_known_ports: bool,
    /// The first three numbers of the nodes' addresses; node 1 gets .11
    #[arg(long, value_name = "A.B.C", default_value = "127.0.0")]
    pub loopback: String,
    /// Take whatever ports are free
    #[arg(long, conflicts_with_all = ["smb_port", "mapper_port", "admin_port"])]
    pub ephemeral_ports: bool,
    /// SMB port
    #[arg(long, default_value_t = 4450)]
    pub smb_port: u16,
    /// Endpoint mapper port; the witness gets the next one
    #[arg(long, default_value_t = 13500)]
    pub mapper_port: u16,
    /// Admin port
    #[arg(long, default_value_t = 8450)]
    pub admin_port: u16,
    /// Name of the cluster
    #[arg(long, default_value = "HOLDFAST")]
    pub net_name: String,
    /// Node lease, ms
    #[arg(long, value_name = "MS", default_value_t = 2000)]
    pub lease_ms: u64,
}

/// `init`.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// Which node.
    #[command(flatten)]
    pub at: At,
    /// The name under which clients see all nodes as one server
    #[arg(long, value_name = "NAME")]
    pub net_name: String,
    /// A first user (may be given several times)
    #[arg(long = "user", value_name = "NAME:PASSWORD")]
    pub users: Vec<UserWord>,
    /// A first share (may be given several times)
    #[arg(long = "share", value_name = "NAME=DIR[,ca][,scaleout][,encrypt]")]
    pub shares: Vec<ShareWord>,
}

/// `join`.
#[derive(Debug, Args)]
pub struct JoinArgs {
    /// Which node.
    #[command(flatten)]
    pub at: At,
    /// What `holdfast token` printed on a member
    #[arg(long, value_name = "TOKEN")]
    pub token: String,
}

/// `serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Which node.
    #[command(flatten)]
    pub at: At,
    /// Stop when standard input ends: for programs that start nodes
    #[arg(long)]
    pub exit_with_stdin: bool,
}

/// `token`.
#[derive(Debug, Args)]
pub struct TokenArgs {
    /// Which node.
    #[command(flatten)]
    pub at: At,
    /// How long it is good for, s
    #[arg(long, default_value_t = 3600)]
    pub seconds: u64,
}

/// `user`.
#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Adds a user; without :PASSWORD it is read from standard input
    Add(UserArgs),
    /// Changes a password; without :PASSWORD it is read from standard input
    Passwd(UserArgs),
    /// Lets a user log on again
    Enable(NameArgs),
    /// Forbids a user to log on
    Disable(NameArgs),
    /// Removes a user
    Remove(NameArgs),
    /// Lists users
    List(LookArgs),
}

/// A user with a password.
#[derive(Debug, Args)]
pub struct UserArgs {
    /// Which node.
    #[command(flatten)]
    pub at: At,
    /// The user
    #[arg(value_name = "NAME[:PASSWORD]")]
    pub user: String,
}

/// Something by its name.
#[derive(Debug, Args)]
pub struct NameArgs {
    /// Which node.
    #[command(flatten)]
    pub at: At,
    /// Its name
    pub name: String,
}

/// `share`.
#[derive(Debug, Subcommand)]
pub enum ShareCommand {
    /// Adds a share
    Add(ShareArgs),
    /// Removes a share; its handles are closed
    Remove(NameArgs),
    /// Lists shares
    List(LookArgs),
}

/// A new share.
#[derive(Debug, Args)]
pub struct ShareArgs {
    /// Which node.
    #[command(flatten)]
    pub at: At,
    /// The share; the directory must exist on every node
    #[arg(value_name = "NAME=DIR[,ca][,scaleout][,encrypt]")]
    pub share: ShareWord,
    /// For people
    #[arg(long, default_value = "")]
    pub comment: String,
}

/// `node`.
#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    /// Lists nodes
    List(LookArgs),
    /// Asks the clients of a node to move elsewhere
    Drain(NodeArgs),
    /// Ends the draining of a node
    Undrain(NodeArgs),
    /// Makes a node the leader
    Lead(NodeArgs),
    /// Removes a node that is down, for good
    Remove(NodeArgs),
}

/// A node by its id.
#[derive(Debug, Args)]
pub struct NodeArgs {
    /// Which node to ask.
    #[command(flatten)]
    pub at: At,
    /// The node
    pub id: u64,
}
