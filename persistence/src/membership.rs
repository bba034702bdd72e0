//! Who belongs to the cluster: its beginning, join tokens, and changes by the operator.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use persistence_model::{Command, NodeId, Outcome, Rejection};
use raftstore::pki::JoinToken;
use raftstore::{Admission, JoinRequest};
use smb_types::Guid;

use crate::error::StoreError;
use crate::store::{Inner, Store};

/// Longest wait until a new cluster takes its first command.
const INIT_MAX: Duration = Duration::from_secs(10);
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

    /// Makes a token that lets one node join through this one, once. Only a node that holds the cluster's authority can.
    pub async fn create_token(&self, ttl: Duration) -> Result<JoinToken, StoreError> {
        let ca = self.inner.config.ca.as_ref();
        let ca = ca.ok_or_else(|| StoreError::Refused("this node does not hold the cluster's authority; ask one that does".to_owned()))?;
        let unusable = |error: raftstore::pki::PkiError| StoreError::Refused(error.to_string());
        let address = self.inner.config.advertise.clone().unwrap_or_else(|| self.raft_addr().to_string());
        let token = JoinToken::create(address, ca.fingerprint().map_err(unusable)?).map_err(unusable)?;
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

    /// Removes a node that is down from the cluster for good.
    pub async fn remove(&self, node: NodeId) -> Result<(), StoreError> {
        match self.propose(Command::NodeRemove { node }).await? {
            Outcome::Done | Outcome::Rejected(Rejection::NoSuchNode) => Ok(self.inner.raft().remove(node.0).await?),
            outcome => Err(StoreError::Refused(refusal(&outcome))),
        }
    }

    /// Makes another voter the leader.
    pub async fn transfer_leader(&self, node: NodeId) -> Result<(), StoreError> {
        Ok(self.inner.raft().transfer_leader(node.0).await?)
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
    turn: tokio::sync::Mutex<Vec<u64>>,
}

impl Door {
    pub(crate) fn open_to(&self, inner: Weak<Inner>) {
        *self.inner.lock() = inner;
    }
}

impl Admission for Door {
    fn redeem(&self, request: JoinRequest) -> BoxFuture<'static, Result<u64, String>> {
        let Some(inner) = self.inner.lock().upgrade() else {
            return async { Err("this node is stopping".to_owned()) }.boxed();
        };
        async move { redeem(&inner, request).await }.boxed()
    }
}

async fn redeem(inner: &Arc<Inner>, request: JoinRequest) -> Result<u64, String> {
    // Ids given away a moment ago are in no membership yet.
    let mut given = inner.door.turn.lock().await;
    inner.raft().read_barrier(REDEEM_MAX).await.map_err(|error| error.to_string())?;
    let mut taken: Vec<u64> = inner.raft().status().members.keys().copied().collect();
    taken.extend(inner.engine.with_state(|state| state.nodes().map(|node| node.id.0).collect::<Vec<_>>()));
    taken.extend(given.iter());
    let node_id = match request.node_id {
        Some(0) => return Err("node ids begin with 1".to_owned()),
        Some(wish) if taken.contains(&wish) => return Err(format!("node {wish} exists already; choose another id or remove it first")),
        Some(wish) => wish,
        None => taken.iter().max().map_or(1, |max| max + 1),
    };
    let hash = JoinToken::secret_id(&request.secret);
    let spent = inner.propose(crate::entry::Entry::Plain(Command::TokenUse { hash }), REDEEM_MAX).await;
    match spent.map_err(|error| error.to_string())? {
        Outcome::Done => {
            given.push(node_id);
            Ok(node_id)
        }
        outcome => Err(refusal(&outcome)),
    }
}
