//! While this node has authority: gives leases, looks after the others, and declares deaths.
//!
//! Authority is taken by the leader with an entry of the log. Every renewal is answered only after a linearizable read has shown that it
//! still stands, so no lease is given after somebody else took it; whoever takes it waits one full lease before silence counts as death.
//! A refused connection to a node's own port is a death certificate and needs no waiting.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use persistence_model::{Incarnation, Node, NodeId, Outcome};
use raftstore::{CallError, JoinRequest, Passed, Point, Probe};
use tokio::time::{Instant, sleep};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::call::{self, Answer, Call};
use crate::entry::Entry;
use crate::fence;
use crate::lease::table::{LeaseTable, Renewal};
use crate::store::Inner;

/// Longest wait for the entry that takes authority.
const TAKE_MAX: Duration = Duration::from_secs(2);
/// Longest wait for one declaration of death.
const DECLARE_MAX: Duration = Duration::from_secs(5);
/// Pause before something that failed is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(25);
/// Pause before a fence that failed is tried again.
const FENCE_PAUSE: Duration = Duration::from_secs(2);
/// An attending call is answered after this time, and asked again.
const ATTEND: Duration = Duration::from_secs(8);
const ATTEND_MAX: Duration = Duration::from_secs(10);
/// Looks at a port whose node's connection has just ended: a dying process closes its sockets one after the other.
const LOOKS_AFTER_LOSS: u32 = 12;
/// Looks at a port for any other reason.
const LOOKS_ON_SUSPICION: u32 = 4;
/// First and longest pause between two looks.
const LOOK_PAUSE: Duration = Duration::from_millis(1);
const LOOK_PAUSE_MAX: Duration = Duration::from_millis(100);
/// A suspicion that nobody takes is dropped after this time.
const REPORT_MAX: Duration = Duration::from_secs(2);
/// One try to tell a suspicion.
const REPORT_TRY: Duration = Duration::from_millis(500);

/// Connections that are kept to notice a death by their end.
type Attended = BTreeMap<(NodeId, Incarnation), DropGuard>;

impl Inner {
    /// Takes authority when this node leads, and does its duty while it has it.
    pub(crate) async fn guard(self: Arc<Self>) {
        let stop = self.stop.clone();
        stop.run_until_cancelled(async {
            let mut leader = self.raft().watch_leader();
            let (mut authority, mut lives) = (self.engine.watch_authority(), self.engine.watch_lives());
            let mut attended = Attended::new();
            loop {
                leader.mark_unchanged();
                authority.mark_unchanged();
                lives.mark_unchanged();
                let claimed = self.claim().await;
                let pause = match self.own_authority() {
                    Some(index) => self.look(index, &mut attended),
                    None => {
                        attended.clear();
                        self.table.lock().take();
                        if claimed { Duration::from_secs(3600) } else { RETRY_PAUSE }
                    }
                };
                tokio::select! {
                    () = sleep(pause) => {}
                    changed = leader.changed() => if changed.is_err() { return },
                    _ = authority.changed() => {}
                    _ = lives.changed() => {}
                    () = self.warden_wake.notified() => {}
                }
            }
        })
        .await;
    }

    /// The authority that this process has taken, if it is the present one as far as this replica knows.
    pub(crate) fn own_authority(&self) -> Option<u64> {
        let present = self.engine.authority()?;
        let taken = self.table.lock().as_ref().map(LeaseTable::authority)?;
        (present.index == taken && present.node == self.node).then_some(taken)
    }

    /// Takes authority if this node leads and does not have it. Says whether everything is as it should be.
    async fn claim(&self) -> bool {
        let leads = self.raft().leader().is_some_and(|leader| leader.node_id == self.node.0);
        if !leads || self.own_authority().is_some() {
            return true;
        }
        match self.take_authority(TAKE_MAX).await {
            Ok(index) => {
                tracing::info!(node = self.node.0, index, "this node gives the leases now");
                let (lease_ms, margin_ms) = (self.config.lease.as_millis(), self.config.margin.as_millis());
                let ms = |millis: u128| u64::try_from(millis).unwrap_or(u64::MAX);
                *self.table.lock() = Some(LeaseTable::new(index, ms(lease_ms), ms(margin_ms), self.now_ms()));
                self.own_authority().is_some()
            }
            Err(error) => {
                tracing::debug!(%error, "authority was not taken");
                false
            }
        }
    }

    /// Follows the records, condemns the silent, looks at the ports of the late. Returns how long nothing has to be done.
    fn look(self: &Arc<Self>, index: u64, attended: &mut Attended) -> Duration {
        let now_ms = self.now_ms();
        let (silent, overdue, next_ms) = {
            let mut table = self.table.lock();
            let Some(table) = table.as_mut() else { return RETRY_PAUSE };
            table.follow(now_ms, self.lives());
            let silent = table.condemn_silent(self.node, now_ms);
            (silent, table.overdue(self.node, now_ms), table.next_look_ms(self.node, now_ms))
        };
        for (node, incarnation) in silent {
            tracing::warn!(node = node.0, incarnation = incarnation.0, "a node has been silent for longer than its lease");
            self.tasks.spawn(self.clone().bury_silent(index, node, incarnation));
        }
        for node in overdue {
            self.tasks.spawn(self.clone().inquire(node, 1));
        }
        self.attend_all(attended);
        self.go_on_ending(index);
        Duration::from_millis(next_ms.saturating_sub(now_ms))
    }

