//! A share of a cluster, and the channel to it that is replaced when its node goes.
//!
//! Knows the nodes, the user and the share; knows nothing of handles.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use smb_proto::message::oplock_break::{LeaseBreakAck, OplockBreakResponse};
use smb_types::{LeaseKey, LeaseState, NtStatus};
use tokio::sync::mpsc;

use super::connection::SeverOnDrop;
use super::error::{ClientError, Remedy};
use super::retry::RetryPolicy;
use super::session::{ClientIdentity, Session};
use super::timeline::{Event, Timeline};
use super::tree::Tree;
use super::watch::Watch;

/// How long a node may take from the first byte to a connected share; another one is tried then.
const CHANNEL_LIMIT: Duration = Duration::from_secs(5);
/// "No wish" of where to go next.
const NO_WISH: usize = usize::MAX;

/// Where one node of the cluster is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The node's id.
    pub id: u64,
    /// Its SMB address.
    pub smb: SocketAddr,
    /// Its endpoint mapper; None where there is no witness.
    pub mapper: Option<SocketAddr>,
}

/// What to mount, and as whom.
#[derive(Clone, Debug)]
pub struct MountOptions {
    /// The nodes.
    pub nodes: Vec<Endpoint>,
    /// The name of the cluster.
    pub net_name: String,
    /// The share.
    pub share: String,
    /// Who we are.
    pub identity: ClientIdentity,
    /// Register with the witness where the share calls for it.
    pub witness: bool,
    /// How long to try before the application is told.
    pub patience: Duration,
    /// The pace of further tries.
    pub retry: RetryPolicy,
}

impl MountOptions {
    /// Usual options: witness on, a patience of 60 s.
    #[must_use]
    pub fn new(nodes: Vec<Endpoint>, net_name: &str, share: &str, identity: ClientIdentity) -> Self {
        Self {
            nodes,
            net_name: net_name.to_owned(),
            share: share.to_owned(),
            identity,
            witness: true,
            patience: Duration::from_secs(60),
            retry: RetryPolicy::Eager,
        }
    }
}

/// A live connection to the share, on one node.
#[derive(Debug)]
pub struct Channel {
    /// Counts channels: a handle that was attached to an older one must be reclaimed.
    pub generation: u64,
    /// Index of the node among the mount's.
    pub node: usize,
    /// The node's id.
    pub node_id: u64,
    /// The share.
    pub tree: Tree,
    /// ChannelSequence of the requests on this channel.
    pub sequence: u16,
}

impl Channel {
    /// Tells whether requests still go through.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        !self.tree.session.connection.is_closed()
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.tree.session.connection.sever();
    }
}

/// A lease as the server last told it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeldLease {
    /// State.
    pub state: LeaseState,
    /// Epoch.
    pub epoch: u16,
}

/// Leases of one client by key; breaks change them.
pub(super) type Leases = Arc<Mutex<BTreeMap<LeaseKey, HeldLease>>>;

/// A share of a cluster.
#[derive(Debug)]
pub struct Mount {
    /// What was mounted.
    pub options: Arc<MountOptions>,
    /// What happened.
    pub timeline: Timeline,
    pub(super) leases: Leases,
    current: Mutex<Option<Arc<Channel>>>,
    /// Held by whoever makes a new channel.
    maker: tokio::sync::Mutex<Maker>,
    wish: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct Maker {
    generations: u64,
    /// The node to try first.
    next: usize,
    previous_session_id: u64,
    reported_loss: u64,
}

impl Mount {
    /// Connects to the share through node `first` (an index), or through any other if that one does not answer.
    pub async fn connect(options: MountOptions, first: usize, timeline: Timeline) -> Result<Arc<Self>, ClientError> {
        let maker = Maker { generations: 0, next: first, previous_session_id: 0, reported_loss: 0 };
        let mount = Arc::new(Self {
            options: Arc::new(options),
            timeline,
            leases: Leases::default(),
            current: Mutex::new(None),
            maker: tokio::sync::Mutex::new(maker),
            wish: Arc::new(AtomicUsize::new(NO_WISH)),
        });
        mount.channel().await?;
        Ok(mount)
    }

    /// The channel if it lives.
    #[must_use]
    pub fn current(&self) -> Option<Arc<Channel>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone().filter(|c| c.is_alive())
    }

