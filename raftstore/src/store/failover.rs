//! A dead leader is noticed at once, not by its silence.
//!
//! When the process of a leader dies, its connections end and its port refuses new ones. A voter that sees both starts an election
//! without waiting for the leader's lease: nobody holds it any more. Voters take turns by id, so that two do not split the votes. A
//! leader that is silent but not refused is left to the ordinary timeouts.

use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::Core;
use super::doubt::Standing;
use crate::faults::Point;
use crate::status::Probe;
use crate::types::LeaderId;

/// How often, and how long apart, a port is tried: a dying process closes its sockets one after the other.
const PROBES_MAX: usize = 40;
const PROBE_PAUSE: Duration = Duration::from_millis(3);
/// How long the next voter leaves to the one before it.
const TURN: Duration = Duration::from_millis(60);

impl Core {
    /// Looks after every connection that ends.
    pub(crate) async fn watch_for_death(self: Arc<Self>, mut closed: mpsc::Receiver<u64>) {
        loop {
            let node = tokio::select! {
                node = closed.recv() => node,
                () = self.halted.cancelled() => return,
            };
            let Some(node) = node else { return };
            let Some(leader) = self.current_leader() else { continue };
            if leader.node_id == node && node != self.node_id && self.is_dead(leader).await {
                self.succeed(leader).await;
            }
        }
    }

    async fn is_dead(&self, leader: LeaderId) -> bool {
        for _ in 0..PROBES_MAX {
            if self.current_leader() != Some(leader) {
                return false;
            }
            match self.peers.probe(leader.node_id).await {
                Probe::Refused => return true,
                Probe::Silent => return false,
                Probe::Alive => sleep(PROBE_PAUSE).await,
            }
        }
        false
    }

    /// Starts an election when it is this node's turn and nobody else has begun.
    async fn succeed(&self, dead: LeaderId) {
        let membership = self.raft.server_metrics().borrow_watched().membership_config.clone();
        let mut voters: Vec<u64> = membership.voter_ids().filter(|&voter| voter != dead.node_id).collect();
        voters.sort_unstable();
        voters.dedup();
        let Some(turn) = voters.iter().position(|&voter| voter == self.node_id) else { return };
        self.dead_leader.set(dead);
        if *self.standing.borrow() != Standing::Sound {
            return;
        }
        tracing::info!(leader = dead.node_id, term = dead.term, turn, "the leader's process is dead");
        self.reach(Point::DeathNoticed).await;
        let mut leaders = self.leader.subscribe();
        let newer = |leader: &Option<LeaderId>| leader.is_some_and(|leader| leader > dead);
        let wait = TURN * u32::try_from(turn).unwrap_or(u32::MAX);
        if timeout(wait, leaders.wait_for(newer)).await.is_ok() {
            return;
        }
        // Somebody has our vote already: disturb that election only when it comes to nothing.
        let vote = self.raft.server_metrics().borrow_watched().vote;
        let voted = vote.leader_id > dead && vote.leader_id.node_id != self.node_id;
        if voted && timeout(TURN * 3, leaders.wait_for(newer)).await.is_ok() {
            return;
        }
        if let Err(err) = self.raft.trigger().elect(false).await {
            tracing::debug!(%err, "no election: the node is stopping");
        }
    }
}
