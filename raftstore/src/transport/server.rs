//! The answering side: accepts connections, checks who is there, serves requests.
//!
//! Nothing that arrives can do more than end its own connection. Connections, waiting handshakes and requests are limited.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::framing::{self, OPENING_BYTES_MAX};
use super::gate::Gate;
use super::tls::{Credentials, Shown};
use super::traffic::Counters;
use crate::config::Limits;
use crate::environment::net::{Listener, Stream};
use crate::faults::{Faults, Passed, Point};
use crate::wire::{AskToJoin, Opening, OpeningReply, Request, Response};

/// Pause after accepting failed, so that a lack of file descriptors does not become a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);
/// Pause between two log lines about failed accepts.
const ACCEPT_LINE_PAUSE: Duration = Duration::from_secs(15);

/// Connections that have not said yet who they are, at most; the oldest ends first.
const UNKNOWN_CONNECTIONS_MAX: usize = 128;

/// What the node does with what arrives.
pub(crate) trait Service: Send + Sync + 'static {
    /// Serves a request of a member.
    fn serve(self: Arc<Self>, from: u64, request: Request) -> BoxFuture<'static, Response>;
    /// Decides about a node that wants to join.
    fn join(self: Arc<Self>, join: AskToJoin) -> BoxFuture<'static, OpeningReply>;
    /// A member's connection has ended.
    fn closed(&self, from: u64);
}

/// The answering side of a node.
pub(crate) struct Server<S> {
    pub(crate) own_id: u64,
    pub(crate) cluster: Uuid,
    pub(crate) security: Arc<Credentials>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) limits: Limits,
    pub(crate) faults: Faults,
    pub(crate) counters: Arc<Counters>,
    pub(crate) service: Arc<S>,
    pub(crate) stop: CancellationToken,
}

impl<S: Service> Server<S> {
    /// Accepts connections until the node stops.
    pub(crate) async fn run(self, listener: Box<dyn Listener>) {
        let places = Arc::new(Semaphore::new(self.limits.connections_max));
        let mut unknown = VecDeque::new();
        let (mut told, mut failed) = (None::<tokio::time::Instant>, 0_u64);
        let server = Arc::new(self);
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = server.stop.cancelled() => return,
            };
            let stream = match accepted {
                Ok(stream) => stream,
                Err(err) => {
                    // One line for a shortage of descriptors that lasts, however often it is met.
                    if told.is_none_or(|told| told.elapsed() >= ACCEPT_LINE_PAUSE) {
                        told = Some(tokio::time::Instant::now());
                        tracing::warn!(%err, failed, "a connection of a peer cannot be accepted, trying again: look at the process's open files");
                        failed = 0;
                    }
                    failed += 1;
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            // Who says nothing must make room for who comes later: members say who they are within milliseconds.
            let patience = server.stop.child_token();
            unknown.push_back(patience.clone());
            if unknown.len() > UNKNOWN_CONNECTIONS_MAX
                && let Some(oldest) = unknown.pop_front()
            {
                oldest.cancel();
            }
            let (server, places) = (server.clone(), places.clone());
            tokio::spawn(async move {
                let stop = server.stop.clone();
                tokio::select! {
                    ended = server.connection(stream, patience, places) => {
                        if let Err(err) = ended {
                            tracing::debug!(%err, "a connection of a peer ended");
                        }
                    }
                    () = stop.cancelled() => {}
                }
            });
        }
    }

