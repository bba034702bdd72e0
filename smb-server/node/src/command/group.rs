//! `holdfast group`.

use clap::{Args, Subcommand};

use super::{say, say_json};
use crate::{
    admin::{
        change::{Done, Named},
        groups::{GroupRequest, GroupView, MemberRequest},
    },
    cli::{At, LookArgs, NameArgs},
    client::AdminClient,
    failure::Failure,
};

/// `group`.
#[derive(Debug, Subcommand)]
pub enum GroupCommand {
    /// Adds a group
    Add(GroupArgs),
    /// Changes what a group is
    Set(SetArgs),
    /// Removes a group, also from other groups
    Remove(NameArgs),
    /// Takes users and groups into a group, or out of it
    #[command(subcommand)]
    Member(MemberCommand),
    /// Lists groups and their members
    List(LookArgs),
}

/// A new group.
#[derive(Debug, Args)]
pub struct GroupArgs {
    /// Which node.
    #[command(flatten)]
    pub at: At,
    /// Its name
    pub name: String,
    /// For people
    #[arg(long)]
    pub comment: Option<String>,
    /// The group on disk
    #[arg(long)]
    pub gid: Option<u32>,
}

/// A group that changes.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").args(["comment", "gid", "no_gid"]).required(true).multiple(true))]
pub struct SetArgs {
    /// Which node.
    #[command(flatten)]
    pub at: At,
    /// Its name
    pub name: String,
    /// For people
    #[arg(long)]
    pub comment: Option<String>,
    /// The group on disk
    #[arg(long)]
    pub gid: Option<u32>,
    /// It is no group on disk any more
    #[arg(long, conflicts_with = "gid")]
    pub no_gid: bool,
}

/// `group member`.
#[derive(Debug, Subcommand)]
pub enum MemberCommand {
    /// Takes a user or group into a group
    Add(MemberArgs),
    /// Takes a user or group out of a group
    Remove(MemberArgs),
}

/// A group and a member.
#[derive(Debug, Args)]
pub struct MemberArgs {
    /// Which node.
    #[command(flatten)]
    pub at: At,
    /// The group
    pub group: String,
    /// A user or group by its name, or a SID
    pub member: String,
}

/// Carries it out.
///
/// # Errors
/// The node cannot be asked, or refuses.
pub fn run(command: &GroupCommand) -> Result<(), Failure> {
    match command {
        GroupCommand::Add(GroupArgs { at, name, comment, gid }) => {
            let request = GroupRequest { name: name.clone(), comment: comment.clone(), gid: *gid, no_gid: false };
            AdminClient::of(at)?.post::<Done>("/api/v1/groups", &request)?;
            say(&format!("added {name}"));
        }
        GroupCommand::Set(SetArgs { at, name, comment, gid, no_gid }) => {
            let request = GroupRequest { name: name.clone(), comment: comment.clone(), gid: *gid, no_gid: *no_gid };
            AdminClient::of(at)?.post::<Done>("/api/v1/groups/set", &request)?;
            say(&format!("changed {name}"));
        }
        GroupCommand::Remove(args) => {
            AdminClient::of(&args.at)?.post::<Done>("/api/v1/groups/remove", &Named { name: args.name.clone() })?;
            say(&format!("removed {}", args.name));
        }
        GroupCommand::Member(MemberCommand::Add(args)) => member(args, true)?,
        GroupCommand::Member(MemberCommand::Remove(args)) => member(args, false)?,
        GroupCommand::List(args) => {
            let groups: Vec<GroupView> = AdminClient::of(&args.at)?.get("/api/v1/groups")?;
            if args.json {
                return say_json(&groups);
            }
            for group in &groups {
                let gid = group.gid.map_or_else(String::new, |gid| format!("   gid {gid}"));
                say(&format!("{:<20} {}{gid}   {}", group.name, group.sid, group.comment));
                group.members.iter().for_each(|member| say(&format!("  {member}")));
            }
        }
    }
    Ok(())
}

fn member(args: &MemberArgs, on: bool) -> Result<(), Failure> {
    let MemberArgs { at, group, member } = args;
    let request = MemberRequest { group: group.clone(), member: member.clone(), on };
    AdminClient::of(at)?.post::<Done>("/api/v1/groups/member", &request)?;
    say(&if on { format!("{member} is a member of {group}") } else { format!("{member} is no longer a member of {group}") });
    Ok(())
}
