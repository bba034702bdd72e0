//! A node that may have lost what it acknowledged from memory: it does not vote before it has caught up.
//!
//! A node in doubt gives no vote and wants none, until it holds everything that a leader's log held after it came back: by then it holds
//! again whatever anybody may have counted on. If so many voters are in doubt that the others cannot elect anybody, a majority lost power
//! together; they wait for each other, and the longest log among those who answer wins. Proof and limits: docs/decisions/0007.
//!
//! The same room notices the other side of it: a node whose applied entries the others went on without.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver;
use openraft::raft::{AppendEntriesRequest, VoteRequest, VoteResponse};
use tokio::time::Instant;

use super::Core;
use crate::storage::life::{Doubt, Mark};
use crate::transport::peers::Lane;
use crate::types::{LogId, SnapshotMeta, TypeConfig, Vote};
use crate::wire::{Request, Response};

/// Pause between two looks at who is there.
const LOOK_PAUSE: Duration = Duration::from_millis(50);
/// Longest wait for one answer.
const ASK_MAX: Duration = Duration::from_millis(500);
/// How long a leader that is known may fail to answer before it is no leader.
const LEADER_PATIENCE: Duration = Duration::from_secs(1);
/// How long those who are in doubt together wait for members that do not answer.
const TOGETHER_PATIENCE: Duration = Duration::from_secs(2);
/// How long nobody must have led before a voter in doubt takes part for the longest log of all, though others might elect without it.
const STUCK_PATIENCE: Duration = Duration::from_secs(5);

/// What a node may do in elections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Everything.
    Sound,
    /// Nothing.
    InDoubt(Doubt),
    /// Nobody leads without those who lost power: it may vote for a log that is no shorter than the longest it has heard of.
    Together { because: Doubt, longest: Option<LogId> },
}

impl Standing {
    /// Why it is in doubt.
    pub(crate) fn doubt(self) -> Option<Doubt> {
        match self {
            Self::Sound => None,
            Self::InDoubt(because) | Self::Together { because, .. } => Some(because),
        }
    }

    /// Whether it may vote for a log that ends here.
    fn may_vote_for(self, last: Option<LogId>) -> bool {
        match self {
            Self::Sound => true,
            Self::InDoubt(_) => false,
            Self::Together { longest, .. } => last >= longest,
        }
    }
}

/// What a voter in doubt hears from another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Report {
    /// It is in doubt and remembers its vote.
    pub(crate) in_doubt: bool,
    pub(crate) last: Option<LogId>,
}

/// Whether the voters that are not in doubt are too few to elect anybody. Who does not answer counts as one of them.
fn majority_in_doubt(configs: &[BTreeSet<u64>], reports: &BTreeMap<u64, Report>) -> bool {
    configs.iter().any(|voters| {
        let doubtful = voters.iter().filter(|voter| reports.get(voter).is_some_and(|report| report.in_doubt)).count();
        voters.len() - doubtful < voters.len() / 2 + 1
    })
}

/// Whether a voter in doubt may take part in an election for the longest log that it has heard of.
///
/// When a majority was in doubt, after some patience with those who are silent. And when every voter has answered and still nobody leads:
/// nothing that any voter has kept is behind the longest log of all, whoever is in doubt. That helps where the sound ones would be enough
/// by what this node knows, and are not by a change of the membership that it has not heard of.
fn may_take_part(configs: &[BTreeSet<u64>], reports: &BTreeMap<u64, Report>, leaderless: Duration) -> bool {
    let complete = configs.iter().flatten().all(|voter| reports.contains_key(voter));
    let majority = majority_in_doubt(configs, reports) && (complete || leaderless >= TOGETHER_PATIENCE);
    majority || (complete && leaderless >= STUCK_PATIENCE)
}

/// How far what a leader says of its commits counts here: up to the last entry that its request shows this log to hold. The rest it says again
/// with the entries. A commit that this node only heard of may be lost with those who had it, and would count for other entries at
/// its place as soon as this node led (D7).
pub(crate) fn commit_shown(request: &AppendEntriesRequest<TypeConfig>) -> Option<LogId> {
    let shown = request.entries.last().map(|entry| entry.log_id).or(request.prev_log_id)?;
    request.leader_commit.map(|committed| if committed.index > shown.index { shown } else { committed })
}

