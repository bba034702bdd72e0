//! The addresses at which clients reach this node: their listeners, and their change while it serves.
//!
//! The node's record says which there are. A change opens the new ones first, then has the record changed, and closes the lost ones when
//! that is applied: what clients are told is true at every moment. When a process starts, its configuration counts.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use persistence::Store;
use persistence_model::{Command, Event, Outcome, Rejection};
use serde::{Deserialize, Serialize};
use smb_server::Server;
use tokio::{
    net::TcpListener,
    sync::{broadcast::error::RecvError, watch},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::bind::bind;

/// Pause before an address that is still taken is tried again.
const BIND_PAUSE: Duration = Duration::from_millis(100);
/// Longest wait until the connections to an address that is lost have ended.
const CLOSE_MAX: Duration = Duration::from_secs(10);

/// What one node's program asks another one's, as JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Question {
    /// Change your addresses.
    Listen {
        /// To be opened.
        add: Vec<SocketAddr>,
        /// To be closed.
        remove: Vec<SocketAddr>,
    },
}

/// The answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// Clients reach the node there now.
    Listens {
        /// All its addresses.
        smb: Vec<SocketAddr>,
    },
    /// Nothing was changed.
    Refused {
        /// Why, and what to do.
        because: String,
    },
}

/// The SMB listeners of a node.
pub struct Doors {
    store: Store,
    /// Taken already, without anybody who accepts.
    bound: Mutex<BTreeMap<SocketAddr, TcpListener>>,
    /// Those that there should be.
    wanted: watch::Sender<BTreeSet<SocketAddr>>,
    /// Those that there are; one that is being closed is there until its last connection has ended.
    open: watch::Sender<BTreeSet<SocketAddr>>,
    /// One change at a time.
    turn: tokio::sync::Mutex<()>,
}

impl Doors {
    /// With what the configuration names, which is bound already.
    #[must_use]
    pub fn new(store: Store, bound: BTreeMap<SocketAddr, TcpListener>) -> Arc<Self> {
        let wanted = watch::Sender::new(bound.keys().copied().collect());
        Arc::new(Self { store, bound: Mutex::new(bound), wanted, open: watch::Sender::default(), turn: tokio::sync::Mutex::default() })
    }

    /// Follows the record until cancelled.
    pub async fn follow(self: Arc<Self>, stop: CancellationToken) {
        let own = self.store.node();
        let mut news = self.store.subscribe_news();
        loop {
            let event = tokio::select! {
                () = stop.cancelled() => return,
                event = news.recv() => event,
            };
            match event.as_deref() {
                Ok(Event::NodeAddresses { node }) if *node == own => self.look(),
                Ok(_) => {}
                Err(RecvError::Lagged(_)) => self.look(),
                Err(RecvError::Closed) => return,
            }
        }
    }

    /// Wants what the record of this life says.
    fn look(&self) {
        let Some(life) = self.store.incarnation() else { return };
        let recorded: Option<BTreeSet<SocketAddr>> = self.store.with_state(|state| {
            let node = state.node(self.store.node()).filter(|node| node.is_live() && node.incarnation == life)?;
            Some(node.addresses.smb.iter().copied().collect())
        });
        if let Some(recorded) = recorded {
            self.wanted.send_if_modified(|wanted| {
                let is_new = *wanted != recorded;
                *wanted = recorded;
                is_new
            });
        }
    }

