//! A running store: starts everything, and answers what callers ask.
//!
//! [`propose`] carries commands to the leader and brings their outcomes home, [`service`] answers other nodes, [`members`] changes the
//! membership, [`failover`] notices a dead leader, [`snapshots`] decides when one is made, [`waiters`] connects proposals with their apply.

mod backup;
mod doubt;
mod failover;
mod members;
mod propose;
mod service;
mod snapshots;
pub(crate) mod waiters;

pub use backup::Origin;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{InitializeError, RaftError};
use openraft::{ServerState, SnapshotPolicy};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use self::doubt::Standing;
use crate::clock::LogClock;
use crate::config::{Config, Versions};
use crate::environment::Environment;
use crate::environment::net::Listener;
use crate::error::{CallError, MembershipError, ReadError, StartError};
use crate::faults::{Passed, Point};
use crate::machine::{Applied, Machine};
use crate::pki::{NodeIdentity, PkiError};
use crate::status::{Leader, Member, Probe, Role, Status};
use crate::storage::life::Mark;
use crate::storage::log::LogStore;
use crate::storage::snapshot::Incoming;
use crate::storage::state::{AppliedMark, StateStore};
use crate::storage::{Database, Opening};
use crate::transport::gate::Gate;
use crate::transport::network::{DeadLeader, Network};
use crate::transport::news::Urged;
use crate::transport::peers::{Lane, Peers};
use crate::transport::server::Server;
use crate::transport::tls::Credentials;
use crate::transport::traffic::Traffic;
use crate::types::{Blob, LeaderId, LogId, Node, TypeConfig};
use crate::wire::{Request, Response};

pub(crate) type Raft = openraft::Raft<TypeConfig, StateStore>;

/// Ended connections that wait to be looked at; more are forgotten, because one is enough.
const CLOSED_QUEUE_MAX: usize = 64;
/// Pause between two syncs of what need not be synced.
const SYNC_PAUSE: Duration = Duration::from_secs(1);
/// Longest wait for the log's thread at a shutdown.
const LOG_END_MAX: Duration = Duration::from_secs(3);
/// What another node may take longer than it was asked to wait.
const ANSWER_GRACE: Duration = Duration::from_millis(200);
/// Longest wait for an answer at the address that this node had before.
const TWIN_MAX: Duration = Duration::from_millis(1000);

/// A node of a replicated state machine. Clones are handles of the same node; it runs until [`RaftStore::shutdown`].
#[derive(Clone)]
pub struct RaftStore {
    core: Arc<Core>,
}

/// What all parts of a node share.
pub(crate) struct Core {
    config: Config,
    node_id: u64,
    local_addr: SocketAddr,
    raft: Raft,
    peers: Arc<Peers>,
    credentials: Arc<Credentials>,
    gate: Arc<Gate>,
    state: StateStore,
    clock: Arc<LogClock>,
    waiters: Arc<waiters::Waiters>,
    /// The leader that the cluster has agreed on, as far as this node knows.
    leader: watch::Sender<Option<LeaderId>>,
    public_leader: watch::Sender<Option<Leader>>,
    /// The leadership of the newest entry that this node has applied.
    applied_leader: watch::Sender<Option<LeaderId>>,
    dead_leader: Arc<DeadLeader>,
    /// The newest term for which a node with a shorter log asked for this node's vote.
    outlasted: watch::Sender<u64>,
    /// Up to where others wait for the news of commits.
    urged: Arc<Urged>,
    seen: propose::Seen,
    places: Semaphore,
    incoming: Mutex<BTreeMap<(u64, u64), Incoming>>,
    closed: mpsc::Sender<u64>,
    /// This node's log, until the node stops.
    log: Mutex<Option<LogStore>>,
    log_ended: tokio::sync::Mutex<oneshot::Receiver<()>>,
    standing: watch::Sender<Standing>,
    /// Why this node ended by its own decision.
    failed: OnceLock<String>,
    /// The node shuts down: everything ends, the port is closed.
    stop: CancellationToken,
    /// The core has ended, by shutdown or by a failure. The port stays open until `stop`: a refused connection would say that the whole
    /// process is dead.
    halted: CancellationToken,
}