impl Core {
    /// Works on this node's doubt until it is over.
    pub(crate) async fn resolve_doubt(self: Arc<Self>) {
        let Some(because) = self.standing.borrow().doubt() else { return };
        let mut waiting_since = None;
        while !self.halted.is_cancelled() {
            if let Some(point) = self.point_to_reach().await {
                waiting_since = None;
                if self.has_reached(point) {
                    self.doubt_is_over();
                    return;
                }
            } else {
                // After a start, the leader of before is still remembered. One that does not answer is none.
                let since = *waiting_since.get_or_insert_with(Instant::now);
                if self.current_leader().is_none() || since.elapsed() >= LEADER_PATIENCE {
                    self.look_for_company(because, since).await;
                }
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_PAUSE) => {}
                () = self.halted.cancelled() => {}
            }
        }
    }

    /// The end of the log of a leader that a quorum has confirmed since this node came back. `Some(None)`: an empty log.
    async fn point_to_reach(&self) -> Option<Option<LogId>> {
        let leader = self.current_leader()?;
        if leader.node_id == self.node_id {
            return tokio::time::timeout(ASK_MAX, self.log_end_as_leader()).await.ok().flatten();
        }
        match self.peers.request(leader.node_id, Lane::Requests, &Request::LogEnd, ASK_MAX).await {
            Ok(Response::LogEnd(last)) => Some(last),
            Ok(_) | Err(_) => None,
        }
    }

    /// The end of this leader's log, when a quorum says that it leads. Everything that it ever counted as acknowledged is before it.
    pub(crate) async fn log_end_as_leader(&self) -> Option<Option<LogId>> {
        self.read_index().await?;
        Some(self.log.lock().as_ref()?.bounds().0)
    }

    /// Whether the log has this entry, and with it everything before it.
    fn has_reached(&self, point: Option<LogId>) -> bool {
        let Some(point) = point else { return true };
        let log = self.log.lock();
        let Some(log) = log.as_ref() else { return false };
        log.log_id_at(point.index) == Some(point) || log.bounds().1 >= Some(point)
    }

    fn doubt_is_over(&self) {
        let database = self.state.database();
        match database.mark(&Mark::Running { boot_id: database.boot_id().to_owned() }) {
            Ok(()) => {
                self.standing.send_replace(Standing::Sound);
                self.raft.runtime_config().elect(true);
                tracing::info!(node = self.node_id, "this node has caught up: it votes again");
            }
            Err(err) => self.fail(format!("the mark of this run cannot be written: {err}")),
        }
    }

    /// Asks the other voters whether they are in doubt too.
    async fn look_for_company(&self, because: Doubt, since: Instant) {
        // Who has forgotten its vote could give it twice: it waits for a leader, however long.
        if because != Doubt::PowerLost {
            return;
        }
        let own = self.report();
        let membership = self.raft.server_metrics().borrow_watched().membership_config.clone();
        let configs = membership.membership().get_joint_config().clone();
        let others: BTreeSet<u64> = configs.iter().flatten().copied().filter(|&voter| voter != self.node_id).collect();
        let asked = futures::future::join_all(others.iter().map(|&voter| async move {
            match self.peers.request(voter, Lane::Requests, &Request::Standing, ASK_MAX).await {
                Ok(Response::Standing { in_doubt, last }) => Some((voter, Report { in_doubt, last })),
                Ok(_) | Err(_) => None,
            }
        }));
        let mut reports: BTreeMap<u64, Report> = asked.await.into_iter().flatten().collect();
        reports.insert(self.node_id, own);
        if !may_take_part(&configs, &reports, since.elapsed()) {
            return;
        }
        let longest = reports.values().map(|report| report.last).max().flatten();
        if !matches!(*self.standing.borrow(), Standing::Together { .. }) {
            tracing::warn!(node = self.node_id, voters = ?reports.keys(), ?longest, "nobody leads without those who lost power: the longest log goes on");
        }
        self.standing.send_replace(Standing::Together { because, longest });
        self.raft.runtime_config().elect(own.last >= longest);
    }

    /// What this node tells others about itself.
    pub(crate) fn report(&self) -> Report {
        let in_doubt = self.standing.borrow().doubt() == Some(Doubt::PowerLost);
        let last = self.log.lock().as_ref().and_then(|log| log.bounds().0);
        Report { in_doubt, last }
    }

    /// Whether this node may take part in this election.
    pub(crate) fn may_vote(&self, request: &VoteRequest<TypeConfig>) -> bool {
        self.standing.borrow().may_vote_for(request.last_log_id)
    }

    /// The answer of a node that may not vote.
    pub(crate) fn no_vote(&self) -> VoteResponse<TypeConfig> {
        let vote = self.raft.server_metrics().borrow_watched().vote;
        VoteResponse::new(vote, self.report().last, false)
    }

    /// Whether a leader goes on without entries that this node knows to be committed.
    pub(crate) fn is_superseded_by(&self, request: &AppendEntriesRequest<TypeConfig>) -> bool {
        let ids = request.prev_log_id.into_iter().chain(request.entries.iter().map(|entry| entry.log_id));
        self.is_superseded(request.vote, ids, |own, theirs, purged| match own {
            Some(own) => own != theirs,
            // Log ids are in order: a smaller index under a later leader was never before the purged one.
            None => purged >= Some(theirs.index) && purged.is_some(),
        })
    }

    /// As [`Core::is_superseded_by`], for a snapshot.
    pub(crate) fn is_superseded_by_snapshot(&self, vote: Vote, meta: &SnapshotMeta) -> bool {
        let Some(last) = meta.last_log_id else { return false };
        let committed = self.raft.metrics().borrow_watched().local_committed;
        vote >= self.raft.server_metrics().borrow_watched().vote
            && committed.is_some_and(|committed| last > committed && last.index <= committed.index)
    }

    fn is_superseded(
        &self,
        vote: Vote,
        ids: impl Iterator<Item = LogId>,
        differs: impl Fn(Option<LogId>, LogId, Option<u64>) -> bool,
    ) -> bool {
        let Some(committed) = self.raft.metrics().borrow_watched().local_committed else { return false };
        let mut below = ids.take_while(|theirs| theirs.index <= committed.index).peekable();
        if below.peek().is_none() || vote < self.raft.server_metrics().borrow_watched().vote {
            return false;
        }
        let log = self.log.lock();
        let Some(log) = log.as_ref() else { return false };
        let purged = log.bounds().1;
        below.any(|theirs| {
            let own = log.log_id_at(theirs.index);
            differs(own, theirs, purged.filter(|purged| theirs > *purged).map(|purged| purged.index))
        })
    }

    /// Ends this node: what it holds is void. It starts over with what its peers have.
    pub(crate) fn supersede(&self) -> String {
        let because = "the cluster went on without entries that this node had applied: a majority lost power while it was away; \
                       start the node again, it then gets everything from its peers";
        let database = self.state.database();
        if let Err(err) = database.mark(&Mark::InDoubt { boot_id: database.boot_id().to_owned(), because: Doubt::Superseded }) {
            tracing::error!(%err, "the mark of this run cannot be written");
        }
        self.fail(because.to_owned());
        because.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use openraft::EntryPayload;
    use openraft::entry::{RaftEntry, RaftPayload};

    use super::*;
    use crate::types::Entry;

    fn report(in_doubt: bool) -> Report {
        Report { in_doubt, last: None }
    }

    #[test]
    fn silent_voters_count_as_sound() {
        let three = [BTreeSet::from([1, 2, 3])];
        assert!(!majority_in_doubt(&three, &BTreeMap::from([(1, report(true))])));
        assert!(!majority_in_doubt(&three, &BTreeMap::from([(1, report(true)), (2, report(false))])));
        assert!(majority_in_doubt(&three, &BTreeMap::from([(1, report(true)), (2, report(true))])));
        // A learner in doubt is nobody's majority.
        assert!(!majority_in_doubt(&three, &BTreeMap::from([(1, report(true)), (9, report(true))])));
        let five = [BTreeSet::from([1, 2, 3, 4, 5])];
        assert!(!majority_in_doubt(&five, &BTreeMap::from([(1, report(true)), (2, report(true))])));
        assert!(majority_in_doubt(&five, &BTreeMap::from([(1, report(true)), (2, report(true)), (5, report(true))])));
        // One of the two configurations of a change cannot elect: nobody can.
        let joint = [BTreeSet::from([1, 2, 3]), BTreeSet::from([3, 4, 5])];
        assert!(majority_in_doubt(&joint, &BTreeMap::from([(4, report(true)), (5, report(true))])));
        assert!(majority_in_doubt(&[BTreeSet::from([1])], &BTreeMap::from([(1, report(true))])));
    }

    #[test]
    fn a_voter_in_doubt_takes_part_when_a_majority_is_or_when_all_have_answered() {
        let five = [BTreeSet::from([1, 2, 3, 4, 5])];
        let reports = |doubtful: &[u64], answering: &[u64]| -> BTreeMap<u64, Report> {
            answering.iter().map(|node| (*node, report(doubtful.contains(node)))).collect()
        };
        let all = [1, 2, 3, 4, 5];
        assert!(may_take_part(&five, &reports(&[1, 2, 3], &all), Duration::ZERO));
        assert!(!may_take_part(&five, &reports(&[1, 2, 3], &[1, 2, 3]), Duration::ZERO));
        assert!(may_take_part(&five, &reports(&[1, 2, 3], &[1, 2, 3]), TOGETHER_PATIENCE));
        assert!(!may_take_part(&five, &reports(&[4, 5], &all), TOGETHER_PATIENCE));
        assert!(may_take_part(&five, &reports(&[4, 5], &all), STUCK_PATIENCE));
        assert!(!may_take_part(&five, &reports(&[4, 5], &[1, 2, 4, 5]), STUCK_PATIENCE * 100), "the silent one may hold more");
    }

    #[test]
    fn a_commit_counts_up_to_the_entries_that_come_with_it() {
        let log_id = |term, index| LogId { leader_id: crate::types::LeaderId { term, node_id: 1 }, index };
        let request = |prev, last: Option<u64>, committed| AppendEntriesRequest {
            vote: Vote { leader_id: log_id(3, 0).leader_id, committed: true },
            prev_log_id: prev,
            entries: last.into_iter().map(|index| Entry::new(log_id(3, index), EntryPayload::blank())).collect(),
            leader_commit: committed,
        };
        let commit = Some(log_id(3, 137));
        assert_eq!(commit_shown(&request(Some(log_id(3, 133)), Some(134), commit)), Some(log_id(3, 134)), "it lacks 135 to 137");
        assert_eq!(commit_shown(&request(Some(log_id(3, 137)), Some(138), commit)), commit);
        assert_eq!(commit_shown(&request(commit, None, commit)), commit, "news by itself");
        assert_eq!(commit_shown(&request(Some(log_id(2, 130)), None, commit)), Some(log_id(2, 130)));
        assert_eq!(commit_shown(&request(None, None, commit)), None, "a heartbeat shows nothing");
        assert_eq!(commit_shown(&request(Some(log_id(3, 137)), Some(138), None)), None);
    }

    #[test]
    fn together_only_for_the_longest() {
        let log_id = |term, index| Some(LogId { leader_id: crate::types::LeaderId { term, node_id: 1 }, index });
        let together = Standing::Together { because: Doubt::PowerLost, longest: log_id(2, 7) };
        assert!(together.may_vote_for(log_id(2, 7)) && together.may_vote_for(log_id(3, 1)));
        assert!(!together.may_vote_for(log_id(2, 6)) && !together.may_vote_for(None));
        assert!(!Standing::InDoubt(Doubt::PowerLost).may_vote_for(log_id(9, 9)));
        assert!(Standing::Sound.may_vote_for(None));
    }
}
