//! Witness registrations of the whole cluster, and what an operator wants done with them.
//!
//! A registration lives with its client's connection, at one node. Who looks asks every live node for its table; who wants something done
//! has every live node do it. Both go over the nodes' own connections, and through no log: see decision 30.

use std::{collections::VecDeque, net::IpAddr, sync::Arc, time::Duration};

use futures::future::join_all;
use parking_lot::Mutex;
use persistence::Store;
use persistence_model::{Node, NodeId};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use witness::{Address, ClusterEvent, WitnessService, table::RegistrationView as TableView};

use crate::peer::{self, NoReply, odd};

/// Longest wait for one answer of one node.
const ASK_MAX: Duration = Duration::from_secs(2);
/// Longest wait until every node that lives has done what was wanted; a node that falls silent is declared dead before.
const DO_MAX: Duration = Duration::from_secs(10);
/// Pause before a node that did not answer is asked again.
const ASK_PAUSE: Duration = Duration::from_millis(100);
/// An answer gets no further registration when it has so many bytes.
const PAGE_BYTES: usize = 32 << 10;
/// An answer has at most so many registrations.
const PAGE_REGISTRATIONS: usize = 256;
/// Requests that a node remembers, so that one that comes twice is carried out once.
const REMEMBERED_MAX: usize = 1024;

/// One witness registration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistrationView {
    /// The node at which the client is registered.
    pub node: u64,
    /// Its number, unique in the cluster.
    pub id: String,
    /// Client computer.
    pub client: String,
    /// The name under which the client has mounted.
    pub net_name: String,
    /// The address it asks about.
    pub address: String,
    /// The share it asks about.
    pub share: Option<String>,
    /// 1 or 2.
    pub version: u32,
    /// It wants to know of changes of addresses.
    pub ip_notification: bool,
    /// `waiting`: an AsyncNotify is pending; `away`: it has to ask first; `moving`: it was told to move and has not gone yet.
    pub state: String,
    /// Notifications sent.
    pub sent: u64,
    /// Messages that are kept until it asks.
    pub queued: usize,
}

/// A node that did not answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silent {
    /// The node.
    pub node: u64,
    /// Why, and what to do.
    pub because: String,
}

/// The registrations of all nodes that answered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// In the order of nodes.
    pub registrations: Vec<RegistrationView>,
    /// Live nodes that did not answer: their registrations are missing above.
    pub unanswered: Vec<Silent>,
}

/// An address in a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressWord {
    /// The address.
    pub ip: IpAddr,
    /// It serves.
    pub online: bool,
}

/// What every node does with its registrations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// CLIENT_MOVE to a client's registrations, and to those that it makes in the next 30 s.
    Move {
        /// The client computer.
        client: String,
        /// Where to.
        to: Vec<AddressWord>,
    },
    /// SHARE_MOVE to those that have registered for a share.
    MoveShare {
        /// The share.
        share: String,
        /// Only this client.
        client: Option<String>,
        /// Where to.
        to: Vec<AddressWord>,
    },
    /// Ends registrations; waiting calls are answered, so that clients register anew.
    Unregister {
        /// Of this client.
        client: Option<String>,
        /// The one of this number.
        id: Option<String>,
    },
    /// RESOURCE_CHANGE to those that have registered for an address.
    NotifyState {
        /// The address.
        address: IpAddr,
        /// What is said of it.
        available: bool,
        /// Only this client.
        client: Option<String>,
    },
    /// IP_CHANGE to those that want to know.
    NotifyAddresses {
        /// The addresses.
        addresses: Vec<AddressWord>,
        /// Only this client.
        client: Option<String>,
    },
}

/// What a request came to at one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToldAt {
    /// The node.
    pub node: u64,
    /// Registrations there that it was for.
    pub registrations: usize,
}

/// What a request came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Registrations that it was for.
    pub registrations: usize,
    /// Where they were.
    pub nodes: Vec<ToldAt>,
    /// Live nodes of which it is not known whether they did it: ask again.
    pub unanswered: Vec<Silent>,
    /// The node that owns the share now, if it is asymmetric: the witness of every node tells its clients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<u64>,
}

/// What nodes ask each other, as JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Question {
    List { after: Option<String> },
    Do { id: String, request: Request },
}

/// The answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reply {
    Page { registrations: Vec<RegistrationView>, more: bool },
    Done { registrations: usize },
    Nonsense,
}

/// Requests that were carried out here, with how many registrations they were for.
type Remembered = VecDeque<(String, usize)>;

/// The registrations of the cluster, from one of its nodes.
pub struct Registrations {
    store: Store,
    service: Arc<WitnessService>,
    remembered: Mutex<Remembered>,
}

impl Registrations {
    /// Over a node's store and its witness.
    #[must_use]
    pub fn new(store: Store, service: Arc<WitnessService>) -> Arc<Self> {
        Arc::new(Self { store, service, remembered: Mutex::default() })
    }

    /// The registrations of every live node.
    pub async fn list(&self) -> Found {
        let nodes = self.live();
        let pages = join_all(nodes.iter().map(|node| self.list_of(*node))).await;
        let mut found = Found::default();
        for (node, pages) in nodes.into_iter().zip(pages) {
            match pages {
                Ok(registrations) => found.registrations.extend(registrations),
                Err(none) => found.unanswered.push(Silent { node: node.0, because: none.because }),
            }
        }
        found
    }

