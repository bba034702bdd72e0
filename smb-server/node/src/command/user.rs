//! `holdfast user`: passwords become NT hashes here; they do not travel.

use std::io::BufRead as _;

use smb_auth::NtHash;

use super::{say, say_json};
use crate::{
    admin::{
        change::{Done, Named, UserChange, UserEnable},
        view::UserView,
    },
    cli::{NameArgs, UserArgs, UserCommand},
    client::AdminClient,
    failure::{DATA, Failure},
};

/// Carries it out.
///
/// # Errors
/// The node cannot be asked, or refuses.
pub fn run(command: &UserCommand) -> Result<(), Failure> {
    match command {
        UserCommand::Add(args) => change(args, "/api/v1/users", "added"),
        UserCommand::Passwd(args) => change(args, "/api/v1/users/password", "changed"),
        UserCommand::Enable(args) => enable(args, true),
        UserCommand::Disable(args) => enable(args, false),
        UserCommand::Remove(args) => {
            let named = Named { name: args.name.clone() };
            AdminClient::of_config(&args.at.config)?.post::<Done>("/api/v1/users/remove", &named)?;
            say(&format!("removed {}", args.name));
            Ok(())
        }
        UserCommand::List(args) => {
            let users: Vec<UserView> = AdminClient::of_config(&args.at.config)?.get("/api/v1/users")?;
            if args.json {
                return say_json(&users);
            }
            users.iter().for_each(|u| say(&format!("{:<20} {}{}", u.name, u.sid, if u.disabled { "   disabled" } else { "" })));
            Ok(())
        }
    }
}

fn change(args: &UserArgs, path: &str, done: &str) -> Result<(), Failure> {
    let client = AdminClient::of_config(&args.at.config)?;
    let (name, password) = match args.user.split_once(':') {
        Some((name, password)) => (name.to_owned(), password.to_owned()),
        None => (args.user.clone(), read_password()?),
    };
    if name.is_empty() || password.is_empty() {
        return Err(Failure::new(DATA, "neither the name nor the password may be empty"));
    }
    let nt_hash = NtHash::of_password(&password).expose().iter().map(|b| format!("{b:02x}")).collect();
    client.post::<Done>(path, &UserChange { name: name.clone(), nt_hash })?;
    say(&format!("{done} {name}"));
    Ok(())
}

fn enable(args: &NameArgs, enabled: bool) -> Result<(), Failure> {
    let wish = UserEnable { name: args.name.clone(), enabled };
    AdminClient::of_config(&args.at.config)?.post::<Done>("/api/v1/users/enable", &wish)?;
    say(&format!("{} {}", if enabled { "enabled" } else { "disabled" }, args.name));
    Ok(())
}

fn read_password() -> Result<String, Failure> {
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line);
    read.map_err(|e| Failure::new(DATA, format!("the password cannot be read from standard input: {e}")))?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