    fn lives(&self) -> Vec<(NodeId, Incarnation)> {
        self.engine.with_state(|state| state.nodes().filter(|node| node.is_live()).map(|node| (node.id, node.incarnation)).collect())
    }

    fn is_live(&self, node: NodeId, incarnation: Incarnation) -> bool {
        self.engine.with_state(|state| state.node(node).is_some_and(|node| node.is_live() && node.incarnation == incarnation))
    }

    fn attend_all(self: &Arc<Self>, attended: &mut Attended) {
        let live = self.lives();
        attended.retain(|life, _| live.contains(life));
        for (node, incarnation) in live {
            if node != self.node && !attended.contains_key(&(node, incarnation)) {
                let over = CancellationToken::new();
                self.tasks.spawn(self.clone().attend(node, over.clone()));
                attended.insert((node, incarnation), over.drop_guard());
            }
        }
    }

    /// Keeps a call waiting at a node: it ends with the node's process.
    async fn attend(self: Arc<Self>, node: NodeId, over: CancellationToken) {
        let attend = async {
            loop {
                match self.raft().call(node.0, call::encode(&Call::Attend), ATTEND_MAX).await {
                    Ok(_) | Err(CallError::Timeout { .. }) => sleep(LOOK_PAUSE).await,
                    Err(error) => {
                        tracing::debug!(node = node.0, %error, "a node's connection ended");
                        self.clone().inquire(node, LOOKS_AFTER_LOSS).await;
                        sleep(LOOK_PAUSE_MAX).await;
                    }
                }
            }
        };
        tokio::select! {
            () = attend => {}
            () = over.cancelled() => {}
            () = self.stop.cancelled() => {}
        }
    }

    /// Looks at a node's port, a few times. Refused twice in a row, its process is dead.
    async fn inquire(self: Arc<Self>, node: NodeId, looks: u32) {
        let Some(_turn) = Turn::begin(&self.inquiries, node) else { return };
        let Some(index) = self.own_authority() else { return };
        // The life is known before the look: whatever refuses afterwards, this life does not run.
        let Some((_, incarnation)) = self.lives().into_iter().find(|(live, _)| *live == node && node != self.node) else { return };
        let (mut looks, mut refused, mut pause) = (looks, 0, LOOK_PAUSE);
        while refused < 2 {
            match self.raft().probe(node.0).await {
                Probe::Refused => refused += 1,
                Probe::Silent => return,
                Probe::Alive => {
                    refused = 0;
                    looks -= 1;
                    if looks == 0 {
                        return;
                    }
                }
            }
            if self.stop.is_cancelled() {
                return;
            }
            sleep(pause).await;
            pause = (pause * 2).min(LOOK_PAUSE_MAX);
        }
        let news = self.table.lock().as_mut().is_some_and(|table| table.authority() == index && table.condemn(node, incarnation));
        if news {
            tracing::warn!(node = node.0, incarnation = incarnation.0, "a node's port refuses connections: its process is dead");
            self.tasks.spawn(self.clone().declaration(index, node, incarnation));
        }
    }

    /// Closes the fence behind a silent node and declares it dead.
    async fn bury_silent(self: Arc<Self>, index: u64, node: NodeId, incarnation: Incarnation) {
        while self.own_authority() == Some(index) && self.is_live(node, incarnation) {
            // A former leader believes everybody silent. It must not fence anybody: this read fails where it is cut off, and shows
            // it the new authority where it is not.
            if self.raft().read_barrier(self.config.lease).await.is_err() {
                sleep(RETRY_PAUSE).await;
                continue;
            }
            let record = self.engine.with_state(|state| state.node(node).cloned());
            let Some(record) = record.filter(|_| self.own_authority() == Some(index) && self.is_live(node, incarnation)) else { return };
            match self.close_fence(&record).await {
                Ok(()) => return self.declare(index, node, incarnation).await,
                Err(error) => {
                    tracing::error!(node = node.0, %error, "the fence behind a silent node did not close; its handles stay with it");
                    if self.stop.run_until_cancelled(sleep(FENCE_PAUSE)).await.is_none() {
                        return;
                    }
                }
            }
        }
    }

    async fn close_fence(&self, node: &Node) -> Result<(), fence::FenceError> {
        let closing = fence::close(&self.config.fence, node);
        self.stop.run_until_cancelled(closing).await.unwrap_or(Err(fence::FenceError::Timeout))
    }