    /// Has every live node carry out a request, and waits until each has, or is declared dead: then its registrations are gone anyway.
    pub async fn carry_out(&self, request: &Request) -> Told {
        let id = uuid::Uuid::new_v4().to_string();
        let nodes = self.live();
        let done = join_all(nodes.iter().map(|node| self.have_done(*node, &id, request))).await;
        let mut told = Told::default();
        for (node, done) in nodes.into_iter().zip(done) {
            match done {
                Ok(Some(registrations)) => {
                    told.registrations += registrations;
                    told.nodes.push(ToldAt { node: node.0, registrations });
                }
                Ok(None) => {}
                Err(none) => told.unanswered.push(Silent { node: node.0, because: none.because }),
            }
        }
        told
    }

    fn live(&self) -> Vec<NodeId> {
        self.store.with_state(|state| state.nodes().filter(|node| node.is_live()).map(|node| node.id).collect())
    }

    async fn list_of(&self, node: NodeId) -> Result<Vec<RegistrationView>, NoReply> {
        let mut all: Vec<RegistrationView> = Vec::new();
        loop {
            let after = all.last().map(|last| last.id.clone());
            match self.ask(node, Question::List { after }).await? {
                Reply::Page { registrations, more } => {
                    let is_over = !more || registrations.is_empty();
                    all.extend(registrations);
                    if is_over {
                        return Ok(all);
                    }
                }
                Reply::Done { .. } | Reply::Nonsense => return Err(odd(node)),
            }
        }
    }

    /// `None`: the node has died meanwhile.
    async fn have_done(&self, node: NodeId, id: &str, request: &Request) -> Result<Option<usize>, NoReply> {
        let deadline = Instant::now() + DO_MAX;
        loop {
            let question = Question::Do { id: id.to_owned(), request: request.clone() };
            let none = match self.ask(node, question).await {
                Ok(Reply::Done { registrations }) => return Ok(Some(registrations)),
                Ok(Reply::Page { .. } | Reply::Nonsense) => return Err(odd(node)),
                Err(none) => none,
            };
            if !self.store.with_state(|state| state.node(node).is_some_and(Node::is_live)) {
                return Ok(None);
            }
            if !none.is_worth_waiting || Instant::now() > deadline {
                return Err(none);
            }
            tokio::time::sleep(ASK_PAUSE).await;
        }
    }

    async fn ask(&self, node: NodeId, question: Question) -> Result<Reply, NoReply> {
        if node == self.store.node() {
            return Ok(self.answer(question));
        }
        peer::ask(&self.store, node, &peer::Request::Witness(question), ASK_MAX).await
    }

    pub(crate) fn answer(&self, question: Question) -> Reply {
        match question {
            Question::List { after } => self.page(after.as_deref()),
            Question::Do { id, request } => Reply::Done { registrations: self.do_once(id, &request) },
        }
    }

    fn page(&self, after: Option<&str>) -> Reply {
        let node = self.store.node();
        let after = match after.map(str::parse).transpose() {
            Ok(after) => after,
            Err(_) => return Reply::Nonsense,
        };
        let views = self.service.registrations_after(after, PAGE_REGISTRATIONS);
        let is_full = views.len() == PAGE_REGISTRATIONS;
        let (mut registrations, mut bytes) = (Vec::new(), 0);
        for view in views.into_iter().map(|view| registration_view(node, view)) {
            bytes += serde_json::to_vec(&view).map_or(0, |text| text.len());
            if bytes > PAGE_BYTES && !registrations.is_empty() {
                return Reply::Page { registrations, more: true };
            }
            registrations.push(view);
        }
        Reply::Page { registrations, more: is_full }
    }

    fn do_once(&self, id: String, request: &Request) -> usize {
        let mut remembered = self.remembered.lock();
        if let Some((_, registrations)) = remembered.iter().find(|(known, _)| *known == id) {
            return *registrations;
        }
        let registrations = carry_out_here(&self.service, request);
        if remembered.len() >= REMEMBERED_MAX {
            remembered.pop_front();
        }
        remembered.push_back((id, registrations));
        registrations
    }
}

fn carry_out_here(service: &WitnessService, request: &Request) -> usize {
    match request {
        Request::Move { client, to } => service.raise(&ClusterEvent::ClientMove { client: client.clone(), destinations: addresses(to) }),
        Request::MoveShare { share, client, to } => {
            let (share, client) = (share.clone(), client.clone());
            service.raise(&ClusterEvent::ShareMove { share, client, destinations: addresses(to) })
        }
        Request::Unregister { client, id } => {
            let by_client = client.as_deref().map_or(0, |client| service.unregister_client(client));
            let id = id.as_deref().and_then(|id| id.parse().ok());
            by_client + usize::from(id.is_some_and(|id| service.unregister_one(id)))
        }
        Request::NotifyState { address, available, client } => service.force_change(client.as_deref(), *address, *available),
        Request::NotifyAddresses { addresses: list, client } => {
            service.raise(&ClusterEvent::AddressChange { client: client.clone(), addresses: addresses(list) })
        }
    }
}

fn addresses(words: &[AddressWord]) -> Vec<Address> {
    words.iter().map(|word| Address { ip: word.ip, is_online: word.online }).collect()
}

fn registration_view(node: NodeId, view: TableView) -> RegistrationView {
    let state = match (view.is_moving, view.is_waiting) {
        (true, _) => "moving",
        (false, true) => "waiting",
        (false, false) => "away",
    };
    RegistrationView {
        node: node.0,
        id: view.id.to_string(),
        client: view.client_name,
        net_name: view.net_name,
        address: view.ip_address,
        share: view.share_name,
        version: if view.version >= witness::interface::VERSION_2 { 2 } else { 1 },
        ip_notification: view.ip_notification,
        state: state.to_owned(),
        sent: view.sent,
        queued: view.queued,
    }
}
