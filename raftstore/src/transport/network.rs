//! Raft's messages over the transport.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::{self, BoxFuture};
use futures::stream::{self, BoxStream};
use futures::{FutureExt, Stream, StreamExt};
use openraft::RaftNetworkFactory;
use openraft::errors::NetworkError;
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable};
use openraft::network::{Backoff, RPCOption, RPCTypes, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, TransferLeaderRequest, TransferLeaderResponse,
    VoteRequest, VoteResponse,
};
use parking_lot::Mutex;

use super::news::{self, Urged};
use super::peers::{Lane, Peers};
use crate::environment::{DiskFile, Environment, OpenFile};
use crate::error::CallError;
use crate::faults::{Passed, Point};
use crate::storage::snapshot::SnapshotFile;
use crate::types::{Blob, LeaderId, Node, Snapshot, TypeConfig, Vote};
use crate::wire::{Request, Response};

/// Bytes of a snapshot sent with one request.
const CHUNK_BYTES: usize = 1 << 20;
/// Longest wait for one chunk, and for the installation at the end.
const CHUNK_MAX: Duration = Duration::from_secs(10);
const INSTALL_MAX: Duration = Duration::from_secs(600);
/// Pause before a peer that cannot be reached is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// Longest wait for entries to be written: a batch has to be synced, which takes longer than a heartbeat on a slow disk.
const APPEND_MAX: Duration = Duration::from_secs(2);
/// Appends sent to a peer before the first of them is answered. What comes meanwhile goes together with the next: more at once cost more
/// messages, and were no quicker (docs/decisions/0017).
const APPENDS_UNDER_WAY_MAX: usize = 1;
/// Longest wait for a vote.
const VOTE_MAX: Duration = Duration::from_millis(500);

/// A leader whose process is known to be dead. While it is set, our requests for votes for the time after it say that its lease may be
/// disregarded: the port that refused us belongs to the process that held the lease.
#[derive(Debug, Default)]
pub(crate) struct DeadLeader(Mutex<Option<LeaderId>>);

impl DeadLeader {
    pub(crate) fn set(&self, leader: LeaderId) {
        *self.0.lock() = Some(leader);
    }

    /// Forgets it when somebody else leads.
    pub(crate) fn superseded_by(&self, leader: LeaderId) {
        self.0.lock().take_if(|dead| *dead != leader);
    }

    fn covers(&self, vote: &Vote) -> bool {
        self.0.lock().is_some_and(|dead| dead < vote.leader_id)
    }
}

/// Makes a [`PeerNetwork`] per peer.
#[derive(Clone)]
pub(crate) struct Network {
    pub(crate) own_id: u64,
    pub(crate) peers: Arc<Peers>,
    pub(crate) dead_leader: Arc<DeadLeader>,
    pub(crate) urged: Arc<Urged>,
    pub(crate) snapshot_ids: Arc<AtomicU64>,
    pub(crate) environment: Environment,
}

/// One peer, for Raft.
#[derive(Clone)]
pub(crate) struct PeerNetwork {
    network: Network,
    target: u64,
}

/// What became of an append.
struct Appended {
    result: StreamAppendResult<TypeConfig>,
    /// The peer took all of it.
    whole: bool,
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = PeerNetwork;

    async fn new_client(&mut self, target: u64, node: &Node) -> PeerNetwork {
        self.peers.set_address(target, &node.addr);
        PeerNetwork { network: self.clone(), target }
    }
}

impl PeerNetwork {
    async fn ask(&self, what: RPCTypes, request: Request, timeout: Duration) -> Result<Response, RPCError<TypeConfig>> {
        let answered = self.network.peers.request(self.target, Lane::Raft, &request, timeout).await;
        self.judge(what, answered, timeout)
    }

    fn judge(&self, what: RPCTypes, answered: Result<Response, CallError>, timeout: Duration) -> Result<Response, RPCError<TypeConfig>> {
        match answered {
            Ok(Response::Refused(because)) => Err(RPCError::Network(NetworkError::from_string(because))),
            Ok(response) => Ok(response),
            Err(CallError::Timeout { .. }) => {
                Err(RPCError::Timeout(Timeout { action: what, id: self.network.own_id, target: self.target, timeout }))
            }
            Err(err @ (CallError::Refused { .. } | CallError::Unreachable { .. } | CallError::UnknownNode { .. })) => {
                Err(RPCError::Unreachable(Unreachable::new(&err)))
            }
            Err(err) => Err(RPCError::Network(NetworkError::new(&err))),
        }
    }

