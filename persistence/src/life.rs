//! This node's lives: joins, renews its lease, and begins anew when it was declared dead.

use std::sync::Arc;
use std::time::Duration;

use persistence_model::{Command, Incarnation, NodeAddresses, Outcome};
use raftstore::{Passed, Point};

use crate::call::{self, Answer, Call};
use crate::entry::Entry;
use crate::store::Inner;

/// Pause before a renewal that got no answer is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(25);
/// Pause before joining is tried again.
const JOIN_PAUSE: Duration = Duration::from_millis(50);
/// Longest wait for one try to join.
const JOIN_MAX: Duration = Duration::from_secs(10);

impl Inner {
    /// One life after the other, until the store stops.
    pub(crate) async fn live(self: Arc<Self>) {
        let stop = self.stop.clone();
        stop.run_until_cancelled(async {
            let mut addresses = self.addresses.subscribe();
            let mut is_first = true;
            loop {
                let Ok(wanted) = addresses.wait_for(Option::is_some).await.map(|wanted| wanted.clone()) else { return };
                let Some(mut wanted) = wanted else { continue };
                // What clients were told while this process lives holds until it ends.
                if !is_first && let Some(smb) = self.engine.with_state(|state| state.node(self.node).map(|node| node.addresses.smb.clone()))
                {
                    wanted.smb = smb;
                }
                if stop.is_cancelled() {
                    return;
                }
                let Some(incarnation) = self.begin(wanted).await else {
                    tokio::time::sleep(JOIN_PAUSE).await;
                    continue;
                };
                self.holder.begin(incarnation);
                is_first = false;
                tracing::info!(node = self.node.0, incarnation = incarnation.0, "a new life begins");
                self.keep_lease(incarnation).await;
                self.holder.revoke(incarnation);
                tracing::warn!(node = self.node.0, incarnation = incarnation.0, "this life is over");
            }
        })
        .await;
    }

    /// Registers a new life.
    async fn begin(self: &Arc<Self>, addresses: NodeAddresses) -> Option<Incarnation> {
        self.wait_known().await;
        self.end_former_life().await;
        let (node, name, boot_id) = (self.node, self.config.name.clone(), self.boot_id.clone());
        let join = Command::NodeJoin { node, name, addresses, boot_id };
        match self.propose(Entry::Plain(join), JOIN_MAX).await {
            Ok(Outcome::Joined { incarnation }) => Some(incarnation),
            Ok(outcome) => {
                tracing::debug!(?outcome, "the node cannot join yet");
                None
            }
            Err(error) => {
                tracing::debug!(%error, "the node cannot join yet");
                None
            }
        }
    }

    /// Waits until the cluster exists and knows where this node is reached. Before that, a refused connection to an address of
    /// a former process could be taken for the death of this one.
    async fn wait_known(&self) {
        let own = self.config.advertise.clone().unwrap_or_else(|| self.raft().local_addr().to_string());
        let mut applied = self.engine.watch_applied();
        loop {
            applied.mark_unchanged();
            let member = self.raft().status().members.get(&self.node.0).is_some_and(|member| member.address == own);
            if member && self.engine.with_state(|state| state.cluster().is_some()) {
                return;
            }
            // The membership becomes known beside the log, so it is looked at again without being told.
            drop(tokio::time::timeout(JOIN_PAUSE, applied.changed()).await);
        }
    }

    /// Renews until this life is over.
    async fn keep_lease(self: &Arc<Self>, incarnation: Incarnation) {
        let mut life = self.holder.watch();
        let mut leader = self.raft().watch_leader();
        loop {
            let sent = self.config.environment.clock.now();
            let pause = match self.ask_renewal(incarnation).await {
                Some(answer @ (Answer::Renewed | Answer::RenewedFor { .. })) => {
                    self.config.faults.reach(self.node.0, Point::RenewAfterAnswer).await;
                    let given =
                        if let Answer::RenewedFor { lease_ms } = answer { Duration::from_millis(lease_ms) } else { self.config.lease };
                    self.holder.extend(incarnation, sent, given.min(self.config.lease));
                    // Never after the lease: whoever waits for the reset counts from its end.
                    if let Some(watchdog) = self.watchdog.as_ref().filter(|_| self.holder.valid()) {
                        watchdog.feed().await;
                    }
                    (self.config.lease / 4).saturating_sub(self.config.environment.clock.since(sent))
                }
                Some(Answer::Over) => return,
                Some(_) | None => RETRY_PAUSE,
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                over = life.wait_for(|life| life.incarnation != Some(incarnation)) => {
                    drop(over);
                    return;
                }
                changed = leader.changed() => if changed.is_err() { return },
            }
        }
    }

    async fn ask_renewal(self: &Arc<Self>, incarnation: Incarnation) -> Option<Answer> {
        let call = Call::RenewFor { node: self.node, incarnation };
        if matches!(self.config.faults.reach(self.node.0, Point::RenewBeforeSend).await, Passed::Lost | Passed::Failed) {
            return None;
        }
        let leader = self.raft().leader()?;
        if leader.node_id == self.node.0 {
            return Some(self.answer(self.node, call).await);
        }
        let answer = self.call_leader(leader.node_id, call).await;
        if answer != Some(Answer::Nonsense) {
            return answer;
        }
        // A leader of an older version.
        self.call_leader(leader.node_id, Call::Renew { node: self.node, incarnation }).await
    }

    async fn call_leader(&self, leader: u64, call: Call) -> Option<Answer> {
        let answered = self.raft().call(leader, call::encode(&call), self.config.lease / 4).await;
        answered.ok().and_then(|bytes| call::decode(&bytes))
    }

    /// Has the end of this life declared, which was ended here before.
    pub(crate) async fn say_goodbye(self: &Arc<Self>, incarnation: Incarnation, timeout: Duration) {
        assert!(!self.holder.valid(), "a node declares its own end after it has stopped serving");
        let down = self.end_of(self.node, incarnation);
        let said = tokio::time::timeout(timeout, self.propose(Entry::Plain(down), timeout)).await;
        if !matches!(said, Ok(Ok(_))) {
            tracing::warn!("the cluster did not hear that this node stops; it will notice");
        }
    }
}
