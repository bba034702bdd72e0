//! `holdfast share`.

use super::{
    init::{settings, settings_elsewhere},
    say, say_json,
};
use crate::{
    admin::{
        change::{Done, Named},
        view::ShareView,
    },
    cli::ShareCommand,
    client::AdminClient,
    failure::Failure,
};

/// Carries it out.
///
/// # Errors
/// The node cannot be asked, or refuses.
pub fn run(command: &ShareCommand) -> Result<(), Failure> {
    match command {
        ShareCommand::Add(args) => {
            let client = AdminClient::of(&args.at)?;
            // The node checks directories of its own machine.
            let (name, s) = if args.at.node.is_some() { settings_elsewhere(&args.share)? } else { settings(&args.share)? };
            let share = ShareView {
                name,
                path: s.path,
                comment: args.comment.clone(),
                ca: s.ca || args.asymmetric,
                scaleout: s.scaleout || args.asymmetric,
                encrypt: s.encrypt,
                asymmetric: args.asymmetric,
                owner: args.owner,
            };
            let done: Done = client.post("/api/v1/shares", &share)?;
            if args.json {
                return say_json(&done);
            }
            say(&format!("added {}", share.name));
            Ok(())
        }
        ShareCommand::Remove(args) => {
            let named = Named { name: args.name.clone() };
            AdminClient::of(&args.at)?.post::<Done>("/api/v1/shares/remove", &named)?;
            say(&format!("removed {}", args.name));
            Ok(())
        }
        ShareCommand::List(args) => {
            let shares: Vec<ShareView> = AdminClient::of(&args.at)?.get("/api/v1/shares")?;
            if args.json {
                return say_json(&shares);
            }
            for s in &shares {
                let flags = [(s.ca, " ca"), (s.scaleout, " scaleout"), (s.encrypt, " encrypt")];
                let flags: String = flags.iter().filter(|(on, _)| *on).map(|(_, word)| *word).collect();
                let owner = s.owner.map_or(String::new(), |owner| format!(" at node {owner}"));
                say(&format!("{:<20} {}{flags}{owner}   {}", s.name, s.path, s.comment));
            }
            Ok(())
        }
    }
}
