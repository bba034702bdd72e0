//! `holdfast node` and `holdfast token`.

use super::{say, say_json};
use crate::{
    admin::{
        change::{Done, Drain, NodeWord, Token, TokenWish},
        view::Status,
    },
    cli::{NodeArgs, NodeCommand, TokenArgs},
    client::AdminClient,
    failure::Failure,
};

/// Carries it out.
///
/// # Errors
/// The node cannot be asked, or refuses.
pub fn run(command: &NodeCommand) -> Result<(), Failure> {
    match command {
        NodeCommand::List(args) => {
            let status: Status = AdminClient::of_config(&args.at.config)?.get("/api/v1/status")?;
            if args.json {
                return say_json(&status.nodes);
            }
            for node in &status.nodes {
                let leads = if status.leader == Some(node.id) { "leader" } else { "" };
                say(&format!("{:<4} {:<12} {:<9} {leads}", node.id, node.name, node.state));
            }
            Ok(())
        }
        NodeCommand::Drain(args) => drain(args, true),
        NodeCommand::Undrain(args) => drain(args, false),
        NodeCommand::Lead(args) => post(args, "/api/v1/nodes/lead", "leads"),
        NodeCommand::Remove(args) => post(args, "/api/v1/nodes/remove", "is removed"),
    }
}

/// `holdfast token`.
///
/// # Errors
/// The node cannot be asked, or does not hold the cluster's authority.
pub fn token(args: &TokenArgs) -> Result<(), Failure> {
    let token: Token = AdminClient::of_config(&args.at.config)?.post("/api/v1/tokens", &TokenWish { seconds: args.seconds })?;
    say(&token.token);
    Ok(())
}

fn drain(args: &NodeArgs, on: bool) -> Result<(), Failure> {
    AdminClient::of_config(&args.at.config)?.post::<Done>("/api/v1/nodes/drain", &Drain { id: args.id, on })?;
    say(&format!("node {} {}", args.id, if on { "asks its clients to move" } else { "serves again" }));
    Ok(())
}

fn post(args: &NodeArgs, path: &str, done: &str) -> Result<(), Failure> {
    AdminClient::of_config(&args.at.config)?.post::<Done>(path, &NodeWord { id: args.id })?;
    say(&format!("node {} {done}", args.id));
    Ok(())
}
