//! GlobalClientTable: which live connections belong to which client machine (MS-SMB2 3.3.1.16). Lease breaks look here.

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
};

use parking_lot::Mutex;
use smb_types::ClientGuid;

use super::connection::Connection;

/// ClientGuid → connections, in the order they came.
#[derive(Debug, Default)]
pub struct ClientTable {
    clients: Mutex<BTreeMap<ClientGuid, Vec<Weak<Connection>>>>,
}

impl ClientTable {
    /// Adds a connection that has negotiated.
    pub fn add(&self, client: ClientGuid, connection: &Arc<Connection>) {
        self.clients.lock().entry(client).or_default().push(Arc::downgrade(connection));
    }

    /// Forgets a connection, and those that are gone already.
    pub fn remove(&self, client: ClientGuid, connection: &Connection) {
        let mut clients = self.clients.lock();
        if let Some(connections) = clients.get_mut(&client) {
            connections.retain(|weak| weak.upgrade().is_some_and(|other| other.connection_id != connection.connection_id));
            if connections.is_empty() {
                clients.remove(&client);
            }
        }
    }

    /// The client's live connections, oldest first.
    #[must_use]
    pub fn connections(&self, client: &ClientGuid) -> Vec<Arc<Connection>> {
        self.clients.lock().get(client).map(|list| list.iter().filter_map(Weak::upgrade).collect()).unwrap_or_default()
    }
}
