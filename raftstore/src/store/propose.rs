//! The way of a command: to the leader, into the log, and home when this node has applied it.
//!
//! A proposal is sent again only when its last try cannot be applied any more, so that it is applied once. A try is bound to one
//! leadership: the leader of that term takes it, or nobody. When this node has applied an entry of a later leadership without meeting the
//! operation, no entry of the earlier one is still to come. While the leadership lasts, the leader remembers the operations that it took,
//! so that a try of unknown fate can be sent to it again.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use openraft::ReadPolicy;
use openraft::errors::ClientWriteError;
use openraft::impls::ProgressResponder;
use parking_lot::Mutex;
use tokio::sync::oneshot::error::TryRecvError;
use tokio::time::Instant as Deadline;

use super::waiters::{Fate, Waiter};
use super::{Core, RaftStore, set_if_changed};
use crate::error::{CallError, ProposeError, ReadError};
use crate::faults::{Passed, Point};
use crate::machine::{Applied, Class};
use crate::transport::peers::Lane;
use crate::types::{Command, LeaderId};
use crate::wire::{Proposed, Request, Response};

/// Operations of one leadership that are remembered.
const SEEN_OPERATIONS_MAX: usize = 1 << 18;
/// Pause before a leader that did not take a proposal is asked again.
const RETRY_PAUSE: Duration = Duration::from_millis(5);
/// Wait for the own apply before a try of unknown fate is sent again.
const UNKNOWN_PAUSE: Duration = Duration::from_millis(20);
/// Longest wait for the leader's answer to one try.
const TRY_MAX: Duration = Duration::from_millis(1000);
/// Longest wait for a leader to confirm itself.
const CONFIRM_MAX: Duration = Duration::from_millis(500);

/// The operations that this leader has taken into its log, so that a repeated message is not a second command.
#[derive(Debug, Default)]
pub(crate) struct Seen(Mutex<SeenInner>);

#[derive(Debug, Default)]
struct SeenInner {
    leader: Option<LeaderId>,
    operations: HashSet<u128>,
    order: VecDeque<u128>,
}

impl Seen {
    /// Says whether the operation is new in this leadership, and remembers it.
    fn add(&self, leader: LeaderId, operation: u128) -> bool {
        let mut seen = self.0.lock();
        if seen.leader != Some(leader) {
            *seen = SeenInner { leader: Some(leader), ..SeenInner::default() };
        }
        if !seen.operations.insert(operation) {
            return false;
        }
        seen.order.push_back(operation);
        if seen.order.len() > SEEN_OPERATIONS_MAX
            && let Some(oldest) = seen.order.pop_front()
        {
            seen.operations.remove(&oldest);
        }
        true
    }

    fn forget(&self, leader: LeaderId, operation: u128) {
        let mut seen = self.0.lock();
        if seen.leader == Some(leader) {
            seen.operations.remove(&operation);
        }
    }
}

/// What to do after a try.
enum Next {
    Done(Applied),
    /// No try can be applied any more: it is safe to propose anew.
    Again,
    /// The try may have been lost on the way: its leader, as long as it leads, knows whether it took it.
    SendAgain,
    /// The time is over, or the outcome is lost.
    Unknown,
    Stop,
}

impl RaftStore {
    /// Proposes a command and returns its outcome when it is committed and this node has applied it.
    ///
    /// Works on every node: it is forwarded to the leader, and survives changes of the leader as long as the time lasts. It is applied
    /// at most once. A persistent command is on the disks of a majority before its outcome is known, any other in their page caches. An
    /// empty command is not shown to the machine.
    pub async fn propose(&self, command: Vec<u8>, class: Class, timeout: Duration) -> Result<Applied, ProposeError> {
        let max = self.core.config.limits.command_bytes_max;
        if command.len() > max {
            return Err(ProposeError::TooLarge { bytes: command.len(), max });
        }
        let deadline = Deadline::now() + timeout;
        let Ok(place) = tokio::time::timeout_at(deadline, self.core.places.acquire()).await else {
            return Err(ProposeError::NotApplied("too many proposals wait on this node".to_owned()));
        };
        let _place = place.map_err(|_| ProposeError::ShuttingDown)?;
        let operation = self.core.config.environment.unique();
        let command = Command { time_ms: 0, class, operation, data: command.into() };
        let proposed = self.core.propose(command, deadline).await;
        self.core.reach(Point::ProposeBeforeReturn).await;
        proposed
    }

