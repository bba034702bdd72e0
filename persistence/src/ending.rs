//! Ends the lives of nodes that had more open than one command should look at.
//!
//! Whoever has authority declares a death with the first part, and goes on with the next ones while other commands come between them. Who
//! takes authority meanwhile takes this over: what is left to do is in the records. Decision 22 says why.

use std::sync::Arc;
use std::time::Duration;

use persistence_model::{Command, Incarnation, NodeId};
use tokio::time::timeout;

use crate::entry::Entry;
use crate::store::Inner;
use crate::warden::Turn;

/// Opens of a dead node that have their turn with the command that declares its death.
const OPENS_FIRST: u32 = 10_000;
/// Opens that have their turn with each of the next commands: as many as are looked at within a few milliseconds.
const OPENS_NEXT: u32 = 2_000;
/// Longest wait for one part.
const PART_MAX: Duration = Duration::from_secs(5);
/// Pause before a part that failed is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(25);

impl Inner {
    /// The command that declares a life over.
    pub(crate) fn end_of(&self, node: NodeId, incarnation: Incarnation) -> Command {
        let first = Command::NodeEnd { node, incarnation, at_most: OPENS_FIRST };
        if self.engine.accord().allows(&first).is_ok() { first } else { Command::NodeDown { node, incarnation } }
    }

    /// Goes on with every life that has ended in part, while this authority stands.
    pub(crate) fn go_on_ending(self: &Arc<Self>, authority: u64) {
        let ending: Vec<NodeId> =
            self.engine.with_state(|state| state.nodes().map(|node| node.id).filter(|node| state.is_ending(*node)).collect());
        for node in ending {
            let inner = self.clone();
            self.tasks.spawn(async move { inner.finish(node, || inner.own_authority() == Some(authority)).await });
        }
    }

    /// Before a new life of this node: the end of its former one, if that takes more than one command.
    pub(crate) async fn end_former_life(self: &Arc<Self>) {
        let crowd = self.engine.with_state(|state| {
            let former = state.node(self.node).filter(|node| node.is_live())?;
            (state.open_count_of_node(self.node) > OPENS_FIRST as usize).then_some(former.incarnation)
        });
        if let Some(incarnation) = crowd
            && let Err(error) = self.propose(Entry::Plain(self.end_of(self.node, incarnation)), PART_MAX).await
        {
            tracing::debug!(%error, "the former life was not ended yet");
        }
        self.finish(self.node, || true).await;
    }

    /// Ends the rest of a life that is over, part by part, as long as it is this node's business.
    async fn finish(self: &Arc<Self>, node: NodeId, goes_on: impl Fn() -> bool) {
        let Some(_turn) = Turn::begin(&self.endings, node) else { return };
        let rest = || self.engine.with_state(|state| state.node(node).filter(|_| state.is_ending(node)).map(|node| node.incarnation));
        let mut leader = self.raft().watch_leader();
        if rest().is_some() {
            let opens = self.engine.with_state(|state| state.open_count_of_node(node));
            tracing::info!(node = node.0, opens, "the rest of a dead node's handles is taken over");
        }
        while let Some(incarnation) = rest().filter(|_| goes_on() && !self.stop.is_cancelled()) {
            let part = Command::NodeEnd { node, incarnation, at_most: OPENS_NEXT };
            if let Err(error) = self.propose(Entry::Plain(part), PART_MAX).await {
                tracing::debug!(node = node.0, %error, "a part of a dead node's handles has to wait");
                // Nothing tells when a leader takes proposals again.
                drop(timeout(RETRY_PAUSE, leader.changed()).await);
            }
        }
    }
}