impl RaftStore {
    /// Opens the data directory, listens, and takes part in the cluster as far as it is a member.
    pub async fn start(mut config: Config, machine: Arc<dyn Machine>) -> Result<Self, StartError> {
        let node_id = config.identity.node_id;
        config.environment.watch(config.faults.clone(), node_id);
        let mut raft_config = raft_config(&config)?;
        let listener = listen(&config).await?;
        let local_addr = listener.local_addr().map_err(|source| StartError::Listen { address: config.listen, source })?;
        let clock = Arc::new(LogClock::new());
        let waiters = Arc::new(waiters::Waiters::default());
        let (log, log_ended, state) = open(&config, machine, clock.clone(), waiters.clone()).await?;
        let standing = state.database().last_run().doubt.map_or(Standing::Sound, Standing::InDoubt);
        raft_config.enable_elect = standing == Standing::Sound;
        let stop = CancellationToken::new();
        let environment = config.environment.clone();
        let credentials = Credentials::new(config.identity.clone(), environment.network.is_trusted())?;
        let gate = Arc::new(Gate::new(config.versions));
        let (cluster, limits, faults) = (config.identity.cluster, config.limits, config.faults.clone());
        let peers = {
            let (network, stop) = (environment.network.clone(), stop.child_token());
            Peers::new(node_id, cluster, network, (credentials.clone(), gate.clone()), faults.clone(), limits.frame_bytes_max, stop)
        };
        refuse_twin(&config, &state, &peers, &config.advertise.clone().unwrap_or_else(|| local_addr.to_string())).await?;
        let dead_leader = Arc::new(DeadLeader::default());
        let urged = Arc::new(Urged::default());
        let network = Network {
            own_id: node_id,
            peers: peers.clone(),
            dead_leader: dead_leader.clone(),
            urged: urged.clone(),
            snapshot_ids: Arc::new(AtomicU64::new(snapshot_id(&environment))),
            environment,
        };
        let raft = Raft::new(node_id, Arc::new(raft_config), network, log.clone(), state.clone())
            .await
            .map_err(|err| StartError::Core(err.to_string()))?;
        let (closed, closed_queue) = mpsc::channel(CLOSED_QUEUE_MAX);
        let core = Arc::new(Core {
            node_id,
            local_addr,
            raft,
            peers,
            credentials: credentials.clone(),
            gate: gate.clone(),
            state,
            clock,
            waiters,
            leader: watch::Sender::new(None),
            public_leader: watch::Sender::new(None),
            applied_leader: watch::Sender::new(None),
            dead_leader,
            outlasted: watch::Sender::new(0),
            urged,
            seen: propose::Seen::default(),
            places: Semaphore::new(limits.proposals_max),
            incoming: Mutex::default(),
            closed,
            log: Mutex::new(Some(log)),
            log_ended: tokio::sync::Mutex::new(log_ended),
            standing: watch::Sender::new(standing),
            failed: OnceLock::new(),
            halted: stop.child_token(),
            stop: stop.clone(),
            config,
        });
        // Raft tells its members a little later.
        for (id, address) in core.state.members() {
            core.peers.set_address(id, &address);
        }
        tokio::spawn(core.clone().follow_metrics());
        tokio::spawn(core.clone().follow_leaderships());
        tokio::spawn(core.clone().watch_for_death(closed_queue));
        tokio::spawn(core.clone().announce_address());
        tokio::spawn(core.clone().resolve_doubt());
        tokio::spawn(core.clone().sync_now_and_then());
        tokio::spawn(core.clone().make_snapshots());
        let counters = core.peers.counters.clone();
        let server =
            Server { own_id: node_id, cluster, security: credentials, gate, limits, faults, counters, service: core.clone(), stop };
        tokio::spawn(server.run(listener));
        Ok(Self { core })
    }

    /// Makes this node a cluster of one. Does nothing when it is a member of a cluster already.
    pub async fn bootstrap(&self) -> Result<(), MembershipError> {
        let members = BTreeMap::from([(self.core.node_id, Node::new(self.core.advertised()))]);
        match self.core.raft.initialize(members).await {
            Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
            Err(RaftError::APIError(err @ InitializeError::NotInMembers(_))) => Err(MembershipError::Refused(err.to_string())),
            Err(RaftError::Fatal(_)) => Err(MembershipError::ShuttingDown),
        }
    }