    /// Waits until everything that this node had applied before the call is on the disks of a majority.
    ///
    /// # Errors
    /// As [`RaftStore::propose`]; it is not known then what is stable.
    pub async fn make_stable(&self, timeout: Duration) -> Result<(), ProposeError> {
        // The log is stable up to a persistent entry, and this one comes after all that were applied. No machine sees it.
        self.propose(Vec::new(), Class::Persistent, timeout).await.map(drop)
    }

    /// Makes local reads linearizable: when it returns, this node has applied everything that was committed before the call.
    pub async fn read_barrier(&self, timeout: Duration) -> Result<u64, ReadError> {
        let core = &self.core;
        let deadline = Deadline::now() + timeout;
        let mut leaders = core.leader.subscribe();
        loop {
            let leader = *leaders.borrow_and_update();
            if core.halted.is_cancelled() {
                return Err(ReadError::ShuttingDown);
            }
            if let Some(leader) = leader {
                let asked = core.confirmed_index(leader, deadline);
                let index = tokio::select! {
                    index = asked => index,
                    // Another leader is known: the old one need not answer any more.
                    _ = leaders.changed() => continue,
                };
                if let Some(index) = index {
                    core.wait_applied(index, deadline).await?;
                    // Otherwise the leader is another one by now, or the cluster went on without what was applied here.
                    if core.agrees_with(leader, index) {
                        return Ok(index);
                    }
                }
            }
            if Deadline::now() >= deadline {
                return Err(ReadError::NoLeader);
            }
            tokio::select! {
                _ = leaders.changed() => {}
                () = tokio::time::sleep_until(deadline.min(Deadline::now() + RETRY_PAUSE)) => {}
            }
        }
    }
}

impl Core {
    async fn propose(&self, command: Command, deadline: Deadline) -> Result<Applied, ProposeError> {
        let mut waiter = self.waiters.register(command.operation);
        let mut leaders = self.leader.subscribe();
        // The leadership whose log may still get, or hold, an earlier try.
        let mut doubt: Option<LeaderId> = None;
        loop {
            let leader = *leaders.borrow_and_update();
            let next = match (leader, doubt) {
                _ if self.halted.is_cancelled() => Next::Stop,
                (_, Some(doubted)) if leader != Some(doubted) => self.outlive(doubted, &mut waiter, deadline).await,
                (Some(leader), _) => self.attempt(leader, &command, doubt.is_some(), &mut waiter, deadline).await,
                (None, _) if Deadline::now() >= deadline => return Err(ProposeError::NoLeader),
                (None, _) => {
                    tokio::select! {
                        _ = leaders.changed() => {}
                        () = tokio::time::sleep_until(deadline) => {}
                        () = self.halted.cancelled() => {}
                    }
                    continue;
                }
            };
            match next {
                Next::Done(applied) => return Ok(applied),
                Next::Unknown => return Err(ProposeError::Unknown),
                Next::Stop if doubt.is_none() => return Err(ProposeError::ShuttingDown),
                Next::Stop => return Err(ProposeError::Unknown),
                Next::Again if Deadline::now() >= deadline => {
                    return Err(ProposeError::NotApplied("its leader could not take it in time".to_owned()));
                }
                Next::Again => doubt = None,
                Next::SendAgain => doubt = doubt.or(leader),
            }
            tokio::select! {
                _ = leaders.changed() => {}
                () = tokio::time::sleep(RETRY_PAUSE) => {}
            }
        }
    }

