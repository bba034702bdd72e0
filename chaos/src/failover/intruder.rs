//! Another client, on another node, that wants the file: every attempt and its answer are recorded.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use smb_types::{FileId, ShareAccess};
use tokio_util::sync::CancellationToken;

use super::writer::region;
use crate::checker::intruder::{Attempt, Record};
use crate::client::{ClientError, ClientIdentity, Endpoint, OpenPlan, Session, Tree, Try};

/// How often it tries.
const EVERY: Duration = Duration::from_millis(50);
/// Where in the owner's region it writes: beyond every block, so that even a success would spoil no other check.
const INSIDE: u64 = super::writer::REGION_BYTES - 4096;

/// What an intruder needs to know.
#[derive(Clone, Debug)]
pub struct Intruder {
    /// Nodes that will not be killed, or all of them.
    pub nodes: Vec<Endpoint>,
    /// The share.
    pub share: String,
    /// The file.
    pub path: String,
    /// The writer whose region it writes into.
    pub victim: u32,
    /// Who it is.
    pub identity: ClientIdentity,
    /// Time zero of the history.
    pub epoch: Instant,
}

/// What it did.
#[derive(Clone, Debug, Default)]
pub struct History {
    records: Arc<Mutex<Vec<Record>>>,
    problems: Arc<Mutex<Vec<String>>>,
}

impl History {
    /// All attempts so far.
    #[must_use]
    pub fn records(&self) -> Vec<Record> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What went wrong with the intruder itself.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        self.problems.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A connection with an open that shares everything.
struct Foothold {
    tree: Tree,
    shared: Option<FileId>,
}

impl Intruder {
    /// Milliseconds since time zero.
    fn ms(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.epoch).as_millis()).unwrap_or(u64::MAX)
    }

    /// Tries until told to stop.
    pub async fn run(self, history: History, stop: CancellationToken) {
        let mut foothold: Option<Foothold> = None;
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut round = 0;
        while !stop.is_cancelled() {
            tokio::select! {
                _ = ticks.tick() => {}
                () = stop.cancelled() => break,
            }
            round += 1;
            let current = match foothold.take() {
                Some(f) => f,
                None => match self.connect(round).await {
                    Ok(tree) => Foothold { tree, shared: None },
                    // Nobody there: only when all nodes are down, and then nobody can be robbed.
                    Err(ClientError::Connect { .. } | ClientError::Lost) => continue,
                    Err(error) if error.remedy() != crate::client::Remedy::GiveUp => continue,
                    Err(error) => {
                        history.problems.lock().unwrap_or_else(PoisonError::into_inner).push(format!("intruder's connection: {error}"));
                        continue;
                    }
                },
            };
            foothold = self.round(current, &history).await;
        }
        if let Some(f) = foothold {
            if let Some(shared) = f.shared {
                // The file is about to be checked and deleted; a lost answer changes nothing.
                _ = f.tree.close(shared, Try::default()).await;
            }
            f.tree.session.connection.sever();
        }
    }

    async fn connect(&self, round: usize) -> Result<Tree, ClientError> {
        let endpoint = self.nodes.get(round % self.nodes.len().max(1)).ok_or(ClientError::Protocol("no node for the intruder"))?;
        // The breaks of a client without oplocks are nobody's business.
        let (session, _breaks) = Session::connect(endpoint.smb, &self.identity, 0).await?;
        Tree::connect(&session, &endpoint.smb.ip().to_string(), &self.share).await
    }

    /// One attempt of each kind; None when the connection is gone.
    async fn round(&self, mut at: Foothold, history: &History) -> Option<Foothold> {
        let exclusive = OpenPlan { share_access: ShareAccess::NONE, ..OpenPlan::read_write(&self.path) };
        let from = Instant::now();
        match at.tree.create(&exclusive.request(), Try::default()).await {
            Ok(opened) => {
                self.record(history, Attempt::ExclusiveOpen, from, Ok(()))?;
                at.tree.close(opened.file_id, Try::default()).await.ok()?;
            }
            Err(error) => self.record(history, Attempt::ExclusiveOpen, from, Err(error))?,
        }
        let shared = match at.shared {
            Some(shared) => shared,
            None => {
                let plan = OpenPlan { share_access: ShareAccess::ALL, ..OpenPlan::read_write(&self.path) };
                let from = Instant::now();
                match at.tree.create(&plan.request(), Try::default()).await {
                    Ok(opened) => {
                        self.record(history, Attempt::SharedOpen, from, Ok(()))?;
                        *at.shared.insert(opened.file_id)
                    }
                    Err(error) => {
                        self.record(history, Attempt::SharedOpen, from, Err(error))?;
                        return Some(at);
                    }
                }
            }
        };
        let from = Instant::now();
        let offset = region(self.victim).offset + INSIDE;
        let written = at.tree.write(shared, offset, Bytes::from_static(b"intruder"), Try::default()).await;
        self.record(history, Attempt::LockedWrite, from, written)?;
        Some(at)
    }

    /// Notes an answer; None when there was none.
    fn record(&self, history: &History, attempt: Attempt, from: Instant, answer: Result<(), ClientError>) -> Option<()> {
        let status = match answer {
            Ok(()) => smb_types::NtStatus::SUCCESS,
            Err(ClientError::Status { status, .. }) => status,
            Err(ClientError::Lost) => return None,
            Err(error) => {
                history.problems.lock().unwrap_or_else(PoisonError::into_inner).push(error.to_string());
                return None;
            }
        };
        let record = Record { attempt, from_ms: self.ms(from), to_ms: self.ms(Instant::now()), status };
        history.records.lock().unwrap_or_else(PoisonError::into_inner).push(record);
        Some(())
    }
}
