//! Changes of the membership: asked for on any node, made by the leader.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use openraft::ChangeMembers;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{ChangeMembershipError, ClientWriteError, RaftError};
use tokio::time::Instant;

use super::{Core, RaftStore};
use crate::error::MembershipError;
use crate::faults::{Passed, Point};
use crate::transport::peers::Lane;
use crate::types::{Node, StoredMembership};
use crate::wire::{MembershipChange, Request, Response};

/// Longest wait for a change, catching up included.
const CHANGE_MAX: Duration = Duration::from_secs(60);
/// Longest wait of one try at the leader.
const TRY_MAX: Duration = Duration::from_secs(10);
/// Pause before the next try.
const RETRY_PAUSE: Duration = Duration::from_millis(20);
/// Pause before the members are told a new address again.
const ANNOUNCE_PAUSE: Duration = Duration::from_millis(200);
/// A learner this close to the leader's log has caught up.
const LAG_MAX: u64 = 1000;

/// What the leader does for a change.
enum Next {
    /// Nothing has to be changed, or must be.
    Answer(Response),
    HandOver(u64),
    /// The leader itself is to go: another has to make the change.
    StepBack,
    /// This learner becomes a voter when it has caught up.
    CatchUp(u64),
    Commit(ChangeMembers<u64, Node>),
}

impl RaftStore {
    /// Adds a node that receives the log and does not vote. It may start later.
    pub async fn add_learner(&self, node_id: u64, address: impl Into<String>) -> Result<(), MembershipError> {
        self.change(MembershipChange::AddLearner { node_id, address: address.into() }).await
    }

    /// Waits until a learner has caught up and makes it a voter.
    pub async fn promote(&self, node_id: u64) -> Result<(), MembershipError> {
        self.change(MembershipChange::Promote { node_id }).await
    }

    /// Removes a node, voter or learner. A leader that removes itself hands over first.
    pub async fn remove(&self, node_id: u64) -> Result<(), MembershipError> {
        self.change(MembershipChange::Remove { node_id }).await
    }

    /// Tells all nodes where a member is reached from now on.
    pub async fn change_address(&self, node_id: u64, address: impl Into<String>) -> Result<(), MembershipError> {
        self.change(MembershipChange::ChangeAddress { node_id, address: address.into() }).await
    }

    /// Makes another voter the leader, without an election timeout.
    pub async fn transfer_leader(&self, node_id: u64) -> Result<(), MembershipError> {
        self.change(MembershipChange::TransferLeader { node_id }).await
    }

    async fn change(&self, change: MembershipChange) -> Result<(), MembershipError> {
        self.core.change_membership(&change, Instant::now() + CHANGE_MAX).await
    }
}

impl Core {
    /// Has the leader make a change, until it is made, refused, or the time is over. Every change can be repeated.
    pub(crate) async fn change_membership(&self, change: &MembershipChange, deadline: Instant) -> Result<(), MembershipError> {
        let mut tried = false;
        loop {
            if self.halted.is_cancelled() {
                return Err(MembershipError::ShuttingDown);
            }
            if Instant::now() >= deadline {
                return Err(if tried { MembershipError::Unknown } else { MembershipError::NoLeader });
            }
            if let Some(leader) = self.current_leader() {
                tried = true;
                let response = if leader.node_id == self.node_id {
                    self.change_as_leader(change).await
                } else {
                    let request = Request::Membership(change.clone());
                    let answered = self.peers.request(leader.node_id, Lane::Requests, &request, TRY_MAX + RETRY_PAUSE).await;
                    answered.unwrap_or(Response::NotLeader)
                };
                match response {
                    Response::Done => return Ok(()),
                    Response::Refused(because) => return Err(MembershipError::Refused(because)),
                    _ => {}
                }
            }
            tokio::select! {
                () = tokio::time::sleep(RETRY_PAUSE) => {}
                () = self.halted.cancelled() => {}
            }
        }
    }

    /// Makes a change, if this node leads. `NotLeader` means: try again, here or elsewhere.
    pub(crate) async fn change_as_leader(&self, change: &MembershipChange) -> Response {
        tokio::time::timeout(TRY_MAX, self.make_change(change)).await.unwrap_or(Response::NotLeader)
    }

    async fn make_change(&self, change: &MembershipChange) -> Response {
        if !self.current_leader().is_some_and(|leader| self.leads(leader)) {
            return Response::NotLeader;
        }
        if matches!(self.reach(Point::MembershipChange).await, Passed::Lost | Passed::Failed) {
            return Response::NotLeader;
        }
        let membership = self.raft.server_metrics().borrow_watched().membership_config.clone();
        match self.judge(&membership, change) {
            // Others may lead by now and have changed the members.
            Next::Answer(answer) if self.is_committed(&membership).await => answer,
            Next::Answer(_) => Response::NotLeader,
            Next::HandOver(to) => self.hand_over(to).await,
            Next::StepBack => {
                // Whoever leads next makes the change: nobody waits for an election meanwhile.
                if let Some(successor) = self.successor() {
                    self.hand_over(successor).await;
                }
                Response::NotLeader
            }
            Next::CatchUp(node_id) => {
                self.wait_caught_up(node_id).await;
                self.commit_members(ChangeMembers::AddVoterIds(BTreeSet::from([node_id]))).await
            }
            Next::Commit(members) => self.commit_members(members).await,
        }
    }