    /// One try with one leadership, until its fate is known or it has to be sent again.
    async fn attempt(&self, leader: LeaderId, command: &Command, doubt: bool, waiter: &mut Waiter, deadline: Deadline) -> Next {
        let mut leaderships = self.applied_leader.subscribe();
        let superseded = leaderships.wait_for(|applied| *applied > Some(leader));
        let send = self.send(leader, command, deadline);
        tokio::pin!(send, superseded);
        let sent = tokio::select! {
            biased;
            fate = &mut waiter.fate => return fate.map_or(Next::Unknown, known),
            sent = &mut send => sent,
            _ = &mut superseded => return settle(waiter),
            () = tokio::time::sleep_until(deadline) => return Next::Unknown,
            () = self.halted.cancelled() => return Next::Unknown,
        };
        let patience = match sent {
            // An earlier message may still be under way to this leadership.
            Proposed::NotAppended if doubt => return Next::SendAgain,
            Proposed::NotAppended => return Next::Again,
            Proposed::Committed { .. } => deadline,
            Proposed::Unknown => deadline.min(Deadline::now() + UNKNOWN_PAUSE),
        };
        tokio::select! {
            biased;
            fate = &mut waiter.fate => fate.map_or(Next::Unknown, known),
            _ = &mut superseded => settle(waiter),
            () = tokio::time::sleep_until(patience) => if patience < deadline { Next::SendAgain } else { Next::Unknown },
            () = self.halted.cancelled() => Next::Unknown,
        }
    }

    /// Passes on under which leadership the newest applied entry was written. Proposals wait for this and not for each applied entry: with
    /// hundreds of them waiting, every entry would wake them all.
    pub(super) async fn follow_leaderships(self: Arc<Self>) {
        let mut applied = self.state.watch_applied();
        loop {
            let newest = applied.borrow_and_update().log_id.map(|log_id| log_id.leader_id);
            set_if_changed(&self.applied_leader, newest);
            tokio::select! {
                changed = applied.changed() => if changed.is_err() { return },
                () = self.stop.cancelled() => return,
            }
        }
    }

    async fn send(&self, leader: LeaderId, command: &Command, deadline: Deadline) -> Proposed {
        match self.reach(Point::ProposeBeforeSend).await {
            Passed::On | Passed::Twice => {}
            Passed::Lost => return Proposed::Unknown,
            Passed::Failed => return Proposed::NotAppended,
        }
        let proposed = self.send_to(leader, command, deadline).await;
        match self.reach(Point::ProposeAfterSend).await {
            Passed::On | Passed::Twice => proposed,
            Passed::Lost | Passed::Failed => Proposed::Unknown,
        }
    }

    async fn send_to(&self, leader: LeaderId, command: &Command, deadline: Deadline) -> Proposed {
        if leader.node_id == self.node_id {
            return self.submit(leader, command.clone()).await;
        }
        let request = Request::Propose { leader, command: command.clone() };
        let timeout = deadline.saturating_duration_since(Deadline::now()).min(TRY_MAX);
        match self.peers.request(leader.node_id, Lane::Requests, &request, timeout).await {
            Ok(Response::Proposed(proposed)) => proposed,
            // These never reached it.
            Err(CallError::Refused { .. } | CallError::Unreachable { .. } | CallError::UnknownNode { .. }) => Proposed::NotAppended,
            Ok(_) | Err(_) => Proposed::Unknown,
        }
    }

    /// Waits for the fate of a try whose leader leads no more.
    async fn outlive(&self, doubted: LeaderId, waiter: &mut Waiter, deadline: Deadline) -> Next {
        let mut leaderships = self.applied_leader.subscribe();
        let superseded = leaderships.wait_for(|applied| *applied > Some(doubted));
        let mut leaders = self.leader.subscribe();
        let back = leaders.wait_for(|leader| *leader == Some(doubted));
        tokio::select! {
            biased;
            fate = &mut waiter.fate => fate.map_or(Next::Unknown, known),
            _ = superseded => settle(waiter),
            _ = back => Next::SendAgain,
            () = tokio::time::sleep_until(deadline) => Next::Unknown,
            () = self.halted.cancelled() => Next::Unknown,
        }
    }