    /// Waits until this node has applied `index`.
    pub async fn wait_applied(&self, index: u64, timeout: Duration) -> Result<(), ReadError> {
        let deadline = tokio::time::Instant::now() + timeout;
        self.core.wait_applied(index, deadline).await
    }

    /// Waits until another node has applied what was applied here, and nothing goes on there any more that it began before.
    ///
    /// # Errors
    /// It has not in time, or cannot be asked. [`CallError::Timeout`] comes early from a node that has applied another entry at this index,
    /// one that the cluster went on without after a majority lost power: it starts over, and may be asked again.
    pub async fn wait_applied_on(&self, node: u64, applied: &Applied, timeout: Duration) -> Result<(), CallError> {
        let index = applied.index;
        if node == self.core.node_id {
            return self.wait_applied(index, timeout).await.map_err(|_| CallError::Timeout { node });
        }
        self.core.urged.urge(index);
        let request = Request::WaitEntry { entry: LogId { leader_id: applied.leader.into(), index }, timeout };
        match self.core.peers.request(node, Lane::Requests, &request, timeout + ANSWER_GRACE).await? {
            Response::Done => Ok(()),
            Response::Refused(_) => Err(CallError::Timeout { node }),
            _ => Err(CallError::Remote { node, because: "an answer that does not fit".to_owned() }),
        }
    }

    /// Has the other nodes told at once that this entry is committed, if this node leads: otherwise they hear of it with the next entries,
    /// or a few milliseconds later.
    pub fn tell_now(&self, index: u64) {
        self.core.urged.urge(index);
    }

    /// Calls the application on another node, whose handler answers. A call to this node itself goes to its own handler.
    pub async fn call(&self, node: u64, payload: Vec<u8>, timeout: Duration) -> Result<Vec<u8>, CallError> {
        let max = self.core.config.limits.call_bytes_max;
        if payload.len() > max {
            return Err(CallError::TooLarge { bytes: payload.len(), max });
        }
        if node == self.core.node_id {
            let Some(handler) = &self.core.config.call_handler else {
                return Err(CallError::Remote { node, because: "no handler".to_owned() });
            };
            return tokio::time::timeout(timeout, handler(node, payload)).await.map_err(|_| CallError::Timeout { node });
        }
        match self.core.peers.request(node, Lane::Requests, &Request::Call(payload.into()), timeout).await? {
            Response::Call(Blob(answer)) => Ok(answer.to_vec()),
            Response::Refused(because) => Err(CallError::Remote { node, because }),
            _ => Err(CallError::Remote { node, because: "an answer that does not fit".to_owned() }),
        }
    }

    /// Looks whether the port of another node's process accepts connections.
    pub async fn probe(&self, node: u64) -> Probe {
        if node == self.core.node_id { Probe::Alive } else { self.core.peers.probe(node).await }
    }

    /// This node.
    pub fn node_id(&self) -> u64 {
        self.core.node_id
    }

