//! The SMB server's `Store` over the replicated records.

use std::sync::Arc;

use persistence_model::{Command, Event, FileKey, Incarnation, LogTime, NodeId, OpenId, Outcome, State};
use smb_server::{
    StoreError,
    store::{BoxFuture, Flight},
};
use tokio::sync::broadcast;

/// One life of this node, as the SMB server sees the records.
pub struct LifeStore {
    store: persistence::Store,
    incarnation: Incarnation,
}

impl LifeStore {
    /// For one life.
    #[must_use]
    pub fn new(store: persistence::Store, incarnation: Incarnation) -> Arc<Self> {
        Arc::new(Self { store, incarnation })
    }
}

impl smb_server::Store for LifeStore {
    fn propose(&self, command: Command) -> BoxFuture<'_, Result<Outcome, StoreError>> {
        Box::pin(async move {
            self.store.propose(command).await.map_err(|error| match error {
                persistence::StoreError::Stopping => StoreError::Stopping,
                persistence::StoreError::Unknown => StoreError::Unknown,
                error => {
                    tracing::debug!(%error, "a command was not applied");
                    StoreError::NoLeader
                }
            })
        })
    }

    fn read(&self, look: &mut dyn FnMut(&State)) {
        self.store.with_state(|state| look(state));
    }

    fn begin_io(&self, file: FileKey, open: OpenId) -> Flight {
        Flight::new(self.store.begin_io(file, open))
    }

    fn lease_valid(&self) -> bool {
        self.store.lease_valid() && self.store.incarnation() == Some(self.incarnation)
    }

    fn has_leader(&self) -> bool {
        self.store.has_leader()
    }

    fn log_time(&self) -> LogTime {
        LogTime(self.store.status().raft.time_ms)
    }

    fn node(&self) -> NodeId {
        self.store.node()
    }

    fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    fn subscribe(&self) -> broadcast::Receiver<Arc<Event>> {
        self.store.subscribe()
    }

    fn subscribe_news(&self) -> broadcast::Receiver<Arc<Event>> {
        self.store.subscribe_news()
    }

    fn suspect(&self, node: NodeId) {
        self.store.suspect(node);
    }
}
