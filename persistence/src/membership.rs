//! Who belongs to the cluster: its beginning, join tokens, and changes by the operator.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use persistence_model::{Command, Node, NodeId, Outcome, Rejection};
use raftstore::pki::JoinToken;
use raftstore::{Admission, Admitted, JoinRequest};
use smb_types::Guid;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::accord::Change;
use crate::call::{self, Call};
use crate::error::StoreError;
use crate::store::{Inner, Store};

/// Longest wait until a new cluster takes its first command.
const INIT_MAX: Duration = Duration::from_secs(10);
/// Longest wait for a node to stop serving before it is removed.
const LEAVE_MAX: Duration = Duration::from_secs(15);
/// One try to tell it.
const LEAVE_TRY: Duration = Duration::from_secs(2);
/// Pause between two tries.
const LEAVE_PAUSE: Duration = Duration::from_millis(500);
/// Longest wait for a token to be spent.
const REDEEM_MAX: Duration = Duration::from_secs(5);

impl Store {
    /// Makes this node a cluster of one. A cluster that exists already is left as it is.
    pub async fn init_cluster(&self, net_name: &str, server_guid: Guid) -> Result<(), StoreError> {
        self.inner.raft().bootstrap().await?;
        match self.propose_within(Command::ClusterInit { net_name: net_name.to_owned(), server_guid }, INIT_MAX).await? {
            Outcome::Done | Outcome::Rejected(Rejection::AlreadyInitialised) => Ok(()),
            outcome => Err(StoreError::Refused(refusal(&outcome))),
        }
    }

    /// Makes a token that lets one node join through this one, once. A node without the authority passes the joining one on.
    pub async fn create_token(&self, ttl: Duration) -> Result<JoinToken, StoreError> {
        let unusable = |error: raftstore::pki::PkiError| StoreError::Refused(error.to_string());
        let address = self.inner.config.advertise.clone().unwrap_or_else(|| self.raft_addr().to_string());
        // The joining node knows this one by the authority of its certificate.
        let fingerprint = self.inner.raft().identity().issuer_fingerprint().map_err(unusable)?;
        let token = JoinToken::create(address, fingerprint).map_err(unusable)?;
        let hash = JoinToken::secret_id(&token.secret);
        let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        match self.propose(Command::TokenAdd { hash, ttl_ms }).await? {
            Outcome::Done => Ok(token),
            outcome => Err(StoreError::Refused(refusal(&outcome))),
        }
    }

    /// Makes a node a voter, when it has caught up. Nodes that join with a token become voters by themselves.
    pub async fn promote(&self, node: NodeId) -> Result<(), StoreError> {
        Ok(self.inner.raft().promote(node.0).await?)
    }

    /// Removes a node from the cluster for good. One that serves is told to stop first; a leader hands over first.
    ///
    /// # Errors
    /// It is the only voter, or this node itself, or it is alive and does not stop.
    pub async fn remove(&self, node: NodeId) -> Result<(), StoreError> {
        self.read_barrier().await?;
        let status = self.inner.raft().status();
        let is_voter = |id: u64| status.members.get(&id).is_some_and(|member| member.voter);
        if is_voter(node.0) && !status.members.keys().any(|id| *id != node.0 && is_voter(*id)) {
            return Err(StoreError::Refused(format!("node {node} is the only one that votes: a cluster cannot be without")));
        }
        if node == self.inner.node {
            return Err(StoreError::Refused(format!("node {node} cannot remove itself: ask another one, with --config")));
        }
        if !status.members.contains_key(&node.0) && self.with_state(|state| state.node(node).is_none()) {
            return Err(StoreError::Refused(format!("there is no node {node}")));
        }
        self.have_leave(node).await?;
        match self.propose(Command::NodeRemove { node }).await? {
            Outcome::Done | Outcome::Rejected(Rejection::NoSuchNode) => {}
            outcome => return Err(StoreError::Refused(refusal(&outcome))),
        }
        self.inner.raft().remove(node.0).await?;
        if self.inner.has_accord() {
            self.inner.propose_accord(Change::Remove { node }).await?;
        }
        Ok(())
    }

    /// Removes a node that will not come back, and makes a token for the one that takes its place.
    ///
    /// # Errors
    /// It is alive, or as [`Store::remove`].
    pub async fn replace(&self, node: NodeId, ttl: Duration) -> Result<JoinToken, StoreError> {
        self.read_barrier().await?;
        if self.with_state(|state| state.node(node).is_some_and(Node::is_live)) {
            let because = format!("node {node} is alive; only what is lost is replaced: stop it, or use `holdfast node remove`");
            return Err(StoreError::Refused(because));
        }
        self.remove(node).await?;
        self.create_token(ttl).await
    }

