//! Carries out what the records' events ask of this node: breaks to deliver, opens that were taken away, sessions that ended, deletions.

use std::{collections::BTreeSet, net::IpAddr, sync::Arc, time::Duration};

use persistence_model::{Command, DisconnectReason, Event, OpenId, OpenState, Outcome, SessionId};
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio_util::sync::CancellationToken;

use crate::{
    deletion, loss, metrics as names, notify,
    send::breaks,
    state::{Open, Server},
    store::StoreExt as _,
};

/// How often opens that nobody knows are looked for; one is closed when it is found twice.
const ORPHAN_SWEEP: Duration = Duration::from_secs(30);

/// Listens until `stop` fires. Events count from the call of this function, not from the first poll of what it returns: call it before
/// the first connection is accepted. Begins with the deletions that fell to this node while it did not listen.
pub fn run(server: Arc<Server>, stop: CancellationToken) -> impl Future<Output = ()> + Send {
    let mut events = server.store.subscribe_news();
    let mut questions = server.telling.questions();
    async move {
        start_due_deletions(&server);
        let mut orphans = BTreeSet::new();
        let mut sweep = tokio::time::interval(ORPHAN_SWEEP);
        loop {
            let event = tokio::select! {
                () = stop.cancelled() => return,
                event = events.recv() => event,
                Some(question) = questions.recv() => {
                    // What was committed before the question is here already.
                    for _ in 0..events.len() {
                        match events.try_recv() {
                            Ok(event) => handle(&server, &event),
                            Err(TryRecvError::Lagged(missed)) => missed_some(&server, missed),
                            Err(TryRecvError::Empty | TryRecvError::Closed) => break,
                        }
                    }
                    drop(question);
                    continue;
                }
                _ = sweep.tick() => {
                    if let Some(left_out) = server.failed_logons.left_out(tokio::time::Instant::now()) {
                        tracing::warn!(left_out, "further logons were refused and not logged one by one");
                    }
                    orphans = close_orphans(&server, &orphans);
                    continue;
                }
            };
            match event {
                Ok(event) => handle(&server, &event),
                Err(RecvError::Lagged(missed)) => missed_some(&server, missed),
                Err(RecvError::Closed) => return,
            }
        }
    }
}

/// Handles one event without waiting: what takes time runs in a task of its own.
fn handle(server: &Arc<Server>, event: &Event) {
    let node = server.store.node();
    match event {
        Event::LeaseBreak { lease, file, nodes, current, new, epoch, ack_required } => {
            if nodes.contains(&node) {
                let notice = breaks::LeaseBreak {
                    lease: *lease,
                    file: *file,
                    current: *current,
                    new: *new,
                    epoch: *epoch,
                    ack_required: *ack_required,
                    only_here: nodes.len() == 1,
                };
                tokio::spawn(breaks::lease_break(Arc::clone(server), notice, server.telling.begin(*file)));
            }
        }
        Event::OplockBreak { open, node: owner, session, level, .. } => {
            if *owner == node {
                let file = server.store.with_state(|state| state.open(*open).and_then(|open| open.file));
                let teller = file.map(|file| server.telling.begin(file));
                tokio::spawn(breaks::oplock_break(Arc::clone(server), *open, *session, *level, teller));
            }
        }
        Event::OpenTaken { open, node: owner, incarnation } => {
            if *owner == node && *incarnation == server.store.incarnation() {
                forget(server, *open);
            }
        }
        Event::SessionEnded { session, node: owner } => {
            if *owner == node {
                end_session(server, *session);
            }
        }
        Event::DeleteDue { delete } => {
            if delete.node == node {
                let (server, delete) = (Arc::clone(server), delete.clone());
                tokio::spawn(async move { deletion::perform(&server, &delete).await });
            }
        }
        Event::FileChanged { file } => notify::file_changed(server, *file),
        Event::ShareChanged { share } => {
            let is_gone = server.store.with_state(|state| state.share(*share).is_none());
            if is_gone { server.share_removed(*share) } else { server.share_changed(*share) }
        }
        Event::ClientsBlocked { network } => cut_off(server, |peer| network.contains(peer)),
        Event::UserChanged { .. } => {
            server.accounts_changed();
            end_fallen(server);
        }
        Event::GroupChanged { .. } => server.accounts_changed(),
        Event::OpensExpired { opens } => opens.iter().for_each(|open| forget(server, *open)),
        Event::NodeDown { node: dead, incarnation } => {
            if *dead == node && *incarnation == server.store.incarnation() {
                stand_down(server);
            }
            // What it had open may have its turn later, but who asks for one of its files anew finds it free of that node.
            server.file_watches.all_changed();
        }
        Event::NodeUp { .. }
        | Event::NodeDraining { .. }
        | Event::NodeAddresses { .. }
        | Event::ShareMoved { .. }
        | Event::OpenReclaimed { .. }
        // Whoever logs on reads them in the records.
        | Event::SettingsChanged => {}
    }
}