    /// [`Inner::declare`] as a value: proposing may lead to inquiries, and an inquiry to a proposal.
    fn declaration(self: Arc<Self>, index: u64, node: NodeId, incarnation: Incarnation) -> BoxFuture<'static, ()> {
        async move { self.declare(index, node, incarnation).await }.boxed()
    }

    /// Declares a condemned life dead, under the authority that condemned it.
    async fn declare(self: &Arc<Self>, index: u64, node: NodeId, incarnation: Incarnation) {
        while self.own_authority() == Some(index) && self.is_live(node, incarnation) && !self.stop.is_cancelled() {
            let entry = Entry::Guarded { authority: index, command: self.end_of(node, incarnation) };
            match self.propose(entry, DECLARE_MAX).await {
                Ok(Outcome::Done) => {
                    tracing::warn!(node = node.0, incarnation = incarnation.0, "a node was declared dead");
                    return;
                }
                Ok(outcome) => {
                    tracing::debug!(node = node.0, ?outcome, "a declaration of death was void");
                    return;
                }
                Err(error) => {
                    tracing::debug!(node = node.0, %error, "a declaration of death has to be repeated");
                    sleep(RETRY_PAUSE).await;
                }
            }
        }
    }

    /// Tells a suspicion to whoever has authority.
    pub(crate) async fn report(self: &Arc<Self>, node: NodeId) {
        let deadline = Instant::now() + REPORT_MAX;
        while Instant::now() < deadline {
            if node == self.node || !self.lives().iter().any(|(live, _)| *live == node) {
                return;
            }
            if self.own_authority().is_some() {
                return self.clone().inquire(node, LOOKS_ON_SUSPICION).await;
            }
            if let Some(leader) = self.raft().leader().filter(|leader| leader.node_id != self.node.0) {
                let told = self.raft().call(leader.node_id, call::encode(&Call::Suspect { node }), REPORT_TRY).await;
                if told.ok().and_then(|bytes| call::decode(&bytes)) == Some(Answer::Done) {
                    return;
                }
            }
            sleep(RETRY_PAUSE).await;
        }
    }

    /// Answers a call of another node, or of this one.
    pub(crate) async fn answer(self: &Arc<Self>, from: NodeId, call: Call) -> Answer {
        match call {
            Call::Renew { node, .. } | Call::RenewFor { node, .. } if node != from => Answer::Nonsense,
            Call::Renew { node, incarnation } => self.renew(node, incarnation, Answer::Renewed).await,
            Call::RenewFor { node, incarnation } => {
                let lease_ms = u64::try_from(self.config.lease.as_millis()).unwrap_or(u64::MAX);
                self.renew(node, incarnation, Answer::RenewedFor { lease_ms }).await
            }
            Call::Suspect { node } => {
                if self.own_authority().is_none() {
                    return Answer::NotMine;
                }
                self.tasks.spawn(self.clone().inquire(node, LOOKS_ON_SUSPICION));
                Answer::Done
            }
            Call::Attend => {
                self.stop.run_until_cancelled(sleep(ATTEND)).await;
                Answer::Done
            }
            Call::Admit { secret, node_id, address, public_key } => {
                self.admit_for_another(JoinRequest { secret, node_id, address, public_key }).await
            }
            Call::Certify { public_key } => self.certify(from, &public_key),
            Call::Certificates => self.report_certificates(),
            Call::Leave => {
                self.leave().await;
                Answer::Done
            }
            Call::Program { question } => self.answer_program(from, question).await,
        }
    }

    async fn renew(&self, node: NodeId, incarnation: Incarnation, granted: Answer) -> Answer {
        let renewal = self.renewal(node, incarnation).await;
        if matches!(self.config.faults.reach(self.node.0, Point::RenewBeforeAnswer).await, Passed::Lost | Passed::Failed) {
            return Answer::NotMine;
        }
        match renewal {
            Some(Renewal::Granted) => granted,
            Some(Renewal::Over) => Answer::Over,
            None => Answer::NotMine,
        }
    }

    /// What the table says to a renewal; `None` when this node has no authority to say anything.
    async fn renewal(&self, node: NodeId, incarnation: Incarnation) -> Option<Renewal> {
        let index = self.own_authority()?;
        // After this, the replica shows every authority that was taken before the question came in.
        if self.raft().read_barrier(self.config.lease / 4).await.is_err() || self.own_authority() != Some(index) {
            return None;
        }
        let now_ms = self.now_ms();
        let mut table = self.table.lock();
        let table = table.as_mut().filter(|table| table.authority() == index)?;
        table.follow(now_ms, self.lives());
        Some(table.renew(node, incarnation, now_ms))
    }
}

/// One task of a kind per node at a time.
pub(crate) struct Turn<'a> {
    nodes: &'a Mutex<BTreeSet<NodeId>>,
    node: NodeId,
}

impl<'a> Turn<'a> {
    /// `None` when one is at it.
    pub(crate) fn begin(nodes: &'a Mutex<BTreeSet<NodeId>>, node: NodeId) -> Option<Self> {
        let first = nodes.lock().insert(node);
        // Made only when it is the first: dropping one ends its turn.
        first.then(|| Self { nodes, node })
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.nodes.lock().remove(&self.node);
    }
}