    /// Tells all nodes where a member is reached from now on. A node that runs tells it by itself when it starts.
    ///
    /// # Errors
    /// It is no member.
    pub async fn change_address(&self, node: NodeId, address: &str) -> Result<(), StoreError> {
        Ok(self.inner.raft().change_address(node.0, address).await?)
    }

    /// Follows whether this node was told that it is being removed. It serves nobody then; the program should end when it is no member any more.
    #[must_use]
    pub fn watch_leaving(&self) -> watch::Receiver<bool> {
        self.inner.leaving.subscribe()
    }

    async fn have_leave(&self, node: NodeId) -> Result<(), StoreError> {
        let inner = &self.inner;
        let is_live = || inner.engine.with_state(|state| state.node(node).is_some_and(Node::is_live));
        let mut lives = inner.engine.watch_lives();
        let deadline = Instant::now() + LEAVE_MAX;
        while is_live() {
            lives.mark_unchanged();
            let told = inner.raft().call(node.0, call::encode(&Call::Leave), LEAVE_TRY).await;
            if let Err(error) = &told {
                tracing::debug!(node = node.0, %error, "a node could not be told that it is being removed");
            }
            if Instant::now() >= deadline {
                let because = format!("node {node} does not stop serving; stop it, wait until it is declared dead, and try again");
                return Err(StoreError::Refused(because));
            }
            // An answer means that its end was declared, which arrives here with the log.
            drop(tokio::time::timeout(LEAVE_PAUSE, lives.changed()).await);
        }
        Ok(())
    }

    /// Makes another voter the leader.
    pub async fn transfer_leader(&self, node: NodeId) -> Result<(), StoreError> {
        Ok(self.inner.raft().transfer_leader(node.0).await?)
    }
}

impl Inner {
    /// This node is being removed: it serves nobody any more and says so.
    pub(crate) async fn leave(self: &Arc<Self>) {
        self.leaving.send_replace(true);
        let incarnation = self.holder.incarnation();
        self.addresses.send_replace(None);
        self.holder.end();
        if let Some(incarnation) = incarnation {
            self.say_goodbye(incarnation, LEAVE_TRY).await;
        }
    }
}

fn refusal(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Rejected(rejection) => rejection.to_string(),
        other => format!("the cluster answered {other:?}"),
    }
}

/// Decides about nodes that want to join, one at a time.
#[derive(Default)]
pub(crate) struct Door {
    inner: Mutex<Weak<Inner>>,
    turn: tokio::sync::Mutex<BTreeSet<u64>>,
}

impl Door {
    pub(crate) fn open_to(&self, inner: Weak<Inner>) {
        *self.inner.lock() = inner;
    }
}

impl Admission for Door {
    fn admit(&self, request: JoinRequest) -> BoxFuture<'static, Result<Admitted, String>> {
        let Some(inner) = self.inner.lock().upgrade() else {
            return async { Err("this node is stopping".to_owned()) }.boxed();
        };
        async move { inner.admit(request).await }.boxed()
    }
}

/// Spends a token and gives the new node its id, which no node had before.
pub(crate) async fn redeem(inner: &Arc<Inner>, request: JoinRequest) -> Result<u64, String> {
    // Ids given away a moment ago are in no membership yet.
    let mut given = inner.door.turn.lock().await;
    inner.raft().read_barrier(REDEEM_MAX).await.map_err(|error| error.to_string())?;
    let mut known: BTreeSet<u64> = inner.raft().status().members.keys().copied().collect();
    known.extend(inner.engine.with_state(|state| state.nodes().map(|node| node.id.0).collect::<Vec<_>>()));
    let next = inner.engine.accord().next_node;
    let free = known.iter().chain(given.iter()).max().map_or(1, |max| max + 1).max(next);
    let node_id = match request.node_id {
        Some(0) => return Err("node ids begin with 1".to_owned()),
        Some(wish) if known.contains(&wish) => return Err(format!("node {wish} exists already; choose another id or remove it first")),
        Some(wish) if wish < next || given.contains(&wish) => {
            return Err(format!("the id {wish} was given before; ids are not used twice, {free} is free"));
        }
        Some(wish) => wish,
        None => free,
    };
    let hash = JoinToken::secret_id(&request.secret);
    let spent = inner.propose(crate::entry::Entry::Plain(Command::TokenUse { hash }), REDEEM_MAX).await;
    match spent.map_err(|error| error.to_string())? {
        Outcome::Done => {}
        outcome => return Err(refusal(&outcome)),
    }
    given.insert(node_id);
    if inner.has_accord() {
        inner.propose_accord(Change::Give { node: NodeId(node_id) }).await.map_err(|error| error.to_string())?;
    }
    Ok(node_id)
}
