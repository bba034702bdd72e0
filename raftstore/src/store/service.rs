//! What this node does for other nodes.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;

use super::Core;
use super::doubt::{Standing, commit_shown};
use crate::config::{Admitted, JoinRequest};
use crate::faults::{Passed, Point};
use crate::storage::snapshot::Incoming;
use crate::transport::server::Service;
use crate::types::{SnapshotMeta, Vote};
use crate::wire::{AskToJoin, MembershipChange, OpeningReply, Proposed, Request, Response};

/// Snapshots that are received at once; an older one of the same peer is given up first.
const INCOMING_MAX: usize = 4;
/// Longest wait that another node can ask for.
const WAIT_MAX: Duration = Duration::from_secs(3600);
/// How long a joined node may take to start and catch up before it stays a learner.
const PROMOTE_MAX: Duration = Duration::from_secs(600);

/// When a wait for another node ends at the latest.
fn wait_end(timeout: Duration) -> tokio::time::Instant {
    tokio::time::Instant::now() + timeout.min(WAIT_MAX)
}

impl Service for Core {
    fn serve(self: Arc<Self>, from: u64, request: Request) -> BoxFuture<'static, Response> {
        async move { self.answer(from, request).await }.boxed()
    }

    fn join(self: Arc<Self>, join: AskToJoin) -> BoxFuture<'static, OpeningReply> {
        async move { self.admit(join).await.unwrap_or_else(OpeningReply::Refused) }.boxed()
    }

    fn closed(&self, from: u64) {
        // A full queue is being worked on already.
        let _ = self.closed.try_send(from);
    }
}

impl Core {
    async fn answer(self: Arc<Self>, from: u64, request: Request) -> Response {
        let refused = |err: &dyn ToString| Response::Refused(err.to_string());
        match request {
            Request::Append(rpc) if self.is_superseded_by(&rpc) => Response::Refused(self.supersede()),
            Request::Append(mut rpc) => {
                rpc.leader_commit = commit_shown(&rpc);
                let append = async { self.raft.append_entries(rpc).await.map_or_else(|err| refused(&err), Response::Append) };
                self.between(Point::FollowerBeforeAppend, append, Point::FollowerAfterAppend).await
            }
            Request::Vote(rpc) | Request::PreVote(rpc) if !self.may_vote(&rpc) => Response::Vote(self.no_vote()),
            Request::Vote(rpc) => {
                let (term, last) = (rpc.vote.leader_id.term, rpc.last_log_id);
                let vote = async {
                    let answer = self.raft.vote(rpc).await.map_or_else(|err| refused(&err), Response::Vote);
                    // After the answer: this voter's own election must not overtake it.
                    if self.report().last > last {
                        self.outlasted.send_if_modified(|outlasted| {
                            let newer = *outlasted < term;
                            *outlasted = term.max(*outlasted);
                            newer
                        });
                    }
                    answer
                };
                self.between(Point::VoteBeforeAnswer, vote, Point::VoteAfterAnswer).await
            }
            Request::PreVote(rpc) => self.raft.pre_vote(rpc).await.map_or_else(|err| refused(&err), Response::Vote),
            Request::TransferLeader(_) if *self.standing.borrow() != Standing::Sound => Response::Refused(
                "this node may have lost something when the power went: it cannot lead before it has caught up".to_owned(),
            ),
            Request::TransferLeader(rpc) => {
                self.raft.handle_transfer_leader(rpc).await.map_or_else(|err| refused(&err), Response::TransferLeader)
            }
            Request::SnapshotBegin { id } => self.snapshot_begin(from, id).map_or_else(|err| refused(&err), |()| Response::Done),
            Request::SnapshotChunk { id, offset, chunk } => {
                self.snapshot_chunk(from, id, offset, chunk.0).await.map_or_else(|err| refused(&err), |()| Response::Done)
            }
            Request::SnapshotEnd { id, bytes, vote, meta } => {
                self.snapshot_end(from, id, bytes, vote, meta).await.unwrap_or_else(|err| refused(&err))
            }
            Request::Propose { leader, command } => {
                let max = self.config.limits.command_bytes_max;
                if command.data.0.len() > max {
                    return Response::Refused(format!("a command may have {max} bytes here"));
                }
                let proposed = self.submit(leader, command).await;
                if let Proposed::Committed { index } = proposed {
                    // It answers when it has applied it itself.
                    self.urged.urge(index);
                }
                Response::Proposed(proposed)
            }
            Request::ReadIndex => match self.read_index().await {
                Some(index) => {
                    self.urged.urge(index);
                    Response::Index(index)
                }
                None => Response::NotLeader,
            },
            Request::WaitApplied { index, timeout } => {
                self.wait_settled(index, wait_end(timeout)).await.map_or_else(|err| refused(&err), |()| Response::Done)
            }
            Request::WaitEntry { entry, timeout } => match self.wait_settled(entry.index, wait_end(timeout)).await {
                // The log keeps what was applied from it, until the node starts over.
                Ok(()) if !self.agrees_with(entry.leader_id, entry.index) => {
                    Response::Refused(format!("another entry than that of term {} is in its log at {}", entry.leader_id.term, entry.index))
                }
                done => done.map_or_else(|err| refused(&err), |()| Response::Done),
            },
            Request::Standing => {
                let report = self.report();
                Response::Standing { in_doubt: report.in_doubt, last: report.last }
            }
            Request::LogEnd => self.log_end_as_leader().await.map_or(Response::NotLeader, Response::LogEnd),
            Request::Membership(change) => self.change_as_leader(&change).await,
            Request::Call(payload) => self.call_handler(from, payload.0.to_vec()).await,
        }
    }

