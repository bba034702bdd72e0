//! A node that is drained asks its clients to move, and does not lead while somebody else can.

use std::sync::Arc;
use std::time::Duration;

use persistence_model::{Command, NodeId, NodeState, Outcome};
use tokio::time::Instant;

use crate::error::StoreError;
use crate::store::{Inner, Store};

/// Longest wait for another leader.
const HAND_OVER_MAX: Duration = Duration::from_secs(15);
/// Pause between two looks at whether this node should lead.
const LOOK_PAUSE: Duration = Duration::from_millis(500);

impl Store {
    /// Drains a node, or ends that. When this returns, a drained node does not lead, unless nobody else can. Returns who leads.
    ///
    /// # Errors
    /// There is no such node, it is down, or the cluster has no leader.
    pub async fn drain(&self, node: NodeId, on: bool) -> Result<Option<NodeId>, StoreError> {
        match self.propose(Command::NodeDrain { node, on }).await? {
            Outcome::Done => {}
            Outcome::Rejected(persistence_model::Rejection::StaleIncarnation) => {
                return Err(StoreError::Refused(format!("node {node} is down: there is nobody to be moved")));
            }
            Outcome::Rejected(rejection) => return Err(StoreError::Refused(rejection.to_string())),
            outcome => return Err(StoreError::Refused(format!("the cluster answered {outcome:?}"))),
        }
        let deadline = Instant::now() + HAND_OVER_MAX;
        while on && self.leader() == Some(node) && Instant::now() < deadline {
            let Some(successor) = self.inner.successor(node) else { break };
            match self.transfer_leader(successor).await {
                Ok(()) | Err(StoreError::Unknown | StoreError::NoLeader) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(self.leader())
    }
}

impl Inner {
    /// Who should lead instead of a node: a voter that is up and holds most of the log.
    pub(crate) fn successor(&self, instead_of: NodeId) -> Option<NodeId> {
        let status = self.raft().status();
        let is_up = |id: u64| self.engine.with_state(|state| state.node(NodeId(id)).is_some_and(|node| node.state == NodeState::Up));
        let able = status.members.iter().filter(|(id, member)| **id != instead_of.0 && member.voter && is_up(**id));
        able.max_by_key(|(id, member)| (member.matched, std::cmp::Reverse(**id))).map(|(id, _)| NodeId(*id))
    }

    /// A drained node that is elected after all hands the lead over.
    pub(crate) async fn yield_lead(self: Arc<Self>) {
        let stop = self.stop.clone();
        stop.run_until_cancelled(async {
            let mut leader = self.raft().watch_leader();
            loop {
                let leads = leader.borrow_and_update().is_some_and(|leader| leader.node_id == self.node.0);
                let drained = self.engine.with_state(|state| state.node(self.node).is_some_and(|node| node.state == NodeState::Draining));
                if leads
                    && drained
                    && let Some(successor) = self.successor(self.node)
                {
                    tracing::info!(to = successor.0, "this node is drained: it hands the lead over");
                    if let Err(error) = self.raft().transfer_leader(successor.0).await {
                        tracing::debug!(%error, "the lead was not handed over");
                    }
                }
                tokio::select! {
                    changed = leader.changed() => if changed.is_err() { return },
                    () = tokio::time::sleep(LOOK_PAUSE) => {}
                }
            }
        })
        .await;
    }
}
