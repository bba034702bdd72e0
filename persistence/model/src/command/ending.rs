//! Opens of a life that is over and that have not had their turn yet (`NodeEnd`): whatever a command is about has it now, so that nobody
//! can tell whether a life ended at once or in parts.

use std::collections::BTreeSet;

use crate::class::Class;
use crate::command::node::{end_open, end_session};
use crate::command::{BreakTarget, Command, ReclaimKind};
use crate::effects::Effects;
use crate::id::{FileKey, LeaseId, NodeId, OpenId, SessionId};
use crate::record::Open;
use crate::state::State;

/// Before a command: what it is about loses the life that had it.
pub(crate) fn meet(state: &mut State, fx: &mut Effects, command: &Command) {
    let Turn { opens, session } = turn(state, command);
    for open in opens {
        end_open(state, fx, open);
    }
    if let Some((session, node)) = session {
        end_session(state, fx, session, node);
    }
}

/// The class of commit for what has its turn with a command: that of the death, which may delete a file.
pub(crate) fn class(state: &State, command: &Command) -> Class {
    let Turn { opens, session } = turn(state, command);
    if opens.is_empty() && session.is_none() { Class::Volatile } else { Class::Persistent }
}

/// What has its turn with a command.
#[derive(Default)]
struct Turn {
    opens: BTreeSet<OpenId>,
    session: Option<(SessionId, NodeId)>,
}

fn turn(state: &State, command: &Command) -> Turn {
    if !state.nodes().any(|n| state.is_ending(n.id)) {
        return Turn::default();
    }
    let Met { files, opens, session } = met(state, command);
    let session = session.and_then(|s| state.session(s)).filter(|s| state.is_ending(s.node)).map(|s| (s.id, s.node));
    let of_session = session.into_iter().flat_map(|(session, _)| state.opens_of_session(session)).map(|o| o.id);
    // All of a file and its streams: whose cache or mark goes first shows in what is left of it.
    let opens: BTreeSet<OpenId> = opens.into_iter().chain(of_session).collect();
    let of_opens = opens.iter().filter_map(|id| state.open(*id)?.file);
    let files: BTreeSet<FileKey> = files.into_iter().chain(of_opens).collect();
    let files: BTreeSet<FileKey> = files.iter().map(|f| f.unnamed()).collect();
    let of_files = files.iter().flat_map(|f| state.file(f).into_iter().chain(state.named_streams(f))).flat_map(|f| &f.opens).copied();
    let mut opens: BTreeSet<OpenId> = of_files.chain(opens.iter().copied()).collect();
    opens.retain(|id| state.open(*id).and_then(|o| o.owner).is_some_and(|w| state.is_over(&w)));
    Turn { opens, session }
}

/// What a command is about.
#[derive(Default)]
struct Met {
    files: Vec<FileKey>,
    opens: Vec<OpenId>,
    session: Option<SessionId>,
}

fn met(state: &State, command: &Command) -> Met {
    let file_of = |id: &OpenId| state.open(*id).and_then(|o| o.file);
    let files = |files: Vec<FileKey>| Met { files, ..Met::default() };
    let of_lease = |id: LeaseId| files(state.files_of_lease(id).map(|f| f.key).collect());
    match command {
        Command::OpenFile(r) | Command::ReserveOpen(r) => {
            let named = r.create_guid.into_iter().flat_map(|guid| state.opens_by_create_guid(guid));
            let app = r.app_instance.iter().flat_map(|app| state.opens_of_app_instance(app.id));
            let at_path = state.opens_of_path(r.share, &r.path);
            let streams = state.opens_of_streams(r.share, &r.path);
            let opens = named.chain(app).chain(at_path).map(|o| o.id).chain(streams).collect();
            Met { files: r.file.into_iter().collect(), opens, session: None }
        }
        Command::ReclaimOpen(r) => {
            let guid = if let ReclaimKind::V2 { create_guid, .. } = r.kind { Some(create_guid) } else { None };
            let named = guid.into_iter().flat_map(|guid| state.opens_by_create_guid(guid)).map(|o| o.id);
            Met { files: file_of(&r.open).into_iter().collect(), opens: named.chain([r.open]).collect(), session: None }
        }
        Command::RenameIntent { open, new_path, target, .. } => {
            let opens = state.open(*open).map(|o| around(state, o, new_path)).unwrap_or_default();
            Met { files: file_of(open).into_iter().chain(*target).collect(), opens, session: None }
        }
        Command::ConfirmOpen { open, file, .. } => files(file_of(open).into_iter().chain([*file]).collect()),
        Command::BreakForIo { file, .. } => files(vec![*file]),
        Command::DirectoryChanged { parent, .. } => files(vec![*parent]),
        Command::LeaseAck { client_guid, key, .. } => of_lease(LeaseId { client_guid: *client_guid, key: *key }),
        Command::BreakUndeliverable { target: BreakTarget::Lease(id) } => of_lease(*id),
        Command::SetDeletePending { open, .. }
        | Command::Lock { open, .. }
        | Command::Unlock { open, .. }
        | Command::CloseOpen { open, .. }
        | Command::AbortOpen { open, .. }
        | Command::OpenClose { open }
        | Command::RenameDone { open, .. }
        | Command::OplockAck { open, .. }
        | Command::BreakUndeliverable { target: BreakTarget::Open(open) } => files(file_of(open).into_iter().collect()),
        Command::SessionOpen { previous_session: Some(session), .. }
        | Command::DisconnectOpens { session, .. }
        | Command::SessionClose { session } => {
            Met { files: state.opens_of_session(*session).filter_map(|o| o.file).collect(), opens: Vec::new(), session: Some(*session) }
        }
        // These are about one open of a living node and nobody else's, about all that is open, or about none of it.
        _ => Met::default(),
    }
}

/// What a rename of this open moves or meets besides its file.
fn around(state: &State, open: &Open, new_path: &str) -> Vec<OpenId> {
    let beneath = if open.is_directory { state.opens_beneath(open.share, &open.path) } else { Vec::new() };
    let there = state.opens_of_path(open.share, new_path).map(|o| o.id);
    state.opens_of_streams(open.share, &open.path).into_iter().chain(beneath).chain(there).collect()
}
