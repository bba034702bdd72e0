//! What ends with a connection (MS-SMB2 3.3.7.1), and the ends of sessions and trees: which opens go is the records' decision.

use std::{sync::Arc, time::Duration};

use persistence_model::{Command, DisconnectReason, OpenId, Outcome};

use crate::{
    deletion, metrics as names,
    state::{Connection, Open, Server, Session, TreeConnect},
};

/// Pause between two tries to tell the store that opens have lost their session.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// The connection is gone and nothing of it runs any more: sessions without another channel end.
// MS-SMB2 3.3.7.1
// A session with another channel keeps its opens; the others keep what the records have promised.
pub(crate) async fn connection_lost(server: &Arc<Server>, connection: &Arc<Connection>) {
    server.clients.remove(connection.client_guid(), connection);
    for session in connection.sessions() {
        connection.remove_session(session.session_id);
        session.authentications.lock().remove(&connection.connection_id);
        if session.remove_channel(connection.connection_id) && server.remove_session(session.session_id).is_some() {
            end_session(server, &session, DisconnectReason::ConnectionLost).await;
        }
    }
}

/// Ends a session that is in no table any more: its local opens are gone at once, the records learn of it as soon as they can.
pub(crate) async fn end_session(server: &Arc<Server>, session: &Arc<Session>, why: DisconnectReason) {
    session.end();
    for connection in session.channel_connections().into_iter().filter_map(|id| server.connection(id)) {
        connection.remove_session(session.session_id);
    }
    for tree in session.take_trees() {
        tree.disconnect();
    }
    quiesce(server, session).await;
    for open in session.opens() {
        server.forget_open(session, &open);
    }
    // The channels' keys sign the answers to what was under way.
    for connection in session.channel_connections() {
        session.remove_channel(connection);
    }
    if session.security().is_none() {
        // It never got as far as a record.
        return;
    }
    metrics::gauge!(names::SESSIONS).decrement(1.0);
    let command = Command::DisconnectOpens { session: session.session_id, why };
    tell(server, command).await;
}

/// Takes a session out of service and waits until nothing of it touches a file any more: only then may its opens be given to its successor.
// A replayed WRITE must not overtake its twin of the old session.
pub(crate) async fn quiesce(server: &Server, session: &Session) {
    server.remove_session(session.session_id);
    let opens = session.opens();
    opens.iter().for_each(|open| open.revoke());
    cancel_waiting(server, session, &opens);
    let all_idle = async {
        for open in &opens {
            open.idle().await;
        }
    };
    if tokio::time::timeout(server.config.propose_timeout, all_idle).await.is_err() {
        tracing::warn!(session = session.session_id.0, "requests of an ended session do not end");
    }
}

/// Ends the requests that wait on these opens, whatever they wait for.
fn cancel_waiting(server: &Server, session: &Session, opens: &[Arc<Open>]) {
    for connection in session.channel_connections().into_iter().filter_map(|id| server.connection(id)) {
        for request in connection.requests() {
            let file_id = *request.file_id.lock();
            if opens.iter().any(|open| Some(open.file_id) == file_id && open.session_id == session.session_id) {
                request.cancel.cancel();
            }
        }
    }
}

/// A tree is disconnected: all its opens are closed, whatever they were promised.
// MS-SMB2 3.3.5.8
pub(crate) async fn end_tree(server: &Arc<Server>, session: &Arc<Session>, tree: &Arc<TreeConnect>) {
    tree.disconnect();
    let opens: Vec<Arc<Open>> = session.opens().into_iter().filter(|open| open.tree.tree_id == tree.tree_id).collect();
    opens.iter().for_each(|open| open.revoke());
    cancel_waiting(server, session, &opens);
    let mut open_ids: Vec<OpenId> = Vec::new();
    for open in opens {
        open.idle().await;
        server.forget_open(session, &open);
        if open.pipe().is_none() {
            open_ids.push(open.open_id);
        }
    }
    if !open_ids.is_empty() {
        tell(server, Command::DisconnectOpens { session: session.session_id, why: DisconnectReason::TreeDisconnect(open_ids) }).await;
    }
}

/// Proposes the command; while the store cannot take it, goes on trying behind the caller's back, as the opens are lost either way.
async fn tell(server: &Arc<Server>, command: Command) {
    match server.propose(command.clone()).await {
        Ok(outcome) => finish(server, outcome).await,
        Err(_) => {
            let server = Arc::clone(server);
            tokio::spawn(async move {
                // A node that is declared down has its opens taken by that; then there is nothing left to tell.
                loop {
                    tokio::time::sleep(RETRY_PAUSE).await;
                    match server.store.propose(command.clone()).await {
                        Ok(outcome) => return finish(&server, outcome).await,
                        Err(crate::StoreError::Stopping) => return,
                        Err(_) => {}
                    }
                }
            });
        }
    }
}

async fn finish(server: &Arc<Server>, outcome: Outcome) {
    let Outcome::Disconnected { deletes, .. } = outcome else { return };
    for delete in deletes {
        deletion::perform(server, &delete).await;
    }
}
