//! `holdfast node` and `holdfast token`.

use super::{say, say_json};
use crate::{
    admin::{
        change::{Done, Drain, Drained, Moved, NodeWord, Replace, Token, TokenWish},
        view::Status,
    },
    cli::{AddressArgs, NodeArgs, NodeCommand, ReplaceArgs, TokenArgs},
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
                let votes = if node.voter { "votes" } else { "" };
                say(&format!("{:<4} {:<12} {:<9} {:<6} {:<22} {leads}", node.id, node.name, node.state, votes, node.raft));
            }
            Ok(())
        }
        NodeCommand::Drain(args) => drain(args, true),
        NodeCommand::Undrain(args) => drain(args, false),
        NodeCommand::Lead(args) => post(args, "/api/v1/nodes/lead", "leads"),
        NodeCommand::Promote(args) => post(args, "/api/v1/nodes/promote", "votes"),
        NodeCommand::Remove(args) => post(args, "/api/v1/nodes/remove", "is removed"),
        NodeCommand::Replace(args) => replace(args),
        NodeCommand::Address(args) => address(args),
    }
}

fn replace(args: &ReplaceArgs) -> Result<(), Failure> {
    let wish = Replace { id: args.id, seconds: args.seconds };
    let token: Token = AdminClient::patient(&args.at.config)?.post("/api/v1/nodes/replace", &wish)?;
    if args.json {
        return say_json(&token);
    }
    say(&format!("node {} is removed; on the machine that takes its place, with an empty data directory:", args.id));
    say(&format!("  holdfast join --token {}", token.token));
    say("  holdfast serve");
    Ok(())
}

fn address(args: &AddressArgs) -> Result<(), Failure> {
    let done: Done = AdminClient::patient(&args.at.config)?.post("/api/v1/nodes/address", &Moved { id: args.id, raft: args.raft })?;
    if args.json {
        return say_json(&done);
    }
    say(&format!("the others look for node {} at {} now", args.id, args.raft));
    Ok(())
}

/// `holdfast token`.
///
/// # Errors
/// The node cannot be asked, or does not hold the cluster's authority.
pub fn token(args: &TokenArgs) -> Result<(), Failure> {
    let token: Token = AdminClient::of_config(&args.at.config)?.post("/api/v1/tokens", &TokenWish { seconds: args.seconds })?;
    if args.json {
        return say_json(&token);
    }
    say(&token.token);
    Ok(())
}

fn drain(args: &NodeArgs, on: bool) -> Result<(), Failure> {
    let drained: Drained = AdminClient::patient(&args.at.config)?.post("/api/v1/nodes/drain", &Drain { id: args.id, on })?;
    if args.json {
        return say_json(&drained);
    }
    let leader = drained.leader.map_or("nobody leads at the moment".to_owned(), |leader| format!("node {leader} leads"));
    say(&format!("node {} {}; {leader}", args.id, if on { "asks its clients to move" } else { "serves again" }));
    if on && drained.leader == Some(args.id) {
        say("attention: it still leads, because no other node can");
    }
    Ok(())
}

fn post(args: &NodeArgs, path: &str, done: &str) -> Result<(), Failure> {
    let answer: Done = AdminClient::patient(&args.at.config)?.post(path, &NodeWord { id: args.id })?;
    if args.json {
        return say_json(&answer);
    }
    say(&format!("node {} {done}", args.id));
    Ok(())
}