    /// Takes a command into the log of this leadership, if it is ours, and waits until it is committed.
    pub(crate) async fn submit(&self, leader: LeaderId, mut command: Command) -> Proposed {
        if !self.leads(leader) {
            return Proposed::NotAppended;
        }
        if matches!(self.reach(Point::LeaderBeforeAppend).await, Passed::Lost | Passed::Failed) {
            return Proposed::NotAppended;
        }
        let operation = command.operation;
        if !self.seen.add(leader, operation) {
            return Proposed::Unknown;
        }
        self.reach(Point::ClockStamp).await;
        command.time_ms = self.clock.stamp(leader, self.config.environment.clock.now());
        let (responder, done) = ProgressResponder::complete_only();
        if self.raft.write(command).with_leader(leader).responder(responder).await.is_err() {
            return Proposed::Unknown;
        }
        match done.await {
            Ok(Ok(response)) => match self.reach(Point::LeaderAfterCommit).await {
                Passed::On | Passed::Twice => Proposed::Committed { index: response.log_id.index },
                Passed::Lost | Passed::Failed => Proposed::Unknown,
            },
            // The core did not take it: another leads, or this one has not heard from a quorum for too long.
            Ok(Err(ClientWriteError::ForwardToLeader(_))) => {
                self.seen.forget(leader, operation);
                Proposed::NotAppended
            }
            Ok(Err(_)) | Err(_) => Proposed::Unknown,
        }
    }

    /// Asks a leader for the index up to which everything was committed when a quorum confirmed it.
    async fn confirmed_index(&self, leader: LeaderId, deadline: Deadline) -> Option<u64> {
        let timeout = deadline.saturating_duration_since(Deadline::now()).min(CONFIRM_MAX);
        if leader.node_id == self.node_id {
            return tokio::time::timeout(timeout, self.read_index()).await.ok().flatten();
        }
        match self.peers.request(leader.node_id, Lane::Requests, &Request::ReadIndex, timeout).await {
            Ok(Response::Index(index)) => Some(index),
            Ok(_) | Err(_) => None,
        }
    }

    /// The index of [`Core::confirmed_index`], when this node leads and a quorum says so.
    pub(crate) async fn read_index(&self) -> Option<u64> {
        if matches!(self.reach(Point::ReadConfirm).await, Passed::Lost | Passed::Failed) {
            return None;
        }
        self.raft.get_read_log_id(ReadPolicy::ReadIndex).await.ok().map(|(read, _)| read.index())
    }
}

fn known(fate: Fate) -> Next {
    match fate {
        Fate::Applied(applied) => Next::Done(applied),
        Fate::Lost => Next::Unknown,
    }
}

/// The try can no longer be applied, unless it already was.
fn settle(waiter: &mut Waiter) -> Next {
    match waiter.fate.try_recv() {
        Ok(fate) => known(fate),
        Err(TryRecvError::Empty) => Next::Again,
        Err(TryRecvError::Closed) => Next::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_takes_an_operation_once() {
        let seen = Seen::default();
        let (first, second) = (LeaderId { term: 1, node_id: 1 }, LeaderId { term: 2, node_id: 1 });
        assert!(seen.add(first, 7));
        assert!(!seen.add(first, 7));
        seen.forget(first, 7);
        assert!(seen.add(first, 7));
        assert!(seen.add(second, 7));
        for operation in 0..SEEN_OPERATIONS_MAX as u128 + 10 {
            seen.add(second, operation);
        }
        assert!(seen.0.lock().operations.len() <= SEEN_OPERATIONS_MAX);
    }
}
