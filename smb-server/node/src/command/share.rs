//! `holdfast share`.

use clap::{Args, Subcommand};

use super::{
    init::{settings, settings_elsewhere},
    say, say_json,
};
use crate::{
    admin::{
        change::{Done, Named},
        shares::{AclChange, AclStep, EntryView, ShareOptions, ShareSet, ShareView},
    },
    cli::{At, LookArgs, NameArgs},
    client::AdminClient,
    failure::{Failure, USAGE},
    words::ShareWord,
};

/// The options, for `--help`.
const OPTIONS_HELP: &str = "Options of a share:
  comment=TEXT                  for people
  ca=on|off                     continuously available: handles survive the node
  scaleout=on|off               announced as scale-out; needs ca
  encrypt=on|off                sessions must encrypt
  read-only=on|off              nothing is changed through it
  valid-users=NAME,NAME         only these users and groups may connect; empty: all
  hosts-allow=ADDRESS/BITS,...  only clients from these networks may connect; empty: all
  access-based-enumeration=on|off  listings leave out what the client may not read
  map=on|off                    files belong on disk to the user who makes them (`user map`)
  force-user=UID[:GID]|NAME     to whom the other files belong on disk; empty: to the user of the node's process";

/// `share`.
#[derive(Debug, Subcommand)]
pub enum ShareCommand {
    /// Adds a share
    #[command(after_help = OPTIONS_HELP)]
    Add(ShareArgs),
    /// Changes options of a share; handles stay open
    #[command(after_help = OPTIONS_HELP)]
    Set(SetArgs),
    /// Shows and changes who may do how much through a share
    #[command(subcommand)]
    Acl(AclCommand),
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
    /// Another option, see below (may be given several times)
    #[arg(long = "set", value_name = "OPTION=VALUE")]
    pub options: Vec<String>,
    /// One node owns it, and its clients are told to use that one; the share is ca and scaleout by this
    #[arg(long)]
    pub asymmetric: bool,
    /// The node that owns it. Default: the one that owns the fewest
    #[arg(long, value_name = "ID", requires = "asymmetric")]
    pub owner: Option<u64>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// A share that changes.
#[derive(Debug, Args)]
pub struct SetArgs {
    /// Which node.
    #[command(flatten)]
    pub at: At,
    /// Its name
    pub name: String,
    /// Options, see below
    #[arg(value_name = "OPTION=VALUE", required = true)]
    pub options: Vec<String>,
}

/// `share acl`.
#[derive(Debug, Subcommand)]
pub enum AclCommand {
    /// Shows the list. Files have lists of their own; both must allow
    Show(ShowArgs),
    /// Allows a user or group something
    Allow(EntryArgs),
    /// Denies a user or group something
    Deny(EntryArgs),
    /// Takes the entries of a user or group out
    Remove(WhoArgs),
    /// Allows everybody everything again
    Reset(NameArgs),
}

/// A list.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Which node.
    #[command(flatten)]
    pub at: At,
    /// The share
    pub name: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// An entry.
#[derive(Debug, Args)]
pub struct EntryArgs {
    /// Which node.
    #[command(flatten)]
    pub at: At,
    /// The share
    pub name: String,
    /// A user or group by its name, or a SID
    pub who: String,
    /// full, change or read
    #[arg(value_parser = ["full", "change", "read"])]
    pub rights: String,
}

/// The entries of an account.
#[derive(Debug, Args)]
pub struct WhoArgs {
    /// Which node.
    #[command(flatten)]
    pub at: At,
    /// The share
    pub name: String,
    /// A user or group by its name, or a SID
    pub who: String,
}

/// Carries it out.
///
/// # Errors
/// The node cannot be asked, or refuses.
pub fn run(command: &ShareCommand) -> Result<(), Failure> {
    match command {
        ShareCommand::Add(args) => add(args),
        ShareCommand::Set(args) => {
            let set = ShareSet { name: args.name.clone(), options: options(&args.options)? };
            AdminClient::of(&args.at)?.post::<Done>("/api/v1/shares/set", &set)?;
            say(&format!("changed {}", args.name));
            Ok(())
        }
        ShareCommand::Acl(command) => acl(command),
        ShareCommand::Remove(args) => {
            AdminClient::of(&args.at)?.post::<Done>("/api/v1/shares/remove", &Named { name: args.name.clone() })?;
            say(&format!("removed {}", args.name));
            Ok(())
        }
        ShareCommand::List(args) => {
            let shares: Vec<ShareView> = AdminClient::of(&args.at)?.get("/api/v1/shares")?;
            if args.json {
                return say_json(&shares);
            }
            shares.iter().flat_map(lines).for_each(|line| say(&line));
            Ok(())
        }
    }
}

fn options(words: &[String]) -> Result<ShareOptions, Failure> {
    let mut options = ShareOptions::default();
    for word in words {
        let (name, value) = word.split_once('=').ok_or_else(|| Failure::new(USAGE, format!("{word:?}: write OPTION=VALUE")))?;
        options.set(name.trim(), value).map_err(|wrong| Failure::new(USAGE, wrong))?;
    }
    Ok(options)
}

fn add(args: &ShareArgs) -> Result<(), Failure> {
    let client = AdminClient::of(&args.at)?;
    // The node checks directories of its own machine.
    let (name, s) = if args.at.node.is_some() { settings_elsewhere(&args.share)? } else { settings(&args.share)? };
    let options = options(&args.options)?;
    let share = ShareView {
        name,
        path: s.path,
        comment: options.comment.unwrap_or_else(|| args.comment.clone()),
        ca: options.ca.unwrap_or(s.ca) || args.asymmetric,
        scaleout: options.scaleout.unwrap_or(s.scaleout) || args.asymmetric,
        encrypt: options.encrypt.unwrap_or(s.encrypt),
        asymmetric: args.asymmetric,
        owner: args.owner,
        read_only: options.read_only.unwrap_or_default(),
        valid_users: options.valid_users.unwrap_or_default(),
        hosts_allow: options.hosts_allow.unwrap_or_default(),
        access_based_enumeration: options.access_based_enumeration.unwrap_or_default(),
        map: options.map.unwrap_or_default(),
        force_user: options.force_user,
        ..ShareView::default()
    };
    let done: Done = client.post("/api/v1/shares", &share)?;
    if args.json {
        return say_json(&done);
    }
    say(&format!("added {}", share.name));
    Ok(())
}

fn acl(command: &AclCommand) -> Result<(), Failure> {
    let (at, name, change) = match command {
        AclCommand::Show(args) => {
            let entries: Vec<EntryView> = AdminClient::of(&args.at)?.get(&format!("/api/v1/shares/acl?name={}", escaped(&args.name)))?;
            if args.json {
                return say_json(&entries);
            }
            entries.iter().for_each(|entry| say(&shown(entry)));
            return Ok(());
        }
        AclCommand::Allow(args) => (&args.at, &args.name, put(args, false)),
        AclCommand::Deny(args) => (&args.at, &args.name, put(args, true)),
        AclCommand::Remove(args) => (&args.at, &args.name, AclStep::Remove { who: args.who.clone() }),
        AclCommand::Reset(args) => (&args.at, &args.name, AclStep::Reset),
    };
    AdminClient::of(at)?.post::<Done>("/api/v1/shares/acl", &AclChange { name: name.clone(), change })?;
    say(&format!("changed {name}"));
    Ok(())
}

fn put(args: &EntryArgs, denies: bool) -> AclStep {
    AclStep::Put(EntryView { who: args.who.clone(), rights: args.rights.clone(), denies })
}

fn shown(entry: &EntryView) -> String {
    format!("{:<6} {:<8} {}", if entry.denies { "deny" } else { "allow" }, entry.rights, entry.who)
}

/// A text in a URL.
pub(super) fn escaped(name: &str) -> String {
    let mut out = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// A share as the list shows it.
fn lines(share: &ShareView) -> Vec<String> {
    let switches = [
        (share.ca, " ca"),
        (share.scaleout, " scaleout"),
        (share.encrypt, " encrypt"),
        (share.read_only, " read-only"),
        (share.access_based_enumeration, " access-based-enumeration"),
        (share.map, " map"),
    ];
    let switches: String = switches.iter().filter(|(on, _)| *on).map(|(_, word)| *word).collect();
    let owner = share.owner.map_or(String::new(), |owner| format!(" at node {owner}"));
    let mut lines = vec![format!("{:<20} {}{switches}{owner}   {}", share.name, share.path, share.comment)];
    for (name, values) in [("valid-users", &share.valid_users), ("hosts-allow", &share.hosts_allow)] {
        if !values.is_empty() {
            lines.push(format!("  {name}={}", values.join(",")));
        }
    }
    if let Some(user) = &share.force_user {
        lines.push(format!("  force-user={user}"));
    }
    let everybody = [EntryView { who: "Everyone".to_owned(), rights: "full".to_owned(), denies: false }];
    if share.acl != everybody {
        lines.extend(share.acl.iter().map(|entry| format!("  {}", shown(entry))));
        if share.acl.is_empty() {
            lines.push("  its list is empty: all access is denied".to_owned());
        }
    }
    match share.descriptors.as_deref() {
        Some("unprotected") => lines.push("  lists of its files can be changed by the files' owners on disk".to_owned()),
        Some("unsupported") => lines.push("  its file system keeps no lists for files: owner and mode count".to_owned()),
        _ => {}
    }
    lines
}
