//! A running store: starts everything and answers what callers ask.
//!
//! `propose` carries commands and waits for barriers, `life` keeps this node's lease, `warden` gives leases and declares deaths while this
//! node has authority, `scavenger` sees to timeouts, `membership` lets nodes in and out.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use futures::FutureExt;
use parking_lot::Mutex;
use persistence_model::{Event, FileKey, Incarnation, NodeAddresses, NodeId, Open, OpenId, State};
use raftstore::{Leader, RaftStore, Status, Traffic};
use serde::Serialize;
use tokio::sync::{Notify, broadcast, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::ask::ProgramHandler;
use crate::call::{self, Answer, Call};
use crate::config::StoreConfig;
use crate::engine::Engine;
use crate::error::{OpenError, StoreError};
use crate::fence::Watchdog;
use crate::flights::Flight;
use crate::lease::holder::{Holder, Life};
use crate::lease::table::LeaseTable;
use crate::membership::Door;

/// Longest wait for one's own goodbye to be heard.
const GOODBYE_MAX: Duration = Duration::from_millis(1000);
/// Longest wait for a linearizable read.
const READ_MAX: Duration = Duration::from_secs(5);
/// Opens that are looked at while nothing is applied.
const OPENS_AT_ONCE: usize = 1000;
/// The shortest lease: below, ordinary delays of scheduling and disks would look like deaths.
const LEASE_MIN: Duration = Duration::from_millis(200);

/// One node's door to the replicated records. Clones are handles of the same node.
#[derive(Clone)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

/// What all parts of a node's store share.
pub(crate) struct Inner {
    pub(crate) node: NodeId,
    pub(crate) config: StoreConfig,
    pub(crate) boot_id: String,
    pub(crate) start: Instant,
    pub(crate) engine: Arc<Engine>,
    pub(crate) holder: Arc<Holder>,
    /// Where clients reach this node; set when it shall serve.
    pub(crate) addresses: watch::Sender<Option<NodeAddresses>>,
    /// The leases given under the authority that this process has taken.
    pub(crate) table: Mutex<Option<LeaseTable>>,
    /// Nodes whose ports are being looked at.
    pub(crate) inquiries: Mutex<BTreeSet<NodeId>>,
    pub(crate) endings: Mutex<BTreeSet<NodeId>>,
    pub(crate) warden_wake: Notify,
    /// How often another node was asked how far it is.
    pub(crate) barriers_asked: AtomicU64,
    /// How often a command needed a stronger class than it was proposed with.
    pub(crate) synced_afterwards: AtomicU64,
    pub(crate) watchdog: Option<Watchdog>,
    pub(crate) door: Arc<Door>,
    /// One change of this node's certificate at a time.
    pub(crate) certificate_turn: tokio::sync::Mutex<()>,
    /// This node was told that it is being removed.
    pub(crate) leaving: watch::Sender<bool>,
    /// Who answers other nodes' programs.
    pub(crate) program: OnceLock<ProgramHandler>,
    raft: OnceLock<RaftStore>,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

/// What a node tells about itself. For display; it proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StoreStatus {
    /// The replication.
    pub raft: Status,
    /// This node's present life.
    pub incarnation: Option<Incarnation>,
    /// Whether it may answer clients now.
    pub lease_valid: bool,
    /// The node that gives leases.
    pub authority: Option<NodeId>,
    /// The format level that the cluster has agreed on: all members know it.
    pub level: u16,
    /// The newest level that this node's program knows.
    pub newest_level: u16,
    /// The members that turned this node away, and why.
    pub refusals: std::collections::BTreeMap<u64, String>,
}

impl Store {
    /// Opens the data directory and takes part in the replication. The node serves nobody before [`Store::serve`].
    pub async fn open(config: StoreConfig) -> Result<Self, OpenError> {
        if config.lease < LEASE_MIN {
            return Err(OpenError::Config(format!("the lease must be {} ms or longer", LEASE_MIN.as_millis())));
        }
        let node = NodeId(config.identity.node_id);
        let boot_id = match &config.boot_id {
            Some(boot_id) => boot_id.clone(),
            None => std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned(),
        };
        let watchdog = Watchdog::open(&config.fence)?;
        let clock = config.environment.clock.clone();
        let holder = Arc::new(Holder::new(clock.clone()));
        let engine = Arc::new(Engine::new(node, clock.clone(), holder.clone()));
        let door = Arc::new(Door::default());
        let inner = Arc::new(Inner {
            node,
            boot_id,
            start: clock.now(),
            engine: engine.clone(),
            holder,
            addresses: watch::Sender::new(None),
            table: Mutex::new(None),
            inquiries: Mutex::default(),
            endings: Mutex::default(),
            warden_wake: Notify::new(),
            barriers_asked: AtomicU64::new(0),
            synced_afterwards: AtomicU64::new(0),
            watchdog,
            door: door.clone(),
            certificate_turn: tokio::sync::Mutex::default(),
            leaving: watch::Sender::new(false),
            program: OnceLock::new(),
            raft: OnceLock::new(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            config,
        });
        door.open_to(Arc::downgrade(&inner));
        let raft = RaftStore::start(inner.raft_config(), engine).await?;
        assert!(inner.raft.set(raft).is_ok(), "a store is started once");
        inner.tasks.spawn(inner.clone().live());
        inner.tasks.spawn(inner.clone().guard());
        inner.tasks.spawn(inner.clone().scavenge());
        inner.heed_accord(&inner.engine.accord());
        inner.tasks.spawn(inner.clone().heed_failure());
        inner.tasks.spawn(inner.clone().agree());
        inner.tasks.spawn(inner.clone().keep_certificates());
        inner.tasks.spawn(inner.clone().yield_lead());
        inner.tasks.spawn(inner.clone().keep_owners());
        Ok(Self { inner })
    }

    /// Begins to serve: registers this node's life and keeps its lease. A node that is declared dead begins a new life by itself.
    ///
    /// `raft` in the addresses is replaced by where this node listens, if it is unspecified.
    pub fn serve(&self, mut addresses: NodeAddresses) {
        if addresses.raft.port() == 0 {
            addresses.raft = self.inner.raft().local_addr();
        }
        self.inner.addresses.send_replace(Some(addresses));
    }

    /// Waits until this node may serve.
    pub async fn wait_serving(&self, timeout: Duration) -> Result<Incarnation, StoreError> {
        let mut life = self.inner.holder.watch();
        tokio::select! {
            waited = tokio::time::timeout(timeout, life.wait_for(|life| life.serving)) => match waited {
                Ok(Ok(life)) => life.incarnation.ok_or(StoreError::Stopping),
                Ok(Err(_)) => Err(StoreError::Stopping),
                Err(_) => Err(StoreError::NoLeader),
            },
            () = self.inner.stop.cancelled() => Err(StoreError::Stopping),
        }
    }

    /// Tells whether this node may answer clients now. One clock read and one atomic load.
    #[must_use]
    pub fn lease_valid(&self) -> bool {
        self.inner.holder.valid()
    }

    /// This node.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.inner.node
    }

    /// This node's present life; `None` before the first and between two.
    #[must_use]
    pub fn incarnation(&self) -> Option<Incarnation> {
        self.inner.holder.incarnation()
    }

    /// Follows this node's lives.
    #[must_use]
    pub fn watch_life(&self) -> watch::Receiver<Life> {
        self.inner.holder.watch()
    }

    /// Shows the local replica. The closure must be quick: it holds up the apply task.
    pub fn with_state<R>(&self, look: impl FnOnce(&State) -> R) -> R {
        self.inner.engine.with_state(look)
    }

    /// Shows every open and reservation of the local replica, ascending by id; some at a time, so that nobody waits for it however many
    /// there are. Of what comes, goes or changes meanwhile either may be seen.
    pub async fn look_at_opens<R>(&self, look: impl Fn(&State, &Open) -> R) -> Vec<R> {
        let mut ids = self.with_state(State::open_ids);
        ids.sort_unstable();
        let mut seen = Vec::with_capacity(ids.len());
        for some in ids.chunks(OPENS_AT_ONCE) {
            self.with_state(|state| seen.extend(some.iter().filter_map(|id| state.open(*id)).map(|open| look(state, open))));
            tokio::task::yield_now().await;
        }
        seen
    }

    /// After this, the local replica holds everything that was acknowledged anywhere before the call.
    pub async fn read_barrier(&self) -> Result<(), StoreError> {
        self.inner.raft().read_barrier(READ_MAX).await?;
        Ok(())
    }

    /// Every event applied from now on, in order. A receiver that lags has missed some and must look at the state again.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Event>> {
        self.inner.engine.fanout.subscribe()
    }

    /// As [`Store::subscribe`], without `FileChanged`: for those who listen all the time and would be woken by every command.
    #[must_use]
    pub fn subscribe_news(&self) -> broadcast::Receiver<Arc<Event>> {
        self.inner.engine.fanout.subscribe_news()
    }

    /// Has every event shown to `observer` before its command counts as applied here: no other node's barrier passes before it returns.
    ///
    /// It runs in the apply task, after the state has changed: it must be quick and must not wait. It may look at the state.
    pub fn observe(&self, observer: impl Fn(&Event) + Send + Sync + 'static) {
        self.inner.engine.fanout.observe(Box::new(observer));
    }

    /// Announces an access to a file through an open, before the records are asked whether it may be. Until the result is dropped, no
    /// command is answered anywhere that takes rights to the file and was applied here in between. It must not be kept while something is
    /// proposed: that would wait for itself.
    pub fn begin_io(&self, file: FileKey, open: OpenId) -> Flight {
        self.inner.engine.flights.begin(file, open)
    }

    /// Has the port of a node looked at now: a client came here with a handle that it owns. Its death is then told by events.
    pub fn suspect(&self, node: NodeId) {
        let inner = self.inner.clone();
        self.inner.tasks.spawn(async move {
            let stop = inner.stop.clone();
            stop.run_until_cancelled(inner.report(node)).await;
        });
    }

    /// The leader that this node knows. It may have been replaced.
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        self.inner.raft().leader().map(|leader| NodeId(leader.node_id))
    }

    /// Tells whether a leader is known, so that a proposal has a chance.
    #[must_use]
    pub fn has_leader(&self) -> bool {
        self.leader().is_some()
    }

    /// Follows the leader that this node knows.
    #[must_use]
    pub fn watch_leader(&self) -> watch::Receiver<Option<Leader>> {
        self.inner.raft().watch_leader()
    }

    /// What this node knows of itself and the cluster.
    #[must_use]
    pub fn status(&self) -> StoreStatus {
        StoreStatus {
            raft: self.inner.raft().status(),
            incarnation: self.incarnation(),
            lease_valid: self.lease_valid(),
            authority: self.inner.engine.authority().map(|authority| authority.node),
            level: self.inner.engine.accord().level,
            newest_level: self.inner.config.versions.newest,
            refusals: self.inner.raft().refusals(),
        }
    }

    /// What this node has sent to others since it started.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.inner.raft().traffic()
    }

    /// Has this node make a snapshot now and forget the log before it, as it does by itself every so many entries.
    pub async fn snapshot(&self) -> Result<(), StoreError> {
        Ok(self.inner.raft().snapshot().await?)
    }

    /// How often a command had to wait for another node since this one was opened: once for each node that was waited for.
    #[must_use]
    pub fn barriers_asked(&self) -> u64 {
        self.inner.barriers_asked.load(Ordering::Relaxed)
    }

    /// How often a command turned out, at its place in the log, to need the disks of a majority though it was proposed without.
    #[must_use]
    pub fn synced_afterwards(&self) -> u64 {
        self.inner.synced_afterwards.load(Ordering::Relaxed)
    }

    /// Where other nodes reach this one.
    #[must_use]
    pub fn raft_addr(&self) -> std::net::SocketAddr {
        self.inner.raft().local_addr()
    }

    /// Waits until the store has stopped, and says why: after a shutdown, or because its disk failed. The program must end then.
    pub async fn stopped(&self) -> String {
        self.inner.raft().stopped().await
    }

    /// Stops cleanly: serves nobody any more, has that declared, hands the lead over, then ends.
    pub async fn shutdown(&self) {
        let incarnation = self.inner.holder.incarnation();
        self.inner.addresses.send_replace(None);
        self.inner.holder.end();
        if let Some(incarnation) = incarnation {
            self.inner.say_goodbye(incarnation, GOODBYE_MAX).await;
        }
        self.kill().await;
    }

    /// Ends without a word, as if the process had died: its port refuses connections when this returns.
    pub async fn kill(&self) {
        // In this order: whoever sees the end of this life must also see that no other one follows.
        self.inner.stop.cancel();
        self.inner.holder.end();
        self.inner.raft().shutdown().await;
        if let Some(watchdog) = &self.inner.watchdog {
            watchdog.release().await;
        }
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }
}

