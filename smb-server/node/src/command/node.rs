//! `holdfast node` and `holdfast token`.

use super::{say, say_json};
use crate::{
    admin::{
        addresses::{Addresses, AddressesChange},
        change::{Done, Drain, Drained, Moved, NodeWord, Replace, Token, TokenWish},
        view::Status,
    },
    cli::{AddressArgs, AddressesArgs, DrainArgs, NodeArgs, NodeCommand, ReplaceArgs, TokenArgs},
    client::AdminClient,
    failure::{Failure, UNAVAILABLE},
};

/// Carries it out.
///
/// # Errors
/// The node cannot be asked, or refuses.
pub fn run(command: &NodeCommand) -> Result<(), Failure> {
    match command {
        NodeCommand::List(args) => {
            let status: Status = AdminClient::of(&args.at)?.get("/api/v1/status")?;
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
        NodeCommand::Drain(args) => drain(args),
        NodeCommand::Undrain(args) => undrain(args),
        NodeCommand::Lead(args) => post(args, "/api/v1/nodes/lead", "leads"),
        NodeCommand::Promote(args) => post(args, "/api/v1/nodes/promote", "votes"),
        NodeCommand::Remove(args) => post(args, "/api/v1/nodes/remove", "is removed"),
        NodeCommand::Replace(args) => replace(args),
        NodeCommand::Address(args) => address(args),
        NodeCommand::Addresses(args) => addresses(args),
    }
}

fn replace(args: &ReplaceArgs) -> Result<(), Failure> {
    let wish = Replace { id: args.id, seconds: args.seconds };
    let token: Token = AdminClient::patient(&args.at)?.post("/api/v1/nodes/replace", &wish)?;
    if args.json {
        return say_json(&token);
    }
    say(&format!("node {} is removed; on the machine that takes its place, with an empty data directory:", args.id));
    say("  holdfast join        # it asks for the token, which is good once:");
    say(&token.token);
    say("  holdfast serve");
    Ok(())
}

fn address(args: &AddressArgs) -> Result<(), Failure> {
    let done: Done = AdminClient::patient(&args.at)?.post("/api/v1/nodes/address", &Moved { id: args.id, raft: args.raft })?;
    if args.json {
        return say_json(&done);
    }
    say(&format!("the others look for node {} at {} now", args.id, args.raft));
    Ok(())
}

fn addresses(args: &AddressesArgs) -> Result<(), Failure> {
    let wish = AddressesChange { id: args.id, add: args.add.clone(), remove: args.remove.clone() };
    let now: Addresses = AdminClient::patient(&args.at)?.post("/api/v1/nodes/addresses", &wish)?;
    if args.json {
        return say_json(&now);
    }
    let smb: Vec<String> = now.smb.iter().map(ToString::to_string).collect();
    say(&format!("clients reach node {} at {} now", now.node, smb.join(" ")));
    say("write it into listen.smb of its configuration too: that counts when its process starts again");
    Ok(())
}

/// `holdfast token`.
///
/// # Errors
/// The node cannot be asked, or does not hold the cluster's authority.
pub fn token(args: &TokenArgs) -> Result<(), Failure> {
    let token: Token = AdminClient::of(&args.at)?.post("/api/v1/tokens", &TokenWish { seconds: args.seconds })?;
    if args.json {
        return say_json(&token);
    }
    say(&token.token);
    Ok(())
}

/// Exit code 69 when handles stay at the node.
fn drain(args: &DrainArgs) -> Result<(), Failure> {
    let wish = Drain { id: args.id, on: true, wait_s: args.wait };
    let drained: Drained = AdminClient::patient(&args.at)?.post("/api/v1/nodes/drain", &wish)?;
    let leads = drained.leader == Some(args.id);
    if args.json {
        say_json(&drained)?;
    } else {
        let leader = drained.leader.map_or("nobody leads at the moment".to_owned(), |leader| format!("node {leader} leads"));
        say(&format!("node {} asks its clients to move; {leader}", args.id));
        if drained.safe_to_stop {
            say(&format!("it is safe to stop node {}: after {} ms nothing is left there", args.id, drained.waited_ms));
        }
    }
    if drained.safe_to_stop || args.wait == 0 {
        if leads && !args.json {
            say("attention: it still leads, because no other node can");
        }
        return Ok(());
    }
    let because = if drained.handles == 0 {
        format!("node {} still leads, because no other node can: start another one before this is stopped", args.id)
    } else {
        format!(
            "{} handles are at node {} after {} s: their clients do not move. `holdfast handles` names them; stopping the node interrupts them",
            drained.handles, args.id, args.wait
        )
    };
    Err(Failure::new(UNAVAILABLE, because))
}

fn undrain(args: &NodeArgs) -> Result<(), Failure> {
    let wish = Drain { id: args.id, on: false, wait_s: 0 };
    let drained: Drained = AdminClient::patient(&args.at)?.post("/api/v1/nodes/drain", &wish)?;
    if args.json {
        return say_json(&drained);
    }
    say(&format!("node {} serves again", args.id));
    Ok(())
}

fn post(args: &NodeArgs, path: &str, done: &str) -> Result<(), Failure> {
    let answer: Done = AdminClient::patient(&args.at)?.post(path, &NodeWord { id: args.id })?;
    if args.json {
        return say_json(&answer);
    }
    say(&format!("node {} {done}", args.id));
    Ok(())
}