    /// Serves one life at all its addresses; returns when it has ended and all connections have.
    pub async fn serve(&self, server: &Arc<Server>, ended: CancellationToken) {
        let tasks = TaskTracker::new();
        let mut served: BTreeMap<SocketAddr, CancellationToken> = BTreeMap::new();
        let mut changes = self.wanted.subscribe();
        self.look();
        while !ended.is_cancelled() {
            let wanted = changes.borrow_and_update().clone();
            served.retain(|address, token| {
                let stays = wanted.contains(address);
                if !stays {
                    token.cancel();
                }
                stays
            });
            let mut is_missing = false;
            for address in wanted {
                if served.contains_key(&address) {
                    continue;
                }
                match self.listener(address).await {
                    Ok(listener) => {
                        let token = ended.child_token();
                        self.open.send_modify(|open| {
                            open.insert(address);
                        });
                        tasks.spawn(accept(self.open.clone(), Arc::clone(server), address, listener, token.clone()));
                        served.insert(address, token);
                    }
                    Err(failure) => {
                        tracing::warn!(%failure, "trying again");
                        is_missing = true;
                    }
                }
            }
            tokio::select! {
                () = ended.cancelled() => {}
                _ = changes.changed() => {}
                () = tokio::time::sleep(BIND_PAUSE), if is_missing => {}
            }
        }
        tasks.close();
        tasks.wait().await;
    }

    async fn listener(&self, address: SocketAddr) -> Result<TcpListener, crate::Failure> {
        let bound = self.bound.lock().remove(&address);
        match bound {
            Some(listener) => Ok(listener),
            None => bind("SMB", address).await,
        }
    }

    /// Has this node reached at other addresses: opens the new ones, has the record changed, and closes the lost ones.
    ///
    /// # Errors
    /// Says why nothing was changed, and what to do.
    pub async fn change(&self, add: Vec<SocketAddr>, remove: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, String> {
        let _turn = self.turn.lock().await;
        let node = self.store.node();
        let Some(by) = self.store.incarnation().filter(|_| self.store.lease_valid()) else {
            return Err(format!("node {node} does not serve at the moment: try again when `holdfast status` shows it up"));
        };
        let mut opened = Vec::new();
        for address in &add {
            if self.wanted.borrow().contains(address) || opened.contains(address) {
                continue;
            }
            match bind("SMB", *address).await {
                Ok(listener) => {
                    self.bound.lock().insert(*address, listener);
                    opened.push(*address);
                }
                Err(failure) => {
                    self.forget(&opened);
                    return Err(format!("node {node}: {}", failure.message));
                }
            }
        }
        let outcome = self.store.propose(Command::NodeListen { node, by, add, remove }).await;
        let because = match outcome {
            Ok(Outcome::Done) => None,
            Ok(Outcome::Rejected(Rejection::Exists)) => Some("another node that lives has one of these addresses".to_owned()),
            Ok(Outcome::Rejected(Rejection::LastAddress)) => {
                Some(format!("node {node} would have no address left for its clients: add one, or drain it and stop it"))
            }
            Ok(Outcome::Rejected(rejection)) => Some(rejection.to_string()),
            Ok(outcome) => Some(format!("the cluster answered {outcome:?}")),
            Err(error) => Some(error.to_string()),
        };
        if let Some(because) = because {
            self.forget(&opened);
            return Err(because);
        }
        self.look();
        let wanted = self.wanted.borrow().clone();
        // Longer than that a connection does not hold up the answer; it is being ended.
        let settled = tokio::time::timeout(CLOSE_MAX, self.open.subscribe().wait_for(|open| *open == wanted)).await.is_ok();
        tracing::info!(?wanted, settled, "clients reach this node at other addresses");
        Ok(wanted.into_iter().collect())
    }

    fn forget(&self, opened: &[SocketAddr]) {
        let mut bound = self.bound.lock();
        for address in opened {
            bound.remove(address);
        }
    }

    /// Answers another node's program.
    pub async fn answer(&self, question: Question) -> Reply {
        let Question::Listen { add, remove } = question;
        match self.change(add, remove).await {
            Ok(smb) => Reply::Listens { smb },
            Err(because) => Reply::Refused { because },
        }
    }
}

/// Accepts at one address until `stop` fires; it is open until the last connection has ended.
async fn accept(
    open: watch::Sender<BTreeSet<SocketAddr>>,
    server: Arc<Server>,
    address: SocketAddr,
    listener: TcpListener,
    stop: CancellationToken,
) {
    smb_server::listen(server, listener, stop).await;
    open.send_modify(|open| {
        open.remove(&address);
    });
}
