//! The state: all records, the indexes derived from them, and what has changed since the last look.

mod accounts;
mod hash;
mod index;
mod load;
mod read;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::codec::{self, DecodeError, Kind};
use crate::id::{FileKey, NodeId, OpenId, SessionId, ShareId};
use crate::record::{
    AdminToken, ClientBlock, Cluster, FileState, Group, JoinToken, Network, Node, Open, PendingDelete, Session, Share, User,
};
pub use accounts::Account;
use hash::Table;
use index::Indexes;
pub use load::{Loader, StoredRecord};

/// A record's place in the tables.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum RecordKey {
    Cluster,
    Node(NodeId),
    Session(SessionId),
    Open(OpenId),
    File(FileKey),
    Share(ShareId),
    User(String),
    Group(String),
    Token([u8; 32]),
    PendingDelete(FileKey),
    AdminToken([u8; 32]),
    Block(Network),
}

/// The replicated state. Changed by `apply` only.
#[derive(Clone, Debug, Default)]
pub struct State {
    pub(crate) cluster: Option<Cluster>,
    pub(crate) nodes: BTreeMap<NodeId, Node>,
    pub(crate) sessions: BTreeMap<SessionId, Session>,
    pub(crate) opens: Table<OpenId, Box<Open>>,
    pub(crate) files: Table<FileKey, Box<FileState>>,
    pub(crate) shares: BTreeMap<ShareId, Share>,
    /// By folded name.
    pub(crate) users: BTreeMap<String, User>,
    /// By folded name.
    pub(crate) groups: BTreeMap<String, Group>,
    pub(crate) tokens: BTreeMap<[u8; 32], JoinToken>,
    pub(crate) pending_deletes: BTreeMap<FileKey, PendingDelete>,
    /// By the hash of the secret.
    pub(crate) admin_tokens: BTreeMap<[u8; 32], AdminToken>,
    pub(crate) blocks: BTreeMap<Network, ClientBlock>,
    pub(crate) index: Indexes,
    dirty: BTreeSet<RecordKey>,
    /// Records looked at or changed; tests count with it that no command's work grows with what it has nothing to do with.
    #[cfg(test)]
    pub(crate) visits: std::cell::Cell<usize>,
}

/// Two states are equal when their records are; indexes follow from records.
impl PartialEq for State {
    fn eq(&self, o: &Self) -> bool {
        self.cluster == o.cluster
            && self.nodes == o.nodes
            && self.sessions == o.sessions
            && self.opens == o.opens
            && self.files == o.files
            && self.shares == o.shares
            && self.users == o.users
            && self.groups == o.groups
            && self.tokens == o.tokens
            && self.pending_deletes == o.pending_deletes
            && self.admin_tokens == o.admin_tokens
            && self.blocks == o.blocks
    }
}

