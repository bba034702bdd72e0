//! `holdfast share`.

use super::{init::settings, say, say_json};
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
            let client = AdminClient::of_config(&args.at.config)?;
            let (name, s) = settings(&args.share)?;
            let share = ShareView { name, path: s.path, comment: args.comment.clone(), ca: s.ca, scaleout: s.scaleout, encrypt: s.encrypt };
            client.post::<Done>("/api/v1/shares", &share)?;
            say(&format!("added {}", share.name));
            Ok(())
        }
        ShareCommand::Remove(args) => {
            let named = Named { name: args.name.clone() };
            AdminClient::of_config(&args.at.config)?.post::<Done>("/api/v1/shares/remove", &named)?;
            say(&format!("removed {}", args.name));
            Ok(())
        }
        ShareCommand::List(args) => {
            let shares: Vec<ShareView> = AdminClient::of_config(&args.at.config)?.get("/api/v1/shares")?;
            if args.json {
                return say_json(&shares);
            }
            for s in &shares {
                let flags = [(s.ca, " ca"), (s.scaleout, " scaleout"), (s.encrypt, " encrypt")];
                let flags: String = flags.iter().filter(|(on, _)| *on).map(|(_, word)| *word).collect();
                say(&format!("{:<20} {}{flags}   {}", s.name, s.path, s.comment));
            }
            Ok(())
        }
    }
}