    /// Where this node listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.core.local_addr
    }

    /// The last index that this node has applied.
    pub fn applied(&self) -> u64 {
        self.core.state.watch_applied().borrow().index()
    }

    /// Log time of the last entry that this node has applied.
    pub fn time_ms(&self) -> u64 {
        self.core.state.watch_applied().borrow().time_ms
    }

    /// The leader that this node knows. It may have been replaced.
    pub fn leader(&self) -> Option<Leader> {
        *self.core.public_leader.borrow()
    }

    /// Follows the leader that this node knows.
    pub fn watch_leader(&self) -> watch::Receiver<Option<Leader>> {
        self.core.public_leader.subscribe()
    }

    /// What this node knows of itself and the cluster.
    pub fn status(&self) -> Status {
        self.core.status()
    }

    /// What this node has sent to others since it started.
    pub fn traffic(&self) -> Traffic {
        self.core.peers.counters.traffic()
    }

    /// Makes a snapshot now, and forgets the log before it as far as the limits allow.
    pub async fn snapshot(&self) -> Result<(), ReadError> {
        self.core.raft.trigger().snapshot().await.map_err(|_| ReadError::ShuttingDown)
    }

    /// Waits until the node has stopped, and says why: after [`RaftStore::shutdown`], or because its disk or its machine failed.
    ///
    /// A node that failed answers nothing any more, but its port stays open. The program must stop serving and end.
    pub async fn stopped(&self) -> String {
        self.core.halted.cancelled().await;
        match self.core.failure() {
            Some(because) if !self.core.stop.is_cancelled() => because,
            _ => "shut down".to_owned(),
        }
    }

    /// Who this node is at present, and the proof.
    pub fn identity(&self) -> NodeIdentity {
        self.core.credentials.identity()
    }

    /// Shows another certificate, and trusts other authorities, on connections made from now on. Keep it on disk before.
    pub fn use_identity(&self, identity: NodeIdentity) -> Result<(), PkiError> {
        self.core.credentials.replace(identity)
    }

    /// The versions that this node says it knows.
    pub fn versions(&self) -> Versions {
        self.core.config.versions
    }

    /// The members that turned this node away, and why.
    pub fn refusals(&self) -> BTreeMap<u64, String> {
        self.core.gate.refusals()
    }

    /// The cluster has agreed on a level: members that do not know it are turned away from now on.
    pub fn require_version(&self, level: u16) {
        self.core.gate.require(level);
    }

    /// Turns these nodes away from now on: they were removed, though their certificates are good.
    pub fn turn_away(&self, removed: BTreeSet<u64>) {
        self.core.gate.turn_away(removed);
    }

    /// The cluster.
    pub fn cluster(&self) -> uuid::Uuid {
        self.core.config.identity.cluster
    }

    /// Stops the node. Its port refuses connections from now on, which tells others that this process serves nothing any more: stop
    /// serving first. The data directory is free when all handles are dropped.
    pub async fn shutdown(&self) {
        self.core.stop.cancel();
        self.core.peers.close();
        if let Err(err) = self.core.raft.shutdown().await {
            tracing::warn!(%err, "the replication core did not stop cleanly");
        }
        self.core.mark_clean().await;
        // No thread may touch the database when the program ends.
        let mut log_ended = self.core.log_ended.lock().await;
        if !log_ended.is_terminated() && tokio::time::timeout(LOG_END_MAX, &mut *log_ended).await.is_err() {
            tracing::warn!("the log's thread did not end in time");
        }
        if let Err(err) = self.core.state.settle().await {
            tracing::warn!(%err, "the state was not written to the end: the log brings it back");
        }
        let database = self.core.state.database().clone();
        self.core.config.environment.block(move || database.rest()).await;
    }
}

impl Core {
    /// The address that other nodes are told.
    pub(crate) fn advertised(&self) -> String {
        self.config.advertise.clone().unwrap_or_else(|| self.local_addr.to_string())
    }

    /// Passes a point, and waits there if a fault says so.
    pub(crate) async fn reach(&self, point: Point) -> Passed {
        self.config.faults.reach(self.node_id, point).await
    }

    pub(crate) fn current_leader(&self) -> Option<LeaderId> {
        *self.leader.borrow()
    }

    /// Whether this node leads, as far as it knows; only a quorum can confirm it.
    pub(crate) fn leads(&self, leader: LeaderId) -> bool {
        leader.node_id == self.node_id && self.current_leader() == Some(leader)
    }