    /// Answers between two points. A fault at the first leaves the work undone, at the second it hides that it was done.
    async fn between(&self, before: Point, work: impl Future<Output = Response>, after: Point) -> Response {
        if matches!(self.reach(before).await, Passed::Lost | Passed::Failed) {
            return Response::Refused(format!("a fault on purpose at {before}"));
        }
        let response = work.await;
        match self.reach(after).await {
            Passed::On | Passed::Twice => response,
            Passed::Lost | Passed::Failed => Response::Refused(format!("a fault on purpose at {after}")),
        }
    }

    async fn call_handler(&self, from: u64, payload: Vec<u8>) -> Response {
        let max = self.config.limits.call_bytes_max;
        if payload.len() > max {
            return Response::Refused(format!("a call may have {max} bytes here"));
        }
        match &self.config.call_handler {
            Some(handler) => Response::Call(handler(from, payload).await.into()),
            None => Response::Refused("this node takes no calls".to_owned()),
        }
    }

    fn snapshot_begin(&self, from: u64, id: u64) -> io::Result<()> {
        let mut incoming = self.incoming.lock();
        // A peer sends one snapshot at a time: what it began before will not be finished.
        let old: Vec<_> = incoming.range((from, 0)..=(from, u64::MAX)).map(|(key, _)| *key).collect();
        for key in old {
            if let Some(old) = incoming.remove(&key) {
                old.discard();
            }
        }
        if incoming.len() >= INCOMING_MAX {
            return Err(io::Error::other("too many snapshots are being received"));
        }
        incoming.insert((from, id), Incoming::create(self.state.database(), from, id)?);
        Ok(())
    }

    async fn snapshot_chunk(&self, from: u64, id: u64, offset: u64, chunk: Arc<[u8]>) -> io::Result<()> {
        self.or_fail(Point::SnapshotChunk).await?;
        let mut file = self.take_incoming(from, id)?;
        let adding = move || {
            let added = file.add(offset, &chunk);
            (file, added)
        };
        let (file, added) = self.config.environment.block(adding).await;
        self.incoming.lock().insert((from, id), file);
        added
    }

    async fn snapshot_end(&self, from: u64, id: u64, bytes: u64, vote: Vote, meta: SnapshotMeta) -> io::Result<Response> {
        self.or_fail(Point::SnapshotEnd).await?;
        let file = self.take_incoming(from, id)?;
        if self.is_superseded_by_snapshot(vote, &meta) {
            file.discard();
            return Ok(Response::Refused(self.supersede()));
        }
        let file = self.config.environment.block(move || file.finish(bytes)).await?;
        let snapshot = openraft::Snapshot { meta, snapshot: file };
        self.raft.install_full_snapshot(vote, snapshot).await.map(Response::Snapshot).map_err(io::Error::other)
    }

    async fn or_fail(&self, point: Point) -> io::Result<()> {
        match self.reach(point).await {
            Passed::On | Passed::Twice => Ok(()),
            Passed::Lost | Passed::Failed => Err(io::Error::other(format!("a fault on purpose at {point}"))),
        }
    }

    fn take_incoming(&self, from: u64, id: u64) -> io::Result<Incoming> {
        self.incoming.lock().remove(&(from, id)).ok_or_else(|| io::Error::other("this snapshot was not begun, or was given up"))
    }

    async fn admit(self: Arc<Self>, join: AskToJoin) -> Result<OpeningReply, String> {
        let admission = self.config.admission.as_ref().ok_or("this node does not admit nodes; use another one's token")?;
        if join.address.is_empty() || join.address.len() > 255 {
            return Err(format!("the address \"{}\" is not usable", join.address));
        }
        let (secret, node_id, address) = (join.secret, join.node_id, join.address.clone());
        let admitted = admission.admit(JoinRequest { secret, node_id, address, public_key: join.public_key }).await?;
        let Admitted { node_id, certificate_pem, authorities_pem } = admitted;
        let members: BTreeMap<u64, String> = self.status().members.into_iter().map(|(id, member)| (id, member.address)).collect();
        tracing::info!(node_id, address = join.address, "a node joins");
        let core = self.clone();
        tokio::spawn(async move { core.welcome(node_id, join.address).await });
        let cluster = self.config.identity.cluster.as_u128();
        Ok(OpeningReply::Admitted { node_id, cluster, certificate_pem, authorities_pem, members })
    }

    /// Adds a joined node as a learner, and makes it a voter when it has caught up.
    async fn welcome(self: Arc<Self>, node_id: u64, address: String) {
        let deadline = tokio::time::Instant::now() + PROMOTE_MAX;
        for change in [MembershipChange::AddLearner { node_id, address }, MembershipChange::Promote { node_id }] {
            if let Err(err) = self.change_membership(&change, deadline).await {
                tracing::warn!(node_id, %err, "a joined node could not be taken in; promote it by hand when it runs");
                return;
            }
        }
    }
}
