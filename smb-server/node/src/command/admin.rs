//! `holdfast admin`: tokens of the admin API, and the certificates to verify nodes with.

use std::{
    fs::OpenOptions,
    io::Write as _,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use clap::{Args, Subcommand};
use serde::Serialize;

use super::{say, say_json, warn};
use crate::{
    admin::{
        change::{Done, Named},
        token::{AdminTokenView, Authorities, CreateAdminToken, CreatedAdminToken, DAYS_MAX, Role},
    },
    cli::{At, LookArgs, NameArgs},
    client::AdminClient,
    failure::Failure,
};

/// `admin`.
#[derive(Debug, Subcommand)]
pub enum AdminCommand {
    /// Makes, lists and removes tokens
    #[command(subcommand)]
    Token(AdminTokenCommand),
    /// Writes the certificates by which commands, browsers and Prometheus know this cluster's nodes; no key is in them
    Ca(CaArgs),
}

/// `admin token`.
#[derive(Debug, Subcommand)]
pub enum AdminTokenCommand {
    /// Makes a token and prints it: it is kept nowhere
    Add(TokenAddArgs),
    /// Lists tokens, without their texts
    List(LookArgs),
    /// Removes a token: it is refused at every node from then on
    Remove(NameArgs),
}

/// `admin token add`.
#[derive(Debug, Args)]
pub struct TokenAddArgs {
    /// Which node to ask; any will do.
    #[command(flatten)]
    pub at: At,
    /// Who will use it: stands in the audit log
    pub name: String,
    /// A viewer may look, an operator may change
    #[arg(long, value_enum)]
    pub role: Role,
    /// How long it is good, days. Default: until it is removed
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=DAYS_MAX))]
    pub days: Option<u64>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `admin ca`.
#[derive(Debug, Args)]
pub struct CaArgs {
    /// Which node to ask; any will do.
    #[command(flatten)]
    pub at: At,
    /// The file to write; one that is there is replaced. Default: standard output
    #[arg(long, value_name = "FILE")]
    pub to: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Carries it out.
///
/// # Errors
/// The node cannot be asked, or refuses; a file cannot be written.
pub fn run(command: &AdminCommand) -> Result<(), Failure> {
    match command {
        AdminCommand::Token(AdminTokenCommand::Add(args)) => add(args),
        AdminCommand::Token(AdminTokenCommand::List(args)) => list(args),
        AdminCommand::Token(AdminTokenCommand::Remove(args)) => {
            AdminClient::of(&args.at)?.post::<Done>("/api/v1/admin/tokens/remove", &Named { name: args.name.clone() })?;
            say(&format!("removed {}", args.name));
            Ok(())
        }
        AdminCommand::Ca(args) => ca(args),
    }
}

fn add(args: &TokenAddArgs) -> Result<(), Failure> {
    let wanted = CreateAdminToken { name: args.name.clone(), role: args.role, days: args.days };
    let made: CreatedAdminToken = AdminClient::of(&args.at)?.post("/api/v1/admin/tokens", &wanted)?;
    if args.json {
        return say_json(&made);
    }
    // Only the token goes to standard output, for redirection to a file.
    say(&made.token);
    warn("this token is shown once: keep it in a file that only its user may read (chmod 600)");
    Ok(())
}

fn list(args: &LookArgs) -> Result<(), Failure> {
    let tokens: Vec<AdminTokenView> = AdminClient::of(&args.at)?.get("/api/v1/admin/tokens")?;
    if args.json {
        return say_json(&tokens);
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    for token in &tokens {
        let role = match token.role {
            Role::Viewer => "viewer",
            Role::Operator => "operator",
        };
        let ends = match token.expires_unix_s {
            _ if token.is_over => "over".to_owned(),
            Some(expires) => format!("{} days left", expires.saturating_sub(now) / (24 * 3600)),
            None => "until it is removed".to_owned(),
        };
        say(&format!("{:<24} {role:<10} {ends}", token.name));
    }
    Ok(())
}

/// What `admin ca --json` prints.
#[derive(Debug, Serialize)]
struct Written<'a> {
    #[serde(flatten)]
    authorities: &'a Authorities,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'a Path>,
}

fn ca(args: &CaArgs) -> Result<(), Failure> {
    let authorities: Authorities = AdminClient::of(&args.at)?.get("/api/v1/authorities")?;
    if let Some(to) = &args.to {
        write(to, &authorities.pem)?;
    }
    if args.json {
        return say_json(&Written { authorities: &authorities, file: args.to.as_deref() });
    }
    match &args.to {
        Some(to) => say(&format!("written to {}; the nodes' certificates have the name {}", to.display(), authorities.server_name)),
        None => say(authorities.pem.trim_end()),
    }
    Ok(())
}

/// Replaces the file atomically.
fn write(to: &Path, pem: &str) -> Result<(), Failure> {
    let io = |e: std::io::Error| Failure::file("write", to, &e);
    let mut name = to.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    let staged = to.with_file_name(name);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&staged).map_err(io)?;
    file.write_all(pem.as_bytes()).and_then(|()| file.sync_all()).map_err(io)?;
    std::fs::rename(&staged, to).map_err(io)
}