    /// What a change needs, by the members that this leader knows.
    fn judge(&self, membership: &StoredMembership, change: &MembershipChange) -> Next {
        let member = |id: u64| membership.nodes().find(|(known, _)| **known == id).map(|(_, node)| node.addr.clone());
        let voter = |id: u64| membership.voter_ids().any(|voter| voter == id);
        let refused = |because: String| Next::Answer(Response::Refused(because));
        let unknown = |id: u64| refused(format!("node {id} is not a member"));
        let at = |id: u64, address: &str| BTreeMap::from([(id, Node::new(address))]);
        match change {
            MembershipChange::AddLearner { node_id, address } => match member(*node_id) {
                Some(known) if known == *address => Next::Answer(Response::Done),
                Some(_) => Next::Commit(ChangeMembers::SetNodes(at(*node_id, address))),
                None => Next::Commit(ChangeMembers::AddNodes(at(*node_id, address))),
            },
            MembershipChange::Promote { node_id } if member(*node_id).is_none() => unknown(*node_id),
            MembershipChange::Promote { node_id } if voter(*node_id) => Next::Answer(Response::Done),
            MembershipChange::Promote { node_id } => Next::CatchUp(*node_id),
            MembershipChange::Remove { node_id } if member(*node_id).is_none() => Next::Answer(Response::Done),
            MembershipChange::Remove { node_id } if voter(*node_id) => {
                if membership.voter_ids().count() == 1 {
                    refused(format!("node {node_id} is the only voter"))
                } else if *node_id == self.node_id {
                    Next::StepBack
                } else {
                    Next::Commit(ChangeMembers::RemoveVoters(BTreeSet::from([*node_id])))
                }
            }
            MembershipChange::Remove { node_id } => Next::Commit(ChangeMembers::RemoveNodes(BTreeSet::from([*node_id]))),
            MembershipChange::ChangeAddress { node_id, address } => match member(*node_id) {
                Some(known) if known == *address => Next::Answer(Response::Done),
                Some(_) => Next::Commit(ChangeMembers::SetNodes(at(*node_id, address))),
                None => unknown(*node_id),
            },
            MembershipChange::TransferLeader { node_id } if !voter(*node_id) => refused(format!("node {node_id} is not a voter")),
            MembershipChange::TransferLeader { node_id } => Next::HandOver(*node_id),
        }
    }

    /// Whether these were the members when a quorum confirmed, after the call, that this node leads.
    async fn is_committed(&self, membership: &StoredMembership) -> bool {
        self.read_index().await.is_some_and(|index| membership.log_id().is_none_or(|log_id| log_id.index <= index))
    }

    async fn commit_members(&self, members: ChangeMembers<u64, Node>) -> Response {
        match self.raft.change_membership(members, false).await {
            Ok(_) => Response::Done,
            Err(RaftError::Fatal(_)) => Response::NotLeader,
            Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(err))) => match err {
                ChangeMembershipError::InProgress(_) | ChangeMembershipError::UncommittedLeaderLog(_) => Response::NotLeader,
                err => Response::Refused(err.to_string()),
            },
            Err(RaftError::APIError(_)) => Response::NotLeader,
        }
    }

    /// The voter that holds most of the log, beside this node.
    fn successor(&self) -> Option<u64> {
        let members = self.status().members;
        let others = members.into_iter().filter(|(id, member)| *id != self.node_id && member.voter);
        others.max_by_key(|(id, member)| (member.matched, std::cmp::Reverse(*id))).map(|(id, _)| id)
    }

    /// Waits until a learner is close to the end of the log. The caller limits the time.
    async fn wait_caught_up(&self, node_id: u64) {
        let mut metrics = self.raft.metrics();
        loop {
            {
                let now = metrics.borrow_watched();
                let Some(replication) = &now.replication else { return };
                let matched = replication.get(&node_id).and_then(|log_id| *log_id);
                if matched.is_some_and(|log_id| log_id.index + LAG_MAX >= now.last_log_index.unwrap_or(0)) {
                    return;
                }
            }
            if metrics.changed().await.is_err() {
                return;
            }
        }
    }

    async fn hand_over(&self, node_id: u64) -> Response {
        if node_id == self.node_id {
            return Response::Done;
        }
        if matches!(self.reach(Point::LeaderTransfer).await, Passed::Lost | Passed::Failed) {
            return Response::NotLeader;
        }
        let mut leaders = self.leader.subscribe();
        if self.raft.trigger().transfer_leader(node_id).await.is_err() {
            return Response::NotLeader;
        }
        let own = self.node_id;
        match leaders.wait_for(|leader| leader.is_some_and(|leader| leader.node_id != own)).await {
            Ok(leader) if leader.is_some_and(|leader| leader.node_id == node_id) => Response::Done,
            _ => Response::NotLeader,
        }
    }

    /// Tells the cluster when this node is no longer reached where the membership says.
    pub(crate) async fn announce_address(self: Arc<Self>) {
        let (node_id, address) = (self.node_id, self.advertised());
        let members = self.state.members();
        if members.get(&node_id).is_none_or(|known| *known == address) {
            return;
        }
        let change = MembershipChange::ChangeAddress { node_id, address: address.clone() };
        let request = Request::Membership(change.clone());
        // The leader cannot reach this node, so this node does not know who leads: it asks everybody.
        while !self.halted.is_cancelled() {
            for &peer in members.keys().filter(|&&peer| peer != node_id) {
                match self.peers.request(peer, Lane::Requests, &request, TRY_MAX + RETRY_PAUSE).await {
                    Ok(Response::Done) => return,
                    Ok(Response::Refused(because)) => tracing::warn!(because, address, "the new address of this node is refused"),
                    Ok(_) | Err(_) => {}
                }
            }
            if let Some(leader) = self.current_leader()
                && leader.node_id == node_id
                && self.change_membership(&change, Instant::now() + CHANGE_MAX).await.is_ok()
            {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(ANNOUNCE_PAUSE) => {}
                () = self.halted.cancelled() => {}
            }
        }
    }
}
