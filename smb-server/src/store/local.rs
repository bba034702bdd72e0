//! A store in one process: the record model without replication. For handler tests, and for serving from a single machine without promises.

use std::{sync::Arc, time::Instant};

use parking_lot::Mutex;
use persistence_model::{Command, Event, FileKey, Incarnation, LogTime, NodeAddresses, NodeId, OpenId, Outcome, State};
use smb_types::Guid;
use tokio::sync::broadcast;

use super::{BoxFuture, Flight, Store, StoreError};

/// Events a slow receiver may be behind before it is told that it lags.
const EVENTS_MAX: usize = 4096;
/// The only node.
const NODE: NodeId = NodeId(1);

/// The record model behind a mutex.
#[derive(Debug)]
pub struct LocalStore {
    state: Mutex<State>,
    events: broadcast::Sender<Arc<Event>>,
    started: Instant,
    incarnation: Incarnation,
    /// Set by tests: the node has lost its right to answer.
    fenced: std::sync::atomic::AtomicBool,
    /// Set by tests: commands are carried out, and nobody hears what came of them.
    mute: std::sync::atomic::AtomicBool,
    in_flight: Arc<Mutex<Vec<(FileKey, OpenId)>>>,
}

impl LocalStore {
    /// A cluster of one node, without shares and users.
    #[must_use]
    pub fn new(net_name: &str, server_guid: Guid) -> Self {
        let mut state = State::new();
        state.apply(LogTime(0), &Command::ClusterInit { net_name: net_name.to_owned(), server_guid });
        let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        let addresses = NodeAddresses { smb: Vec::new(), witness: any, mapper: any, admin: any, raft: any };
        let join = Command::NodeJoin { node: NODE, name: "local".to_owned(), addresses, boot_id: String::new() };
        let Outcome::Joined { incarnation } = state.apply(LogTime(0), &join).outcome else {
            panic!("the first node of a fresh cluster can join");
        };
        let (events, _) = broadcast::channel(EVENTS_MAX);
        let (fenced, mute, in_flight) = Default::default();
        Self { state: Mutex::new(state), events, started: Instant::now(), incarnation, fenced, mute, in_flight }
    }

    /// Applies a command at once.
    pub fn apply(&self, command: &Command) -> Outcome {
        let applied = {
            let mut state = self.state.lock();
            let applied = state.apply(self.now(), command);
            // Nobody stores the changes; they must not pile up.
            state.take_changes();
            applied
        };
        for event in applied.events {
            // Nobody may be listening.
            let _ = self.events.send(Arc::new(event));
        }
        applied.outcome
    }

    /// Applies `Expire` when something has run out. Call it now and then.
    pub fn scavenge(&self) {
        let due = self.state.lock().expiry_due(self.now());
        if due {
            self.apply(&Command::Expire);
        }
    }

    /// Takes away, or gives back, the node's right to answer (for tests).
    pub fn set_lease_valid(&self, valid: bool) {
        self.fenced.store(!valid, std::sync::atomic::Ordering::Release);
    }

    /// Keeps the outcomes of commands to itself, or not (for tests).
    pub fn set_mute(&self, mute: bool) {
        self.mute.store(mute, std::sync::atomic::Ordering::Release);
    }

    /// The accesses that are under way (for tests).
    #[must_use]
    pub fn in_flight(&self) -> Vec<(FileKey, OpenId)> {
        self.in_flight.lock().clone()
    }

    fn now(&self) -> LogTime {
        LogTime(u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX))
    }
}

/// Takes an access off the list when it has landed.
struct Landing {
    of: (FileKey, OpenId),
    among: Arc<Mutex<Vec<(FileKey, OpenId)>>>,
}

impl Drop for Landing {
    fn drop(&mut self) {
        let mut among = self.among.lock();
        let place = among.iter().position(|access| *access == self.of).expect("it was put there");
        among.swap_remove(place);
    }
}

impl Store for LocalStore {
    fn propose(&self, command: Command) -> BoxFuture<'_, Result<Outcome, StoreError>> {
        Box::pin(async move {
            let outcome = self.apply(&command);
            if self.mute.load(std::sync::atomic::Ordering::Acquire) { Err(StoreError::Unknown) } else { Ok(outcome) }
        })
    }

    fn read(&self, look: &mut dyn FnMut(&State)) {
        look(&self.state.lock());
    }

    fn begin_io(&self, file: FileKey, open: OpenId) -> Flight {
        self.in_flight.lock().push((file, open));
        Flight::new(Landing { of: (file, open), among: Arc::clone(&self.in_flight) })
    }

    fn lease_valid(&self) -> bool {
        !self.fenced.load(std::sync::atomic::Ordering::Acquire)
    }

    fn has_leader(&self) -> bool {
        true
    }

    fn log_time(&self) -> LogTime {
        self.now()
    }

    fn node(&self) -> NodeId {
        NODE
    }

    fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    fn subscribe(&self) -> broadcast::Receiver<Arc<Event>> {
        self.events.subscribe()
    }

    fn suspect(&self, _node: NodeId) {}
}
