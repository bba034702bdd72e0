//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::{
    secret::PasswordArgs,
    words::{NodeAddress, ShareWord},
};

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
    /// Lists sessions: who is logged on, from where, since when
    Sessions(crate::command::in_use::FindArgs),
    /// Lists open handles, also those whose client is away
    Handles(crate::command::in_use::FindArgs),
    /// Lists byte-range locks
    Locks(crate::command::in_use::FindArgs),
    /// Ends sessions
    #[command(subcommand)]
    Session(crate::command::in_use::SessionCommand),
    /// Closes handles
    #[command(subcommand)]
    Handle(crate::command::in_use::HandleCommand),
    /// Shuts clients out, and lets them in again
    #[command(subcommand)]
    Client(crate::command::in_use::ClientCommand),
    /// Lists witness registrations, moves and notifies clients
    #[command(subcommand)]
    Witness(crate::command::witness::WitnessCommand),
    /// Tells what has happened and what happens in the cluster
    Events(crate::command::events::EventsArgs),
    /// Shows and changes what holds on every node: signing, encryption, lockout
    #[command(subcommand)]
    Cluster(crate::command::cluster::ClusterCommand),
    /// Makes, changes and lists users
    #[command(subcommand)]
    User(crate::command::user::UserCommand),
    /// Makes, changes and lists groups
    #[command(subcommand)]
    Group(crate::command::group::GroupCommand),
    /// Makes, changes, removes and lists shares
    #[command(subcommand)]
    Share(crate::command::share::ShareCommand),
    /// Drains, removes and replaces nodes, moves the lead
    #[command(subcommand)]
    Node(NodeCommand),
    /// Makes a token that lets one node join, once
    Token(TokenArgs),
    /// Copies the records of a running cluster to a file; clients are served meanwhile
    Backup(BackupArgs),
    /// Creates a new cluster that begins with a backup; this is its first node
    Restore(RestoreArgs),
    /// Checks, shows and repairs the records of a node that does not run
    #[command(subcommand)]
    Store(StoreCommand),
    /// Shows and replaces nodes' certificates
    #[command(subcommand)]
    Certificate(CertificateCommand),
    /// Shows, copies and replaces the authority that issues certificates
    #[command(subcommand)]
    Authority(AuthorityCommand),
    /// Makes, lists and removes the tokens of those who use the admin API
    #[command(subcommand)]
    Admin(crate::command::admin::AdminCommand),
    /// Shows who has changed what, and who was refused
    Audit(crate::command::audit::AuditArgs),
}

/// A local node.
#[derive(Debug, Clone, Args)]
pub struct Local {
    /// The node's configuration file
    #[arg(long, value_name = "FILE", env = "HOLDFAST_CONFIG", default_value = "/etc/holdfast/holdfast.toml")]
    pub config: PathBuf,
}

/// Which node to ask: a local one over its socket, or any node over TLS.
#[derive(Debug, Clone, Args)]
pub struct At {
    /// The configuration file of a node of this machine
    #[arg(long, value_name = "FILE", env = "HOLDFAST_CONFIG", default_value = "/etc/holdfast/holdfast.toml")]
    pub config: PathBuf,
    /// The admin address of a node, here or elsewhere, instead of a configuration file
    #[arg(long, value_name = "[ID@]HOST:PORT", env = "HOLDFAST_NODE", conflicts_with = "config")]
    pub node: Option<NodeAddress>,
    /// What `holdfast admin ca` wrote: the node must show a certificate of this authority
    #[arg(long, value_name = "FILE", env = "HOLDFAST_CA")]
    pub ca: Option<PathBuf>,
    /// A file with the admin token to show
    #[arg(long, value_name = "FILE", env = "HOLDFAST_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
    /// Read the admin token from standard input
    #[arg(long, conflicts_with = "token_file")]
    pub token_stdin: bool,
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
    /// A file with users, lines of NAME:PASSWORD. Default: the user demo with the password Holdfast1!
    #[arg(long, value_name = "FILE")]
    pub users_file: Option<PathBuf>,
    /// Refused: see --users-file
    #[arg(long = "user", hide = true)]
    pub users: Vec<String>,
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
    /// Stop when standard input ends: for programs that start a demo
    #[arg(long)]
    pub exit_with_stdin: bool,
}

