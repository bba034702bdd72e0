//! `holdfast user`: passwords become NT hashes here; they do not travel.

use clap::{Args, Subcommand};
use smb_auth::NtHash;

use super::{say, say_json};
use crate::{
    admin::{
        change::{Done, Named, UserChange, UserEnable},
        groups::UserMapping,
        view::UserView,
    },
    cli::{At, LookArgs, NameArgs},
    client::AdminClient,
    failure::{Failure, USAGE},
    secret::{self, PasswordArgs},
};

/// `user`.
#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Adds a user; the password is asked for, or read from standard input or a file
    Add(AddArgs),
    /// Changes a password, which ends the user's sessions; it is asked for, or read from standard input or a file
    Passwd(UserArgs),
    /// Says which user on disk a user is, for shares with the option `map`
    Map(MapArgs),
    /// Lets a user log on again
    Enable(NameArgs),
    /// Forbids a user to log on; sessions end and handles are closed on every node at once
    Disable(NameArgs),
    /// Lets a user in again who is locked out after too many failed logons
    Unlock(NameArgs),
    /// Removes a user; sessions end and handles are closed on every node at once
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
    #[arg(value_name = "NAME")]
    pub user: String,
    /// Where the password comes from.
    #[command(flatten)]
    pub password: PasswordArgs,
}

/// A new user.
#[derive(Debug, Args)]
pub struct AddArgs {
    /// Who.
    #[command(flatten)]
    pub user: UserArgs,
    /// The user on disk
    #[arg(long)]
    pub uid: Option<u32>,
    /// That user's group there
    #[arg(long, requires = "uid")]
    pub gid: Option<u32>,
}

/// A user and a user on disk.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").args(["uid", "none"]).required(true))]
pub struct MapArgs {
    /// Which node.
    #[command(flatten)]
    pub at: At,
    /// The user
    pub name: String,
    /// The user on disk
    #[arg(long)]
    pub uid: Option<u32>,
    /// That user's group there
    #[arg(long, requires = "uid")]
    pub gid: Option<u32>,
    /// Nobody on disk
    #[arg(long)]
    pub none: bool,
}

/// Carries it out.
///
/// # Errors
/// The node cannot be asked, or refuses.
pub fn run(command: &UserCommand) -> Result<(), Failure> {
    match command {
        UserCommand::Add(args) => change(&args.user, args.uid, args.gid, "/api/v1/users", "added"),
        UserCommand::Passwd(args) => change(args, None, None, "/api/v1/users/password", "changed"),
        UserCommand::Map(args) => {
            let mapping = UserMapping { name: args.name.clone(), uid: args.uid, gid: args.gid };
            AdminClient::of(&args.at)?.post::<Done>("/api/v1/users/map", &mapping)?;
            say(&args.uid.map_or_else(|| format!("{} is nobody on disk", args.name), |uid| format!("{} is user {uid} on disk", args.name)));
            Ok(())
        }
        UserCommand::Enable(args) => enable(args, true),
        UserCommand::Disable(args) => enable(args, false),
        UserCommand::Unlock(args) => {
            AdminClient::of(&args.at)?.post::<Done>("/api/v1/users/unlock", &Named { name: args.name.clone() })?;
            say(&format!("unlocked {}", args.name));
            Ok(())
        }
        UserCommand::Remove(args) => {
            let named = Named { name: args.name.clone() };
            AdminClient::of(&args.at)?.post::<Done>("/api/v1/users/remove", &named)?;
            say(&format!("removed {}", args.name));
            Ok(())
        }
        UserCommand::List(args) => {
            let users: Vec<UserView> = AdminClient::of(&args.at)?.get("/api/v1/users")?;
            if args.json {
                return say_json(&users);
            }
            for user in &users {
                let uid = user.uid.map_or_else(String::new, |uid| format!("   uid {uid}"));
                let disabled = if user.disabled { "   disabled" } else { "" };
                let locked = if user.locked_out { "   locked out" } else { "" };
                say(&format!("{:<20} {}{uid}{disabled}{locked}   {}", user.name, user.sid, user.groups.join(", ")));
            }
            Ok(())
        }
    }
}

fn change(args: &UserArgs, uid: Option<u32>, gid: Option<u32>, path: &str, done: &str) -> Result<(), Failure> {
    if args.password.password_stdin && args.at.token_stdin {
        return Err(Failure::new(USAGE, "one thing at a time comes from standard input: use --token-file or --password-file"));
    }
    secret::check_name(&args.user)?;
    let client = AdminClient::of(&args.at)?;
    for account in args.password.accounts(std::slice::from_ref(&args.user))? {
        let nt_hash = NtHash::of_password(account.password.expose()).expose().iter().map(|b| format!("{b:02x}")).collect();
        client.post::<Done>(path, &UserChange { name: account.name.clone(), nt_hash, uid, gid })?;
        say(&format!("{done} {}", account.name));
    }
    Ok(())
}

fn enable(args: &NameArgs, enabled: bool) -> Result<(), Failure> {
    let wish = UserEnable { name: args.name.clone(), enabled };
    AdminClient::of(&args.at)?.post::<Done>("/api/v1/users/enable", &wish)?;
    say(&format!("{} {}", if enabled { "enabled" } else { "disabled" }, args.name));
    Ok(())
}