impl State {
    /// A state without a cluster: accepts ClusterInit only.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The records changed since the last call, as key and value; None: the record is gone. Ascending by key.
    pub fn take_changes(&mut self) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
        std::mem::take(&mut self.dirty).iter().map(|k| (k.to_bytes(), self.encode_record(k))).collect()
    }

    /// All records, as key and value, ascending by key: a snapshot.
    #[must_use]
    pub fn all_records(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let keys = (self.cluster.iter().map(|_| RecordKey::Cluster))
            .chain(self.nodes.keys().map(|k| RecordKey::Node(*k)))
            .chain(self.sessions.keys().map(|k| RecordKey::Session(*k)))
            .chain(self.opens.values().map(|o| RecordKey::Open(o.id)))
            .chain(self.files.values().map(|f| RecordKey::File(f.key)))
            .chain(self.shares.keys().map(|k| RecordKey::Share(*k)))
            .chain(self.users.keys().map(|k| RecordKey::User(k.clone())))
            .chain(self.tokens.keys().map(|k| RecordKey::Token(*k)))
            .chain(self.pending_deletes.keys().map(|k| RecordKey::PendingDelete(*k)))
            .chain(self.groups.keys().map(|k| RecordKey::Group(k.clone())))
            .chain(self.admin_tokens.keys().map(|k| RecordKey::AdminToken(*k)))
            .chain(self.blocks.keys().map(|k| RecordKey::Block(*k)));
        keys.filter_map(|k| self.encode_record(&k).map(|v| (k.to_bytes(), v))).collect()
    }

    /// Rebuilds the state from the records that `take_changes` or `all_records` gave, each once, in any order (ascending by key costs least).
    pub fn load(records: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>) -> Result<Self, DecodeError> {
        let mut loader = Loader::default();
        records.into_iter().try_for_each(|(key, value)| loader.take(StoredRecord::decode(&key, &value)?))?;
        Ok(loader.finish())
    }

    pub(crate) fn touch(&mut self, key: RecordKey) {
        self.dirty.insert(key);
    }

    /// Counts a record that is looked at or changed; nothing outside of this crate's own tests.
    #[inline]
    pub(crate) fn visit(&self) {
        #[cfg(test)]
        self.visits.set(self.visits.get() + 1);
    }

    fn encode_record(&self, key: &RecordKey) -> Option<Vec<u8>> {
        match key {
            RecordKey::Cluster => self.cluster.as_ref().map(|r| codec::encode(Kind::Cluster, r)),
            RecordKey::Node(k) => self.nodes.get(k).map(|r| codec::encode(Kind::Node, r)),
            RecordKey::Session(k) => self.sessions.get(k).map(|r| codec::encode(Kind::Session, r)),
            RecordKey::Open(k) => self.opens.get(k).map(|r| codec::encode(Kind::Open, r)),
            RecordKey::File(k) => self.files.get(k).map(|r| codec::encode(Kind::File, r)),
            RecordKey::Share(k) => self.shares.get(k).map(codec::encode_share),
            RecordKey::User(k) => self.users.get(k).map(|r| codec::encode(Kind::User, r)),
            RecordKey::Token(k) => self.tokens.get(k).map(|r| codec::encode(Kind::Token, r)),
            RecordKey::Group(k) => self.groups.get(k).map(|r| codec::encode(Kind::Group, r)),
            RecordKey::PendingDelete(k) => self.pending_deletes.get(k).map(|r| codec::encode(Kind::PendingDelete, r)),
            RecordKey::AdminToken(k) => self.admin_tokens.get(k).map(|r| codec::encode(Kind::AdminToken, r)),
            RecordKey::Block(k) => self.blocks.get(k).map(|r| codec::encode(Kind::Block, r)),
        }
    }
}

impl RecordKey {
    /// Kind, then the id big-endian, so that keys sort as ids do.
    fn to_bytes(&self) -> Vec<u8> {
        let file = |kind: Kind, k: &FileKey| {
            let mut b = vec![kind as u8];
            [k.volume, k.inode, k.generation, k.stream].iter().for_each(|v| b.extend_from_slice(&v.to_be_bytes()));
            b
        };
        let with = |kind: Kind, rest: &[u8]| [&[kind as u8], rest].concat();
        match self {
            Self::Cluster => vec![Kind::Cluster as u8],
            Self::Node(k) => with(Kind::Node, &k.0.to_be_bytes()),
            Self::Session(k) => with(Kind::Session, &k.0.to_be_bytes()),
            Self::Open(k) => with(Kind::Open, &k.0.to_be_bytes()),
            Self::File(k) => file(Kind::File, k),
            Self::Share(k) => with(Kind::Share, &k.0.to_be_bytes()),
            Self::User(k) => with(Kind::User, k.as_bytes()),
            Self::Group(k) => with(Kind::Group, k.as_bytes()),
            Self::Token(k) => with(Kind::Token, k),
            Self::PendingDelete(k) => file(Kind::PendingDelete, k),
            Self::AdminToken(k) => with(Kind::AdminToken, k),
            // IPv4 before IPv6, as addresses sort.
            Self::Block(Network { address: IpAddr::V4(v4), prefix }) => with(Kind::Block, &[&[4], &v4.octets()[..], &[*prefix]].concat()),
            Self::Block(Network { address: IpAddr::V6(v6), prefix }) => with(Kind::Block, &[&[6], &v6.octets()[..], &[*prefix]].concat()),
        }
    }
}