    pub(crate) async fn wait_applied(&self, index: u64, deadline: tokio::time::Instant) -> Result<(), ReadError> {
        let mut applied = self.state.watch_applied();
        let reached = |mark: &AppliedMark| mark.index() >= index;
        tokio::select! {
            waited = tokio::time::timeout_at(deadline, applied.wait_for(reached)) => match waited {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(_)) => Err(ReadError::ShuttingDown),
                Err(_) => Err(ReadError::Timeout),
            },
            () = self.halted.cancelled() => Err(ReadError::ShuttingDown),
        }
    }

    /// Whether what this node has applied up to an index is what this leader wrote there and before; false also while the store ends.
    pub(crate) fn agrees_with(&self, leader: LeaderId, index: u64) -> bool {
        self.log.lock().as_ref().is_some_and(|log| log.agrees_with(leader, index))
    }

    /// As `wait_applied`, and until nothing goes on here any more that the machine began before the entry.
    pub(crate) async fn wait_settled(&self, index: u64, deadline: tokio::time::Instant) -> Result<(), ReadError> {
        self.wait_applied(index, deadline).await?;
        let Some(settled) = self.state.machine().settled(index) else { return Ok(()) };
        tokio::select! {
            waited = tokio::time::timeout_at(deadline, settled) => waited.map_err(|_| ReadError::Timeout),
            () = self.halted.cancelled() => Err(ReadError::ShuttingDown),
        }
    }

    /// Passes on what Raft says about leader and members.
    async fn follow_metrics(self: Arc<Self>) {
        let mut metrics = self.raft.server_metrics();
        loop {
            self.take_note();
            tokio::select! {
                changed = metrics.changed() => if changed.is_err() { break },
                () = self.halted.cancelled() => break,
            }
            if self.failure().is_some() {
                break;
            }
        }
        if !self.stop.is_cancelled() {
            tracing::error!(because = self.failure(), "replication has stopped on this node");
        }
        set_if_changed(&self.leader, None);
        set_if_changed(&self.public_leader, None);
        self.halted.cancel();
    }

    /// Leaves a mark that nothing of this run can be missing, if that is so.
    async fn mark_clean(&self) {
        let Some(log) = self.log.lock().take() else { return };
        if *self.standing.borrow() != Standing::Sound || self.failed.get().is_some() {
            return;
        }
        let marked = match log.finish().await {
            Ok(end) => self.state.database().mark(&Mark::Clean { end: end.0 }),
            Err(err) => Err(err),
        };
        if let Err(err) = marked {
            tracing::warn!(%err, "this node did not stop cleanly: it will be in doubt if the machine loses power before it runs again");
        }
    }

    /// What need not survive a loss of power does so after a moment all the same.
    async fn sync_now_and_then(self: Arc<Self>) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(SYNC_PAUSE) => {}
                () = self.halted.cancelled() => return,
            }
            let log = self.log.lock().clone();
            let Some(log) = log.filter(LogStore::is_dirty) else { continue };
            if let Err(err) = log.sync().await {
                tracing::debug!(%err, "the log was not synced");
            }
        }
    }

    /// Ends this node for good, for this reason.
    fn fail(&self, because: String) {
        tracing::error!(because, "this node ends");
        if self.failed.set(because).is_ok() {
            self.halted.cancel();
        }
    }

    /// Why the core has ended, if it has.
    fn failure(&self) -> Option<String> {
        if let Some(because) = self.failed.get() {
            return Some(because.clone());
        }
        self.raft.metrics().borrow_watched().running_state.as_ref().err().map(ToString::to_string)
    }

    fn take_note(&self) {
        let metrics = self.raft.server_metrics().borrow_watched().clone();
        for (&id, node) in metrics.membership_config.nodes() {
            self.peers.set_address(id, &node.addr);
        }
        let vote = metrics.vote;
        let leader = (vote.committed && metrics.current_leader == Some(vote.leader_id.node_id)).then_some(vote.leader_id);
        if let Some(leader) = leader {
            self.dead_leader.superseded_by(leader);
            if leader.node_id == self.node_id {
                self.clock.lead(leader, self.config.environment.clock.now());
            }
        }
        set_if_changed(&self.leader, leader);
        set_if_changed(&self.public_leader, leader.map(Leader::from));
    }

    fn status(&self) -> Status {
        let metrics = self.raft.metrics().borrow_watched().clone();
        let matched = |id: &u64| metrics.replication.as_ref().and_then(|all| all.get(id)).and_then(|log_id| log_id.map(|id| id.index));
        let voters: Vec<u64> = metrics.membership_config.voter_ids().collect();
        let newest = |id: u64| if id == self.node_id { Some(self.config.versions.newest) } else { self.gate.heard(id) };
        let members = metrics.membership_config.nodes().map(|(id, node)| {
            let (address, voter) = (node.addr.clone(), voters.contains(id));
            (*id, Member { address, voter, matched: matched(id), newest_version: newest(*id) })
        });
        let applied = *self.state.watch_applied().borrow();
        Status {
            node_id: self.node_id,
            role: match metrics.state {
                ServerState::Learner => Role::Learner,
                ServerState::Follower => Role::Follower,
                ServerState::Candidate => Role::Candidate,
                ServerState::Leader => Role::Leader,
                ServerState::Shutdown => Role::Stopped,
            },
            term: metrics.current_term,
            leader: *self.public_leader.borrow(),
            last_log: metrics.last_log_index.unwrap_or(0),
            committed: metrics.local_committed.map_or(0, |log_id| log_id.index),
            applied: applied.index(),
            snapshot: metrics.snapshot.map_or(0, |log_id| log_id.index),
            purged: metrics.purged.map_or(0, |log_id| log_id.index),
            time_ms: applied.time_ms,
            members: members.collect(),
            in_doubt: *self.standing.borrow() != Standing::Sound,
            stopped: self.failure(),
        }
    }
}