    async fn connection(self: Arc<Self>, stream: Stream, patience: CancellationToken, places: Arc<Semaphore>) -> io::Result<()> {
        let opened = tokio::select! {
            opened = tokio::time::timeout(self.limits.handshake, self.open(stream)) => opened,
            () = patience.cancelled() => return Err(io::ErrorKind::TimedOut.into()),
        };
        let Some((from, stream)) = opened.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?? else {
            return Ok(());
        };
        let Ok(_place) = places.try_acquire_owned() else {
            tracing::warn!(from, limit = self.limits.connections_max, "too many connections of peers: one is closed");
            return Ok(());
        };
        let _goodbye = Goodbye { service: &*self.service, from };
        let (mut input, output) = tokio::io::split(stream);
        let (answers, queue) = mpsc::channel(self.limits.requests_per_connection_max);
        let places = Arc::new(Semaphore::new(self.limits.requests_per_connection_max));
        let broken = CancellationToken::new();
        let read = async {
            loop {
                let (id, envelope) = framing::read(&mut input, self.limits.frame_bytes_max).await?;
                let request = framing::decode::<Request>(&envelope)?;
                if self.faults.is_cut(from, self.own_id) {
                    continue;
                }
                let place = places.clone().acquire_owned().await.map_err(io::Error::other)?;
                let (answers, bytes_max) = (answers.clone(), self.limits.frame_bytes_max);
                let (faults, own_id, broken) = (self.faults.clone(), self.own_id, broken.clone());
                let mut serving = self.service.clone().serve(from, request);
                // Begun here and not in the task: appends are sent one after the other and must reach the log in this order.
                let begun = futures::poll!(&mut serving);
                tokio::spawn(async move {
                    let response = match begun {
                        Poll::Ready(response) => response,
                        Poll::Pending => serving.await,
                    };
                    if matches!(faults.reach(own_id, Point::ReplyBeforeSend).await, Passed::Lost | Passed::Failed) {
                        // What a connection has taken is not lost unless it ends.
                        broken.cancel();
                        return;
                    }
                    let frame = framing::frame(id, &response, bytes_max)
                        .or_else(|_| framing::frame(id, &Response::Refused("the answer is too long".to_owned()), bytes_max));
                    if let Ok(frame) = frame {
                        // The connection may have ended in the meantime.
                        drop(answers.send(frame).await);
                    }
                    drop(place);
                });
            }
        };
        tokio::select! {
            ended = read => ended,
            ended = framing::write_all(output, queue, &self.counters.answers) => ended,
            () = broken.cancelled() => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// TLS where it is needed, then the opening. Returns who is there, or nothing when all is said.
    async fn open(&self, stream: Stream) -> io::Result<Option<(u64, Stream)>> {
        let (mut stream, shown) = self.security.accept(stream).await?;
        let (_, envelope) = framing::read(&mut stream, OPENING_BYTES_MAX).await?;
        let (reply, from) = match framing::decode::<Opening>(&envelope)? {
            Opening::Hello { oldest, newest, cluster, from, to } => match self.check(&shown, oldest, newest, cluster, from, to) {
                Ok(version) => (OpeningReply::Welcome { version }, Some(from)),
                Err(because) => {
                    if self.gate.has_refused(from, &because) {
                        tracing::warn!(from, because, "a peer is refused");
                    }
                    (OpeningReply::Refused(because), None)
                }
            },
            Opening::Join(_) => {
                let because = "this program is older than the cluster's: use the same version as its members";
                (OpeningReply::Refused(because.to_owned()), None)
            }
            Opening::AskToJoin(join) => (self.service.clone().join(join).await, None),
        };
        let frame = framing::frame(0, &reply, OPENING_BYTES_MAX).map_err(|_| io::Error::other("the answer to an opening is too long"))?;
        tokio::io::AsyncWriteExt::write_all(&mut stream, &frame).await?;
        tokio::io::AsyncWriteExt::flush(&mut stream).await?;
        match from {
            Some(from) => Ok(Some((from, stream))),
            None => {
                tokio::io::AsyncWriteExt::shutdown(&mut stream).await?;
                Ok(None)
            }
        }
    }

    fn check(&self, shown: &Shown, oldest: u16, newest: u16, cluster: u128, from: u64, to: u64) -> Result<u16, String> {
        if cluster != self.cluster.as_u128() {
            return Err(format!("this is a node of cluster {}, not of {}", self.cluster, Uuid::from_u128(cluster)));
        }
        if to != self.own_id {
            return Err(format!("this is node {}, not node {to}", self.own_id));
        }
        if !shown.speaks_for(self.cluster, from) {
            return Err(format!("the certificate is not that of node {from}"));
        }
        self.gate.admit(from, oldest, newest)
    }
}

/// Tells the service that a member's connection has ended, however it ended.
struct Goodbye<'a, S: Service> {
    service: &'a S,
    from: u64,
}

impl<S: Service> Drop for Goodbye<'_, S> {
    fn drop(&mut self) {
        self.service.closed(self.from);
    }
}