    /// The channel; a new one, on another node if need be, when the old one is gone.
    pub async fn channel(&self) -> Result<Arc<Channel>, ClientError> {
        if let Some(channel) = self.current() {
            return Ok(channel);
        }
        let mut maker = self.maker.lock().await;
        if let Some(channel) = self.current() {
            return Ok(channel);
        }
        self.note_loss(&mut maker);
        let deadline = Instant::now() + self.options.patience;
        let mut round = 0;
        loop {
            let mut last = ClientError::Lost;
            for node in self.candidates(&maker) {
                let opened = tokio::time::timeout(CHANNEL_LIMIT, self.open_channel(&mut maker, node)).await;
                match opened.unwrap_or(Err(ClientError::Lost)) {
                    Ok(channel) => return Ok(channel),
                    Err(error) => {
                        tracing::debug!(node, %error, "no channel there");
                        let wait_helps = error.remedy() != Remedy::GiveUp || error.status() == Some(NtStatus::BAD_NETWORK_NAME);
                        if !wait_helps {
                            return Err(error);
                        }
                        last = error;
                    }
                }
            }
            if Instant::now() >= deadline {
                return Err(ClientError::Patience { after_ms: self.options.patience.as_millis(), last: last.to_string() });
            }
            round += 1;
            tokio::time::sleep(self.options.retry.wait(round)).await;
        }
    }

    fn note_loss(&self, maker: &mut Maker) {
        let lost = self.current.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(channel) = lost else { return };
        if maker.reported_loss < channel.generation {
            maker.reported_loss = channel.generation;
            self.timeline.note(Event::ConnectionLost { node: channel.node_id });
        }
        // Anywhere but where we were.
        maker.next = (channel.node + 1) % self.options.nodes.len().max(1);
    }

    /// All nodes, the wished one first, then in a circle: where we were comes last.
    fn candidates(&self, maker: &Maker) -> Vec<usize> {
        let count = self.options.nodes.len();
        let wish = self.wish.swap(NO_WISH, Ordering::Relaxed);
        let mut order: Vec<usize> = (0..count).map(|i| (maker.next + i) % count).collect();
        if wish < count {
            order.retain(|n| *n != wish);
            order.insert(0, wish);
        }
        order
    }

    // MS-SMB2 3.2.4.2: the same ClientGuid everywhere, and the lost session's id, so that the server ends what is left of it.
    async fn open_channel(&self, maker: &mut Maker, node: usize) -> Result<Arc<Channel>, ClientError> {
        let endpoint = *self.options.nodes.get(node).ok_or(ClientError::Protocol("no such node"))?;
        let (session, breaks) = Session::connect(endpoint.smb, &self.options.identity, maker.previous_session_id).await?;
        self.timeline.note(Event::Session { node: endpoint.id });
        let guard = SeverOnDrop::new(&session.connection);
        let tree = Tree::connect(&session, &endpoint.smb.ip().to_string(), &self.options.share).await?;
        guard.disarm();
        maker.generations += 1;
        maker.previous_session_id = session.session_id;
        maker.next = node;
        // MS-SMB2 3.2.4.1.5: each change of channel steps the sequence; it wraps by definition.
        let [low, high, ..] = (maker.generations - 1).to_le_bytes();
        let sequence = u16::from_le_bytes([low, high]);
        let channel = Arc::new(Channel { generation: maker.generations, node, node_id: endpoint.id, tree, sequence });
        tokio::spawn(answer_breaks(channel.tree.clone(), Arc::clone(&self.leases), breaks));
        if self.options.witness && channel.tree.wants_witness() && self.options.nodes.len() > 1 {
            let watch = Watch {
                options: Arc::clone(&self.options),
                node,
                connection: session.connection.clone(),
                wish: Arc::clone(&self.wish),
                timeline: self.timeline.clone(),
            };
            tokio::spawn(watch.run());
        }
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&channel));
        Ok(channel)
    }

    /// The state of a lease as the server last told it.
    #[must_use]
    pub fn lease(&self, key: LeaseKey) -> Option<HeldLease> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner).get(&key).copied()
    }

    /// Ends the session properly.
    pub async fn unmount(&self) -> Result<(), ClientError> {
        match self.current() {
            Some(channel) => channel.tree.session.log_off().await,
            None => Ok(()),
        }
    }
}

/// Gives back what the server takes back, at once.
// MS-SMB2 3.2.5.19: a lease break is acknowledged when asked for, an oplock break unless it was from LEVEL_II.
async fn answer_breaks(tree: Tree, leases: Leases, mut breaks: mpsc::UnboundedReceiver<OplockBreakResponse>) {
    while let Some(notice) = breaks.recv().await {
        let done = match notice {
            OplockBreakResponse::LeaseNotification(n) => {
                let held = HeldLease { state: n.new_state, epoch: n.new_epoch };
                leases.lock().unwrap_or_else(PoisonError::into_inner).insert(n.lease_key, held);
                if !n.ack_required() {
                    continue;
                }
                tree.acknowledge_lease(LeaseBreakAck { flags: 0, lease_key: n.lease_key, state: n.new_state }).await
            }
            OplockBreakResponse::Oplock(ack) => tree.acknowledge_oplock(ack).await,
            OplockBreakResponse::Lease(_) => continue,
        };
        if let Err(error) = done {
            tracing::debug!(%error, "a break could not be acknowledged");
        }
    }
}
