//! A dead leader is noticed at once, not by its silence.
//!
//! When the process of a leader dies, its connections end and its port refuses new ones. A voter that sees both starts an election
//! without waiting for the leader's lease: nobody holds it any more. Voters take turns by id, so that two do not split the votes; who is
//! asked for its vote by one with a shorter log than its own waits no longer. A leader that is silent but not refused is left to the
//! ordinary timeouts.

use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver;
use tokio::sync::{mpsc, watch};
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
        if !is_ones_turn(turn, dead, self.leader.subscribe(), self.outlasted.subscribe()).await {
            return;
        }
        // Somebody has our vote already: disturb that election only when it comes to nothing.
        let vote = self.raft.server_metrics().borrow_watched().vote;
        let voted = vote.leader_id > dead && vote.leader_id.node_id != self.node_id;
        let newer = |leader: &Option<LeaderId>| leader.is_some_and(|leader| leader > dead);
        if voted && timeout(TURN * 3, self.leader.subscribe().wait_for(newer)).await.is_ok() {
            return;
        }
        if let Err(err) = self.raft.trigger().elect(false).await {
            tracing::debug!(%err, "no election: the node is stopping");
        }
    }
}

/// Waits until it is this voter's turn to succeed a dead leader; false when somebody else has succeeded it. The turn comes at once when
/// somebody with a shorter log has asked for this voter's vote: it cannot win.
async fn is_ones_turn(
    turn: usize,
    dead: LeaderId,
    mut leaders: watch::Receiver<Option<LeaderId>>,
    mut outlasted: watch::Receiver<u64>,
) -> bool {
    tokio::select! {
        biased;
        _ = leaders.wait_for(|leader| leader.is_some_and(|leader| leader > dead)) => false,
        _ = outlasted.wait_for(|term| *term > dead.term) => true,
        () = sleep(TURN * u32::try_from(turn).unwrap_or(u32::MAX)) => true,
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    const DEAD: LeaderId = LeaderId { term: 4, node_id: 1 };

    async fn waited(
        turn: usize,
        meanwhile: impl Future<Output = ()>,
        told: (&watch::Sender<Option<LeaderId>>, &watch::Sender<u64>),
    ) -> (bool, Duration) {
        let begun = Instant::now();
        let (mine, ()) = tokio::join!(is_ones_turn(turn, DEAD, told.0.subscribe(), told.1.subscribe()), meanwhile);
        (mine, begun.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn voters_take_turns_until_one_leads() {
        let (leader, outlasted) = (watch::Sender::new(Some(DEAD)), watch::Sender::new(4));
        let told = (&leader, &outlasted);
        assert!(waited(0, async {}, told).await.0);
        let (mine, time) = waited(2, async {}, told).await;
        assert!(mine && time >= TURN * 2 && time < TURN * 3, "{time:?}");
        let led = async {
            sleep(TURN / 2).await;
            leader.send_replace(Some(LeaderId { term: 5, node_id: 2 }));
        };
        let (mine, time) = waited(1, led, told).await;
        assert!(!mine && time < TURN, "{time:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_the_longer_log_does_not_wait_for_one_that_cannot_win() {
        let (leader, outlasted) = (watch::Sender::new(Some(DEAD)), watch::Sender::new(4));
        let refused = async {
            sleep(TURN / 4).await;
            outlasted.send_replace(5);
        };
        let (mine, time) = waited(1, refused, (&leader, &outlasted)).await;
        assert!(mine && time < TURN / 2, "{time:?}");
    }
}
