//! `sessions`, `handles`, `locks`, `session`, `handle`, `client`: who uses the cluster, and how that is ended.

use clap::{Args, Subcommand};

use super::{say, say_json, share::escaped};
use crate::{
    admin::{
        change::Done,
        in_use::{BlockRequest, BlockView, Ended, Ending, Filter, HandleView, LockView, SessionView},
    },
    cli::{At, LookArgs},
    client::AdminClient,
    failure::{Failure, USAGE},
};

/// What is looked for.
#[derive(Debug, Args)]
pub struct FindArgs {
    /// Which node.
    #[command(flatten)]
    pub at: At,
    /// Which ones.
    #[command(flatten)]
    pub filter: Filter,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// What is ended.
#[derive(Debug, Args)]
pub struct EndArgs {
    /// Which node.
    #[command(flatten)]
    pub at: At,
    /// Ids as the list shows them; or say which ones by --user, --client, --share, --path, --away
    #[arg(value_name = "ID")]
    pub ids: Vec<String>,
    /// Which ones.
    #[command(flatten)]
    pub filter: Filter,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `session`.
#[derive(Debug, Subcommand)]
pub enum SessionCommand {
    /// Ends sessions and closes all their handles, on whichever node they are
    Close(EndArgs),
}

/// `handle`.
#[derive(Debug, Subcommand)]
pub enum HandleCommand {
    /// Closes handles for good, also those whose client is away
    Close(EndArgs),
}

/// `client`.
#[derive(Debug, Subcommand)]
pub enum ClientCommand {
    /// Shuts clients out by their address: ends what they have, and lets none of them in
    Block(BlockArgs),
    /// Lets them in again
    Unblock(UnblockArgs),
    /// Lists who is shut out
    List(LookArgs),
}

/// Clients to be shut out.
#[derive(Debug, Args)]
pub struct BlockArgs {
    /// Which node.
    #[command(flatten)]
    pub at: At,
    /// An address, or a network
    #[arg(value_name = "ADDRESS[/BITS]")]
    pub client: String,
    /// Why, for those who look later
    #[arg(long, default_value = "")]
    pub reason: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Clients that are let in again.
#[derive(Debug, Args)]
pub struct UnblockArgs {
    /// Which node.
    #[command(flatten)]
    pub at: At,
    /// As it was blocked
    #[arg(value_name = "ADDRESS[/BITS]")]
    pub client: String,
}

/// The filter as a query.
fn query(path: &str, filter: &Filter) -> String {
    let mut parts = Vec::new();
    let texts = [("user", &filter.user), ("client", &filter.client), ("share", &filter.share), ("path", &filter.path)];
    parts.extend(texts.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", escaped(value.as_deref()?)))));
    parts.extend(filter.node.map(|node| format!("node={node}")));
    if filter.away {
        parts.push("away=true".to_owned());
    }
    if parts.is_empty() { path.to_owned() } else { format!("{path}?{}", parts.join("&")) }
}

fn find<T: serde::de::DeserializeOwned + serde::Serialize>(args: &FindArgs, path: &str) -> Result<Option<Vec<T>>, Failure> {
    let found: Vec<T> = AdminClient::of(&args.at)?.get(&query(path, &args.filter))?;
    if args.json {
        say_json(&found)?;
        return Ok(None);
    }
    Ok(Some(found))
}

/// `holdfast sessions`.
///
/// # Errors
/// The node cannot be asked.
pub fn sessions(args: &FindArgs) -> Result<(), Failure> {
    let Some(sessions) = find::<SessionView>(args, "/api/v1/sessions")? else { return Ok(()) };
    for s in &sessions {
        say(&format!("{:<14} node {:<3} {:<20} {:<24} handles {:<6} since {}", s.id, s.node, s.user, s.client, s.handles, s.since));
    }
    say(&format!("{} sessions", sessions.len()));
    Ok(())
}

/// `holdfast handles`.
///
/// # Errors
/// The node cannot be asked.
pub fn handles(args: &FindArgs) -> Result<(), Failure> {
    let Some(handles) = find::<HandleView>(args, "/api/v1/handles")? else { return Ok(()) };
    for h in &handles {
        let place = match (&h.away_since, &h.away_until, h.node) {
            (Some(since), Some(until), _) => format!("away since {since} until {until}"),
            (_, _, Some(node)) => format!("node {node}"),
            _ => "away".to_owned(),
        };
        say(&format!(
            "{:<14} {:<10} {}\\{}   {} at {}   locks {}   since {}   {place}",
            h.id, h.class, h.share, h.path, h.user, h.client, h.locks, h.since
        ));
    }
    say(&format!("{} handles", handles.len()));
    Ok(())
}

/// `holdfast locks`.
///
/// # Errors
/// The node cannot be asked.
pub fn locks(args: &FindArgs) -> Result<(), Failure> {
    let Some(locks) = find::<LockView>(args, "/api/v1/locks")? else { return Ok(()) };
    for l in &locks {
        let kind = if l.exclusive { "exclusive" } else { "shared" };
        let away = l.away_since.as_ref().map_or_else(String::new, |since| format!("   away since {since}"));
        say(&format!(
            "{:<14} {kind:<9} {} + {}   {}\\{}   {} at {}{away}",
            l.handle, l.offset, l.length, l.share, l.path, l.user, l.client
        ));
    }
    say(&format!("{} locks", locks.len()));
    Ok(())
}

fn end(args: &EndArgs, path: &str) -> Result<(), Failure> {
    if args.ids.is_empty() && args.filter == Filter::default() {
        return Err(Failure::new(USAGE, "say which: by id, or by --user, --client, --at, --share, --path, --away"));
    }
    if !args.ids.is_empty() && args.filter != Filter::default() {
        return Err(Failure::new(USAGE, "either ids or a filter, not both"));
    }
    let ending = Ending { ids: args.ids.clone(), filter: args.filter.clone() };
    let ended: Ended = AdminClient::of(&args.at)?.post(path, &ending)?;
    tell(ended, args.json)
}

fn tell(ended: Ended, json: bool) -> Result<(), Failure> {
    if json {
        return say_json(&ended);
    }
    say(&format!("closed {} sessions, {} handles", ended.sessions, ended.handles));
    Ok(())
}

/// `holdfast session`.
///
/// # Errors
/// The node cannot be asked, or refuses.
pub fn session(command: &SessionCommand) -> Result<(), Failure> {
    let SessionCommand::Close(args) = command;
    end(args, "/api/v1/sessions/close")
}

/// `holdfast handle`.
///
/// # Errors
/// The node cannot be asked, or refuses.
pub fn handle(command: &HandleCommand) -> Result<(), Failure> {
    let HandleCommand::Close(args) = command;
    end(args, "/api/v1/handles/close")
}

/// `holdfast client`.
///
/// # Errors
/// The node cannot be asked, or refuses.
pub fn client(command: &ClientCommand) -> Result<(), Failure> {
    match command {
        ClientCommand::Block(args) => {
            let request = BlockRequest { client: args.client.clone(), reason: args.reason.clone() };
            tell(AdminClient::of(&args.at)?.post("/api/v1/clients/block", &request)?, args.json)
        }
        ClientCommand::Unblock(args) => {
            let request = BlockRequest { client: args.client.clone(), reason: String::new() };
            AdminClient::of(&args.at)?.post::<Done>("/api/v1/clients/unblock", &request)?;
            say(&format!("{} may come in again", args.client));
            Ok(())
        }
        ClientCommand::List(args) => {
            let blocks: Vec<BlockView> = AdminClient::of(&args.at)?.get("/api/v1/clients/blocked")?;
            if args.json {
                return say_json(&blocks);
            }
            blocks.iter().for_each(|block| say(&format!("{:<24} since {}   {}", block.client, block.since, block.reason)));
            Ok(())
        }
    }
}
