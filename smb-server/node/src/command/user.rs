//! `holdfast user`: passwords become NT hashes here; they do not travel.

use smb_auth::NtHash;

use super::{say, say_json};
use crate::{
    admin::{
        change::{Done, Named, UserChange, UserEnable},
        view::UserView,
    },
    cli::{NameArgs, UserArgs, UserCommand},
    client::AdminClient,
    failure::{Failure, USAGE},
    secret,
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
            AdminClient::of(&args.at)?.post::<Done>("/api/v1/users/remove", &named)?;
            say(&format!("removed {}", args.name));
            Ok(())
        }
        UserCommand::List(args) => {
            let users: Vec<UserView> = AdminClient::of(&args.at)?.get("/api/v1/users")?;
            if args.json {
                return say_json(&users);
            }
            users.iter().for_each(|u| say(&format!("{:<20} {}{}", u.name, u.sid, if u.disabled { "   disabled" } else { "" })));
            Ok(())
        }
    }
}

fn change(args: &UserArgs, path: &str, done: &str) -> Result<(), Failure> {
    if args.password.password_stdin && args.at.token_stdin {
        return Err(Failure::new(USAGE, "one thing at a time comes from standard input: use --token-file or --password-file"));
    }
    secret::check_name(&args.user)?;
    let client = AdminClient::of(&args.at)?;
    for account in args.password.accounts(std::slice::from_ref(&args.user))? {
        let nt_hash = NtHash::of_password(account.password.expose()).expose().iter().map(|b| format!("{b:02x}")).collect();
        client.post::<Done>(path, &UserChange { name: account.name.clone(), nt_hash })?;
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