fn set_if_changed<T: PartialEq>(sender: &watch::Sender<T>, value: T) {
    sender.send_if_modified(|old| {
        let changed = *old != value;
        *old = value;
        changed
    });
}

/// Snapshot transfers of two runs of a node must not be mixed up.
fn snapshot_id(environment: &Environment) -> u64 {
    u64::try_from(environment.unique() & u128::from(u64::MAX >> 16)).unwrap_or(0) << 16
}

async fn listen(config: &Config) -> Result<Box<dyn Listener>, StartError> {
    let address = config.listen;
    config.environment.network.listen(address).await.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => StartError::AddressInUse { address },
        _ => StartError::Listen { address, source },
    })
}

async fn open(
    config: &Config,
    machine: Arc<dyn Machine>,
    clock: Arc<LogClock>,
    waiters: Arc<waiters::Waiters>,
) -> Result<(LogStore, oneshot::Receiver<()>, StateStore), StartError> {
    let (dir, identity, environment) = (config.data_dir.clone(), config.identity.clone(), config.environment.clone());
    let (boot_id, segment_bytes) = (config.boot_id.clone().unwrap_or_else(boot_id), config.limits.log_file_bytes);
    let here = environment.clone();
    let (database, contents, state) = here
        .block(move || {
            let (cluster, node_id) = (identity.cluster, identity.node_id);
            let opening = Opening { dir: &dir, cluster, node_id, boot_id, segment_bytes, environment };
            let (database, contents) = Database::open(opening)?;
            let state = StateStore::open(database.clone(), machine, clock.clone(), waiters, &contents)?;
            Ok::<_, StartError>((database, contents, (state, clock)))
        })
        .await?;
    let (state, clock) = state;
    // Here, because in a simulation it starts a task.
    let (log, ended) = LogStore::open(database, clock, contents)?;
    Ok((log, ended, state))
}

/// The kernel's name for this boot of the machine; empty where it has none.
fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

fn raft_config(config: &Config) -> Result<openraft::Config, StartError> {
    let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let (timing, limits) = (config.timing, config.limits);
    let raft = openraft::Config {
        cluster_name: config.identity.cluster.to_string(),
        heartbeat_interval: ms(timing.heartbeat),
        election_timeout_min: ms(timing.election_min),
        election_timeout_max: ms(timing.election_max),
        install_snapshot_timeout: 600_000,
        max_payload_entries: 256,
        replication_lag_threshold: limits.snapshot_entries.saturating_mul(2),
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: limits.log_entries_kept,
        purge_batch_size: 256,
        enable_pre_vote: Some(true),
        // A restarted leader has lost its lease, and its followers may have elected another.
        enable_leader_restore: Some(false),
        broadcast_submitted_on_append: Some(true),
        // A node that lost power may have lost what it acknowledged from memory; it is sent again.
        allow_log_reversion: Some(true),
        ..openraft::Config::default()
    };
    raft.validate().map_err(|err| StartError::Config(err.to_string()))
}

/// A node that its cluster knows at another address may still run there: two of them would have one vote each where there is one.
async fn refuse_twin(config: &Config, state: &StateStore, peers: &Peers, advertised: &str) -> Result<(), StartError> {
    let node = config.identity.node_id;
    match state.members().get(&node) {
        Some(address) if address != advertised && peers.is_served_by(node, address, TWIN_MAX).await => {
            Err(StartError::RunsElsewhere { path: config.data_dir.clone(), node, address: address.clone() })
        }
        _ => Ok(()),
    }
}
