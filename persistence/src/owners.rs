//! Shares with an owner that does not serve, or is being drained, go to a node that does. Only where authority is.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use persistence_model::{Command, Event, NodeId, Outcome, Rejection, ShareId};
use tokio::sync::broadcast::{Receiver, error::RecvError};

use crate::entry::Entry;
use crate::error::StoreError;
use crate::store::{Inner, Store};

/// Longest time between two looks: authority may have been taken after the owner was declared dead.
const LOOK_PAUSE: Duration = Duration::from_millis(500);
/// Longest wait for one share to be given to another node.
const GIVE_MAX: Duration = Duration::from_secs(5);
/// Shares that are given at once.
const GIVEN_AT_ONCE_MAX: usize = 64;

impl Store {
    /// Gives an asymmetric share to a node that serves. When this returns, every node knows its new owner.
    ///
    /// # Errors
    /// There is no such share or node, the share is not asymmetric, the node does not serve, or the cluster is at a format level without owners.
    pub async fn move_share(&self, share: ShareId, to: NodeId) -> Result<(), StoreError> {
        match self.propose(Command::ShareMove { share, to: Some(to), instead_of: None }).await? {
            Outcome::Done => Ok(()),
            Outcome::Rejected(Rejection::NoOwner) => {
                Err(StoreError::Refused(format!("node {to} is down or being drained: name one that serves")))
            }
            Outcome::Rejected(Rejection::NoSuchNode) => Err(StoreError::Refused(format!("there is no node {to}"))),
            Outcome::Rejected(rejection) => Err(StoreError::Refused(rejection.to_string())),
            outcome => Err(StoreError::Refused(format!("the cluster answered {outcome:?}"))),
        }
    }
}

impl Inner {
    /// Looks when something has happened to a node or a share, and now and then.
    pub(crate) async fn keep_owners(self: Arc<Self>) {
        let stop = self.stop.clone();
        stop.run_until_cancelled(async {
            let mut news = self.engine.fanout.subscribe_news();
            loop {
                if let Some(authority) = self.own_authority() {
                    self.give_away(authority).await;
                }
                tokio::select! {
                    () = tokio::time::sleep(LOOK_PAUSE) => {}
                    () = something_moved(&mut news) => {}
                }
            }
        })
        .await;
    }

    /// Gives every share whose owner cannot serve it to another node, under the authority that has seen it.
    async fn give_away(self: &Arc<Self>, authority: u64) {
        let due = self.engine.with_state(persistence_model::State::shares_without_owner);
        for some in due.chunks(GIVEN_AT_ONCE_MAX) {
            join_all(some.iter().map(|(share, owner)| self.give_share(authority, *share, *owner))).await;
        }
    }

    async fn give_share(self: &Arc<Self>, authority: u64, share: ShareId, owner: NodeId) {
        let command = Command::ShareMove { share, to: None, instead_of: Some(owner) };
        match self.propose(Entry::Guarded { authority, command }, GIVE_MAX).await {
            Ok(Outcome::Done) => tracing::info!(share = share.0, from = owner.0, "a share has another owner, which serves"),
            // An operator, or the next authority, was faster; or the last other node is gone.
            Ok(outcome) => tracing::debug!(share = share.0, ?outcome, "a share stays where it is"),
            Err(error) => tracing::debug!(share = share.0, %error, "a share could not be given to another node yet"),
        }
    }
}

/// Waits for an event that may leave a share without an owner that serves, or bring a node that could be one.
async fn something_moved(news: &mut Receiver<Arc<Event>>) {
    loop {
        match news.recv().await {
            Ok(event) if concerns_owners(&event) => return,
            Ok(_) => {}
            // What was missed is seen by looking.
            Err(RecvError::Lagged(_)) => return,
            // The store stops, and ends the task that waits here.
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

fn concerns_owners(event: &Event) -> bool {
    matches!(event, Event::NodeUp { .. } | Event::NodeDown { .. } | Event::NodeDraining { .. } | Event::ShareChanged { .. })
}