/// `init`.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// Which node.
    #[command(flatten)]
    pub at: Local,
    /// The name under which clients see all nodes as one server
    #[arg(long, value_name = "NAME")]
    pub net_name: String,
    /// A first user, whose password is asked for (may be given several times)
    #[arg(long = "user", value_name = "NAME")]
    pub users: Vec<String>,
    /// Where their passwords come from.
    #[command(flatten)]
    pub passwords: PasswordArgs,
    /// A file with further users, lines of NAME:PASSWORD
    #[arg(long, value_name = "FILE")]
    pub users_file: Option<PathBuf>,
    /// A first share (may be given several times)
    #[arg(long = "share", value_name = "NAME=DIR[,ca][,scaleout][,encrypt]")]
    pub shares: Vec<ShareWord>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `join`.
#[derive(Debug, Args)]
pub struct JoinArgs {
    /// Which node.
    #[command(flatten)]
    pub at: Local,
    /// Read what `holdfast token` printed on a member from standard input
    #[arg(long)]
    pub token_stdin: bool,
    /// Read it from a file
    #[arg(long, value_name = "FILE", conflicts_with = "token_stdin")]
    pub token_file: Option<PathBuf>,
    /// Refused: see --token-stdin
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "")]
    pub token: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Which node.
    #[command(flatten)]
    pub at: Local,
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
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `backup`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct BackupArgs {
    /// Something else than taking one
    #[command(subcommand)]
    pub command: Option<BackupCommand>,
    /// Which node to ask; any will do.
    #[command(flatten)]
    pub at: At,
    /// The file to make. It holds password hashes: it is made readable by its owner only
    #[arg(long, value_name = "FILE", required = true)]
    pub to: Option<PathBuf>,
    /// Replace a file that exists
    #[arg(long)]
    pub overwrite: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `backup verify`.
#[derive(Debug, Subcommand)]
pub enum BackupCommand {
    /// Reads a backup to its end and says what it holds, or where it is damaged
    Verify(VerifyArgs),
}

/// A backup by its file.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// The file
    pub file: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `restore`.
#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// Which node.
    #[command(flatten)]
    pub at: Local,
    /// The backup
    #[arg(long, value_name = "FILE")]
    pub from: PathBuf,
    /// Another name for the new cluster, when the old one goes on. Default: the old name
    #[arg(long, value_name = "NAME")]
    pub net_name: Option<String>,
    /// Keep persistent handles for their clients. Only if the old cluster did nothing after the backup
    #[arg(long)]
    pub keep_handles: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
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

/// `node`.
#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    /// Lists nodes
    List(LookArgs),
    /// Asks the clients of a node to move elsewhere, and waits until it is safe to stop it
    Drain(DrainArgs),
    /// Ends the draining of a node
    Undrain(NodeArgs),
    /// Makes a node the leader
    Lead(NodeArgs),
    /// Makes a node that only follows vote. Nodes that join do by themselves
    Promote(NodeArgs),
    /// Removes a node for good: one that serves stops first, a leader hands over
    Remove(NodeArgs),
    /// Removes a node that is lost, and makes the token for the one that takes its place
    Replace(ReplaceArgs),
    /// Tells the others where a node is reached now, if it cannot tell them itself
    Address(AddressArgs),
    /// Changes, while a node serves, the addresses at which clients reach it
    Addresses(AddressesArgs),
}

/// A node to be emptied.
#[derive(Debug, Args)]
pub struct DrainArgs {
    /// Which node to ask; any will do.
    #[command(flatten)]
    pub at: At,
    /// The node
    pub id: u64,
    /// How long to wait for its handles to be reclaimed at other nodes, s; 0: do not wait
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(0..=crate::admin::change::DRAIN_SECONDS_MAX))]
    pub wait: u64,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// A lost node.