/// Ends the sessions whose user may not be in any more, or has another password. Most have ended with their records; those that are somebody
/// else's by now, after a renewal, have not.
fn end_fallen(server: &Arc<Server>) {
    let fallen = server.sessions().into_iter().filter(|session| session.user().is_some_and(|user| !server.stands(&user)));
    for session in fallen {
        end_session(server, session.session_id);
    }
}

/// Ends a session on behalf of an operator, or of its user's end.
fn end_session(server: &Arc<Server>, session: SessionId) {
    let Some(session) = server.remove_session(session) else { return };
    // From here on its requests are refused, even while some are still under way.
    session.end();
    let server = Arc::clone(server);
    tokio::spawn(async move { loss::end_session(&server, &session, DisconnectReason::Logoff).await });
}

/// An open was closed or taken by somebody else. Events may be late: one that has come back to this very session since stays.
fn forget(server: &Server, open: OpenId) {
    let Some(open) = server.open(open) else { return };
    if !is_ours(server, &open) {
        open.revoke();
        server.remove_open(&open);
    }
}

/// Tells whether the records still give an open to the session that has it here.
fn is_ours(server: &Server, open: &Open) -> bool {
    let (node, incarnation) = (server.store.node(), server.store.incarnation());
    server.store.with_state(|state| {
        let owner = state.open(open.open_id).and_then(|record| record.owner);
        owner.is_some_and(|owner| owner.node == node && owner.incarnation == incarnation && owner.session == open.session_id)
    })
}

/// The others have declared this node dead: whatever it has open belongs to them. Nothing is answered any more.
fn stand_down(server: &Arc<Server>) {
    tracing::error!("this node has been declared dead; its clients are cut off");
    for open in server.opens() {
        open.revoke();
        server.remove_open(&open);
    }
    for connection in server.connections() {
        connection.disconnect(crate::Disconnect::because("this node has been declared dead"));
    }
}

/// An operator has shut these clients out.
fn cut_off(server: &Server, is_blocked: impl Fn(IpAddr) -> bool) {
    for connection in server.connections().into_iter().filter(|connection| is_blocked(connection.peer.ip())) {
        tracing::warn!(peer = %connection.peer, "a client is cut off: its address is blocked; `holdfast client list` shows why");
        connection.disconnect(crate::Disconnect::because("its address is blocked"));
    }
}

fn missed_some(server: &Arc<Server>, missed: u64) {
    tracing::error!(missed, "events were missed; looking at all records instead");
    resynchronise(server);
}

/// After missed events: whatever the records no longer give to this node is taken away, and deletions that are due are done.
fn resynchronise(server: &Arc<Server>) {
    metrics::counter!(names::EVENTS_MISSED).increment(1);
    server.accounts_changed();
    server.shares_changed();
    cut_off(server, |peer| server.store.with_state(|state| state.client_block(peer).is_some()));
    server.file_watches.all_changed();
    for open in server.opens().into_iter().filter(|open| open.pipe().is_none()) {
        forget(server, open.open_id);
    }
    for session in server.sessions() {
        let known = session.security().is_none() || server.store.with_state(|state| state.session(session.session_id).is_some());
        if !known {
            end_session(server, session.session_id);
        }
    }
    end_fallen(server);
    start_due_deletions(server);
}

/// Does what the records want this node to delete.
fn start_due_deletions(server: &Arc<Server>) {
    let node = server.store.node();
    let due: Vec<_> = server.store.with_state(|state| state.due_deletes().filter(|delete| delete.node == node).cloned().collect());
    for delete in due {
        let server = Arc::clone(server);
        tokio::spawn(async move { deletion::perform(&server, &delete).await });
    }
}

/// Closes opens that the records give to this node and nobody here knows, if they were like that at the last look, too: their CREATE was
/// committed when its proposer had given up, and without a CreateGuid no client can come for them. Tells which ones it found.
fn close_orphans(server: &Arc<Server>, before: &BTreeSet<OpenId>) -> BTreeSet<OpenId> {
    let (node, incarnation) = (server.store.node(), server.store.incarnation());
    // One session after the other: nothing is applied while somebody looks.
    let sessions: Vec<SessionId> = server.store.with_state(|state| state.sessions_of_node(node).map(|session| session.id).collect());
    let of_session = |session: SessionId| -> Vec<OpenId> {
        server.store.with_state(|state| {
            let opens = state.opens_of_session(session).filter(|open| open.is_owned_by(incarnation) && open.create_guid.is_none());
            opens.filter(|open| open.state == OpenState::Open).map(|open| open.id).collect()
        })
    };
    let mine: Vec<OpenId> = sessions.into_iter().flat_map(of_session).collect();
    let orphans: BTreeSet<OpenId> = mine.into_iter().filter(|open| server.open(*open).is_none()).collect();
    for open in orphans.intersection(before).copied() {
        tracing::warn!(open = open.0, "an open that nobody knows is closed");
        let server = Arc::clone(server);
        tokio::spawn(async move {
            let command = Command::CloseOpen { open, by: server.store.incarnation() };
            if let Ok(Outcome::Closed { delete: Some(delete) }) = server.propose(command).await {
                deletion::perform(&server, &delete).await;
            }
        });
    }
    orphans
}