    /// Sends entries and gives what becomes of them: to be waited for while the next ones are sent.
    async fn append(self, rpc: AppendEntriesRequest<TypeConfig>) -> BoxFuture<'static, Result<Appended, RPCError<TypeConfig>>> {
        let prev = rpc.prev_log_id;
        let last = rpc.entries.last().map_or(prev, |entry| Some(entry.log_id));
        let sent = self.network.peers.send(self.target, Lane::Raft, &Request::Append(rpc), APPEND_MAX).await;
        async move {
            let answered = match sent {
                Ok(answer) => self.network.peers.answer(answer).await,
                Err(err) => Err(err),
            };
            match self.judge(RPCTypes::AppendEntries, answered, APPEND_MAX)? {
                Response::Append(response) => {
                    let whole = !matches!(&response, AppendEntriesResponse::PartialSuccess(upto) if *upto != last);
                    Ok(Appended { result: response.into_stream_result(prev, last), whole })
                }
                _ => Err(self.misfit()),
            }
        }
        .boxed()
    }

    fn misfit(&self) -> RPCError<TypeConfig> {
        RPCError::Network(NetworkError::from_string(format!("node {} gave an answer that does not fit", self.target)))
    }

    async fn bulk(&self, request: Request, timeout: Duration) -> Result<Response, StreamingError<TypeConfig>> {
        match self.network.peers.request(self.target, Lane::Bulk, &request, timeout).await {
            Ok(Response::Refused(because)) => Err(StreamingError::Network(NetworkError::from_string(because))),
            Ok(response) => Ok(response),
            Err(err) => Err(StreamingError::Unreachable(Unreachable::new(&err))),
        }
    }

    async fn send_snapshot(
        &self,
        vote: Vote,
        snapshot: Snapshot<SnapshotFile>,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let broken = |err: io::Error| StreamingError::Network(NetworkError::from_string(format!("the snapshot cannot be read: {err}")));
        let id = self.network.snapshot_ids.fetch_add(1, Ordering::Relaxed);
        if self.network.environment.reach(Point::SnapshotBegin).await == Passed::Failed {
            return Err(broken(io::Error::other("a fault on purpose")));
        }
        // Opened first: a newer snapshot may remove the file while it is being sent.
        let file = self.network.environment.disk.open(&snapshot.snapshot.path, OpenFile::Read).map_err(broken)?;
        self.bulk(Request::SnapshotBegin { id }, CHUNK_MAX).await?;
        let mut offset = 0;
        loop {
            let file = file.clone();
            let chunk = self.network.environment.block(move || read_chunk(file.as_ref(), offset)).await.map_err(broken)?;
            if chunk.is_empty() {
                break;
            }
            let sent = chunk.len() as u64;
            self.bulk(Request::SnapshotChunk { id, offset, chunk: Blob::from(chunk) }, CHUNK_MAX).await?;
            offset += sent;
        }
        match self.bulk(Request::SnapshotEnd { id, bytes: offset, vote, meta: snapshot.meta }, INSTALL_MAX).await? {
            Response::Snapshot(response) => Ok(response),
            _ => Err(StreamingError::Network(NetworkError::from_string(format!("node {} gave an answer that does not fit", self.target)))),
        }
    }
}

fn read_chunk(file: &dyn DiskFile, offset: u64) -> io::Result<Vec<u8>> {
    let left = file.len()?.saturating_sub(offset);
    let mut chunk = vec![0; usize::try_from(left).unwrap_or(usize::MAX).min(CHUNK_BYTES)];
    file.read_exact_at(&mut chunk, offset)?;
    Ok(chunk)
}

impl RaftNetworkV2<TypeConfig> for PeerNetwork {
    type SnapshotData = SnapshotFile;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        match self.ask(RPCTypes::AppendEntries, Request::Append(rpc), APPEND_MAX).await? {
            Response::Append(response) => Ok(response),
            _ => Err(self.misfit()),
        }
    }

    /// The next entries, or the news that the last ones are committed, need not wait for the answer to those before them.
    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        _option: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, Result<StreamAppendResult<TypeConfig>, RPCError<TypeConfig>>>, RPCError<TypeConfig>>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + Unpin + 'static,
    {
        let peer = self.clone();
        let input = news::hold_back(input, self.network.urged.clone());
        let appended = input.then(move |rpc| peer.clone().append(rpc)).buffered(APPENDS_UNDER_WAY_MAX);
        // What follows a failure, a conflict or a part was sent in vain: the stream ends there.
        let ends = stream::unfold(Some(Box::pin(appended)), |appended| async move {
            let mut appended = appended?;
            let (item, goes_on) = match appended.next().await? {
                Ok(Appended { result, whole }) => {
                    let goes_on = whole && result.is_ok();
                    (Ok(result), goes_on)
                }
                Err(err) => (Err(err), false),
            };
            Some((item, goes_on.then_some(appended)))
        });
        future::ready(Ok(ends.boxed())).boxed()
    }

    async fn vote(
        &mut self,
        mut rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        rpc.leadership_transfer |= self.network.dead_leader.covers(&rpc.vote);
        match self.ask(RPCTypes::Vote, Request::Vote(rpc), option.hard_ttl().min(VOTE_MAX)).await? {
            Response::Vote(response) => Ok(response),
            _ => Err(self.misfit()),
        }
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        match self.ask(RPCTypes::Vote, Request::PreVote(rpc), option.hard_ttl().min(VOTE_MAX)).await? {
            Response::Vote(response) => Ok(response),
            _ => Err(self.misfit()),
        }
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot<SnapshotFile>,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        tokio::select! {
            closed = cancel => Err(StreamingError::Closed(closed)),
            sent = self.send_snapshot(vote, snapshot) => sent,
        }
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        match self.ask(RPCTypes::TransferLeader, Request::TransferLeader(req), option.hard_ttl()).await? {
            Response::TransferLeader(response) => Ok(response),
            _ => Err(self.misfit()),
        }
    }

    fn backoff(&self) -> Option<Backoff> {
        Some(Backoff::new(std::iter::repeat(RETRY_PAUSE)))
    }
}