#[derive(Debug, Args)]
pub struct ReplaceArgs {
    /// Which node to ask.
    #[command(flatten)]
    pub at: At,
    /// The lost node
    pub id: u64,
    /// How long the token is good for, s
    #[arg(long, default_value_t = 3600)]
    pub seconds: u64,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// A node that has moved.
#[derive(Debug, Args)]
pub struct AddressArgs {
    /// Which node to ask.
    #[command(flatten)]
    pub at: At,
    /// The node
    pub id: u64,
    /// Where other nodes reach it: its listen.raft
    #[arg(value_name = "ADDRESS:PORT")]
    pub raft: std::net::SocketAddr,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Addresses that a node gains and loses.
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("change").required(true).multiple(true).args(["add", "remove"])))]
pub struct AddressesArgs {
    /// Which node to ask; any will do.
    #[command(flatten)]
    pub at: At,
    /// The node
    pub id: u64,
    /// It serves SMB there too, from now on (may be given several times)
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub add: Vec<std::net::SocketAddr>,
    /// It does not serve there any more; connections to it end (may be given several times)
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub remove: Vec<std::net::SocketAddr>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `store`.
#[derive(Debug, Subcommand)]
pub enum StoreCommand {
    /// Reads every byte and says what is damaged; changes nothing. Exit code 65 when something is
    Check(StoreDir),
    /// Shows the entries of the log or the keys of the state, without secrets
    Dump(DumpArgs),
    /// Does what is safe to make a damaged directory usable; keeps everything that it takes away
    Repair(RepairArgs),
    /// Writes a backup of what the state holds: for a cluster that has lost its majority
    Backup(StoreBackupArgs),
}

/// `store backup`.
#[derive(Debug, Args)]
pub struct StoreBackupArgs {
    /// The node's data_dir, or the folder `records` in it
    pub dir: PathBuf,
    /// The file to make. It holds password hashes: it is made readable by its owner only
    #[arg(long, value_name = "FILE")]
    pub to: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// A node's records.
#[derive(Debug, Args)]
pub struct StoreDir {
    /// The node's data_dir, or the folder `records` in it
    pub dir: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// What a dump shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum DumpWhat {
    /// The entries of the log
    Log,
    /// The keys of the state
    State,
}

/// `store dump`.
#[derive(Debug, Args)]
pub struct DumpArgs {
    /// The node's data_dir, or the folder `records` in it
    pub dir: PathBuf,
    /// What to show
    #[arg(long, value_enum, default_value = "log")]
    pub what: DumpWhat,
    /// Print JSON, one line for each
    #[arg(long)]
    pub json: bool,
}

/// `store repair`.
#[derive(Debug, Args)]
pub struct RepairArgs {
    /// The node's data_dir, or the folder `records` in it
    pub dir: PathBuf,
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Allow the node to forget what it holds: only when other nodes hold it too
    #[arg(long)]
    pub refill: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `certificate`.
#[derive(Debug, Subcommand)]
pub enum CertificateCommand {
    /// Shows what every node shows and whom it trusts
    Show(LookArgs),
    /// Gives a node a new key and certificate now; nobody is disconnected
    Rotate(LookArgs),
}

/// `authority`.
#[derive(Debug, Subcommand)]
pub enum AuthorityCommand {
    /// Shows the authorities, and which nodes hold their keys
    Show(LookArgs),
    /// Makes a new authority and has every node use it; the old one stays trusted
    Renew(LookArgs),
    /// Stops trusting former authorities
    Retire(LookArgs),
    /// Copies the authority, with its key, to a file: keep it in a safe place
    Export(ExportArgs),
    /// Gives this node a copy of the authority, so that nodes can join when the other holder is lost
    Import(ImportArgs),
}

/// `authority export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// The node that holds it.
    #[command(flatten)]
    pub at: Local,
    /// The file to make, readable by its owner only
    #[arg(long, value_name = "FILE")]
    pub to: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `authority import`.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// The node that shall hold it too.
    #[command(flatten)]
    pub at: Local,
    /// What `authority export` wrote
    #[arg(long, value_name = "FILE")]
    pub from: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// A node by its id.
#[derive(Debug, Args)]
pub struct NodeArgs {
    /// Which node to ask.
    #[command(flatten)]
    pub at: At,
    /// The node
    pub id: u64,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
