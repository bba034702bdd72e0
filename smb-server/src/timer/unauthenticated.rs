//! Closes connections on which nobody has logged on (MS-SMB2 3.3.2.3, 3.3.6.3).

use std::sync::Arc;

use crate::{
    error::Disconnect,
    state::{Connection, Server, SessionState},
};

/// Looks once per timeout whether somebody is logged on, until the connection ends.
pub(crate) async fn watch(server: Arc<Server>, connection: Arc<Connection>) {
    loop {
        tokio::select! {
            () = connection.ended.cancelled() => return,
            () = tokio::time::sleep(server.config.unauthenticated_timeout) => {}
        }
        let authenticated = connection.sessions().iter().any(|session| session.state() != SessionState::InProgress);
        if !authenticated {
            connection.disconnect(Disconnect::because("nobody has logged on"));
            return;
        }
    }
}
