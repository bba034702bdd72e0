//! The way of a command: into the log, applied here, and then everywhere where it takes something away.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::future::join_all;
use persistence_model::{Applied, Class, Command, DisconnectReason, NodeId, Open, OpenId, Outcome, RaftGroup, Rejection};
use raftstore::CallError;
use tokio::time::Instant;

use crate::entry::{Entry, EntryOutcome};
use crate::error::StoreError;
use crate::store::{Inner, Store};

/// One try to have another node's replica confirmed.
const CONFIRM_TRY: Duration = Duration::from_millis(1000);
/// Pause after a node could not be asked.
const CONFIRM_PAUSE: Duration = Duration::from_millis(10);

impl Store {
    /// Proposes a command. Its outcome comes back when it is committed in its class, applied here, and, if it took rights from opens on
    /// other nodes, applied on each of them that is alive. A node that does not answer is waited for until it is declared dead.
    pub async fn propose(&self, command: Command) -> Result<Outcome, StoreError> {
        self.propose_within(command, self.inner.config.proposal_timeout).await
    }

    /// As [`Store::propose`], with a limit of one's own.
    pub async fn propose_within(&self, command: Command, timeout: Duration) -> Result<Outcome, StoreError> {
        self.inner.propose(Entry::Plain(command), timeout).await
    }
}

impl Inner {
    /// Proposes an entry that holds a command. A condition that does not hold is `StaleIncarnation`: the proposer's time is over.
    pub(crate) async fn propose(self: &Arc<Self>, entry: Entry, timeout: Duration) -> Result<Outcome, StoreError> {
        self.check_level(&entry)?;
        let deadline = Instant::now() + timeout;
        let (class, group) = match &entry {
            Entry::Plain(command) | Entry::Guarded { command, .. } => {
                self.engine.with_state(|state| (command.class(state), command.route(state).group()))
            }
            Entry::TakeAuthority { .. } | Entry::Accord(_) => (Class::Persistent, RaftGroup::HOME),
        };
        assert_eq!(group, RaftGroup::HOME, "there is one Raft group; with several, this is where one is chosen");
        if let Entry::Plain(command) = &entry {
            self.nothing_left_to_land(command, deadline).await?;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let applied = self.raft().propose(entry.encode(), raft_class(class), left).await?;
        match EntryOutcome::decode(&applied.outcome) {
            Ok(EntryOutcome::Applied { applied: inner, class: needed, news }) => {
                let Applied { outcome, interested, .. } = *inner;
                if news {
                    self.raft().tell_now(applied.index);
                }
                if needed == Class::Persistent && class != Class::Persistent {
                    // What got into the log before it has changed whose promise it touches.
                    self.made_stable(deadline).await?;
                }
                self.barrier(&applied, interested, deadline).await?;
                Ok(outcome)
            }
            Ok(EntryOutcome::Void) => Ok(Outcome::Rejected(Rejection::StaleIncarnation)),
            Ok(EntryOutcome::Taken) => Ok(Outcome::Done),
            Ok(EntryOutcome::Nonsense) => Err(StoreError::NotApplied("the command made no sense".to_owned())),
            Err(error) => panic!("this process cannot read what it wrote a moment ago: {error}"),
        }
    }

    async fn made_stable(&self, deadline: Instant) -> Result<(), StoreError> {
        self.synced_afterwards.fetch_add(1, Ordering::Relaxed);
        let left = deadline.saturating_duration_since(Instant::now());
        self.raft().make_stable(left).await.map_err(|error| match StoreError::from(error) {
            StoreError::Stopping => StoreError::Stopping,
            // The command itself was applied.
            _ => StoreError::Unknown,
        })
    }

    /// Takes authority and returns the index under which it is known.
    pub(crate) async fn take_authority(&self, timeout: Duration) -> Result<u64, StoreError> {
        let entry = Entry::TakeAuthority { node: self.node };
        Ok(self.raft().propose(entry.encode(), raftstore::Class::Persistent, timeout).await?.index)
    }

    /// Who gives an open up is asked for it by nobody any more: what still goes through it has to land before.
    async fn nothing_left_to_land(&self, command: &Command, deadline: Instant) -> Result<(), StoreError> {
        let given_up: Vec<OpenId> = match command {
            Command::CloseOpen { open, .. } => vec![*open],
            Command::DisconnectOpens { session, why } => self.engine.with_state(|state| {
                let of_session = state.opens_of_session(*session);
                // What is kept for its client is this node's no more, either.
                let loses = |open: &&Open| match why {
                    DisconnectReason::ConnectionLost | DisconnectReason::Logoff => true,
                    DisconnectReason::TreeDisconnect(opens) => opens.contains(&open.id),
                };
                of_session.filter(loses).map(|open| open.id).collect()
            }),
            // A session of another node finds nothing under way here: that node is waited for by the barrier.
            Command::SessionOpen { previous_session: Some(previous), .. } => {
                self.engine.with_state(|state| state.opens_of_session(*previous).map(|open| open.id).collect())
            }
            _ => return Ok(()),
        };
        let landed = self.engine.flights.landed_through(|open| given_up.contains(&open));
        tokio::time::timeout_at(deadline, landed).await.map_err(|_| StoreError::NotApplied("I/O through the open does not end".to_owned()))
    }

    /// Waits until each of these nodes has applied the entry, or is dead, and what clients were doing to the entry's files has landed.
    async fn barrier(self: &Arc<Self>, applied: &raftstore::Applied, interested: Vec<NodeId>, deadline: Instant) -> Result<(), StoreError> {
        let others = interested.into_iter().filter(|node| *node != self.node);
        let landed = self.engine.flights.landed(applied.index);
        let all = futures::future::join(landed, join_all(others.map(|node| self.applied_or_dead(node, applied))));
        tokio::select! {
            waited = tokio::time::timeout_at(deadline, all) => waited.map(drop).map_err(|_| StoreError::Unknown),
            () = self.stop.cancelled() => Err(StoreError::Unknown),
        }
    }

    async fn applied_or_dead(self: &Arc<Self>, node: NodeId, applied: &raftstore::Applied) {
        self.barriers_asked.fetch_add(1, Ordering::Relaxed);
        let mut lives = self.engine.watch_lives();
        let life = || self.engine.with_state(|state| state.node(node).filter(|node| node.is_live()).map(|node| node.incarnation));
        let Some(asked) = life() else { return };
        loop {
            lives.mark_unchanged();
            if life() != Some(asked) {
                return;
            }
            tokio::select! {
                confirmed = self.raft().wait_applied_on(node.0, applied, CONFIRM_TRY) => match confirmed {
                    Ok(()) => return self.engine.confirmed(node, applied.index),
                    Err(CallError::Refused { .. } | CallError::Lost { .. }) => tokio::select! {
                        () = self.report(node) => tokio::time::sleep(CONFIRM_PAUSE).await,
                        _ = lives.changed() => {}
                    },
                    Err(_) => tokio::time::sleep(CONFIRM_PAUSE).await,
                },
                _ = lives.changed() => {}
            }
        }
    }
}

fn raft_class(class: Class) -> raftstore::Class {
    match class {
        Class::Volatile => raftstore::Class::Volatile,
        Class::Durable => raftstore::Class::Durable,
        Class::Persistent => raftstore::Class::Persistent,
    }
}