impl Inner {
    /// The replication under the store.
    pub(crate) fn raft(&self) -> &RaftStore {
        self.raft.get().expect("set before anything that could ask for it was started")
    }

    /// A node whose replication has failed serves nobody.
    async fn heed_failure(self: Arc<Self>) {
        let why = self.raft().stopped().await;
        self.holder.end();
        if !self.stop.is_cancelled() {
            tracing::error!(node = self.node.0, why, "the replication of this node has failed");
            self.addresses.send_replace(None);
        }
    }

    /// Monotonic time of this process, as its clock shows it.
    pub(crate) fn now_ms(&self) -> u64 {
        u64::try_from(self.config.environment.clock.since(self.start).as_millis()).unwrap_or(u64::MAX)
    }

    fn raft_config(self: &Arc<Self>) -> raftstore::Config {
        let config = &self.config;
        let mut raft = raftstore::Config::new(config.identity.clone(), &config.data_dir, config.listen);
        raft.advertise.clone_from(&config.advertise);
        raft.timing = config.timing;
        raft.limits = config.limits;
        raft.faults = config.faults.clone();
        raft.environment = config.environment.clone();
        raft.versions = config.versions;
        raft.admission = Some(self.door.clone());
        let weak = Arc::downgrade(self);
        raft.call_handler = Some(Arc::new(move |from, payload| answer(weak.clone(), NodeId(from), payload).boxed()));
        raft
    }
}

/// Answers a call of another node.
async fn answer(inner: Weak<Inner>, from: NodeId, payload: Vec<u8>) -> Vec<u8> {
    let answer = match (inner.upgrade(), call::decode::<Call>(&payload)) {
        // A call may come in before the store knows its own replication.
        (Some(inner), _) if inner.raft.get().is_none() => Answer::NotMine,
        (Some(inner), Some(call)) => inner.answer(from, call).await,
        (None, _) => Answer::NotMine,
        (_, None) => Answer::Nonsense,
    };
    call::encode(&answer)
}
