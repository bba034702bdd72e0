//! From stored bytes to a state, in two steps: what a record alone says (decoding), and what the state makes of it (tables, indexes). Each
//! record is looked at once, while it is at hand. Whoever has many of them can let the two steps go on at the same time.

use std::collections::BTreeSet;
use std::sync::Arc;

use smb_types::Sid;

use super::index::Builder;
use super::{RecordKey, State};
use crate::codec::{self, DecodeError, Kind};
use crate::record::{AdminToken, ClientBlock, Cluster, FileState, Group, JoinToken, Node, Open, PendingDelete, Session, Share, User};

/// A stored record that is decoded, and not yet part of a state.
#[derive(Debug)]
pub struct StoredRecord(Record);

/// Which one.
#[derive(Debug)]
enum Record {
    Cluster(Cluster),
    Node(Node),
    Session(Session),
    Open(Box<Open>),
    File(Box<FileState>),
    Share(Share),
    User(User),
    Group(Group),
    Token(JoinToken),
    PendingDelete(PendingDelete),
    AdminToken(AdminToken),
    Block(ClientBlock),
}

/// A state in the making.
#[derive(Debug, Default)]
pub struct Loader {
    state: State,
    index: Builder,
    users: BTreeSet<Arc<Sid>>,
}

impl StoredRecord {
    /// Decodes a record, and checks that the key is its key.
    ///
    /// # Errors
    /// Damage, a record of a newer program, or a key that is not its own.
    pub fn decode(key: &[u8], value: &[u8]) -> Result<Self, DecodeError> {
        Record::decode(key, value).map(Self)
    }
}

impl Record {
    fn decode(key: &[u8], value: &[u8]) -> Result<Self, DecodeError> {
        let kind = *key.first().ok_or(DecodeError::Key)?;
        let record = if kind == Kind::Cluster as u8 {
            Self::Cluster(codec::decode(Kind::Cluster, value)?)
        } else if kind == Kind::Node as u8 {
            Self::Node(codec::decode(Kind::Node, value)?)
        } else if kind == Kind::Session as u8 {
            Self::Session(codec::decode(Kind::Session, value)?)
        } else if kind == Kind::Open as u8 {
            Self::Open(codec::decode(Kind::Open, value)?)
        } else if kind == Kind::File as u8 {
            Self::File(codec::decode(Kind::File, value)?)
        } else if kind == Kind::Share as u8 {
            Self::Share(codec::decode_share(value)?)
        } else if kind == Kind::User as u8 {
            Self::User(codec::decode(Kind::User, value)?)
        } else if kind == Kind::Group as u8 {
            Self::Group(codec::decode(Kind::Group, value)?)
        } else if kind == Kind::Token as u8 {
            Self::Token(codec::decode(Kind::Token, value)?)
        } else if kind == Kind::PendingDelete as u8 {
            Self::PendingDelete(codec::decode(Kind::PendingDelete, value)?)
        } else if kind == Kind::AdminToken as u8 {
            Self::AdminToken(codec::decode(Kind::AdminToken, value)?)
        } else if kind == Kind::Block as u8 {
            Self::Block(codec::decode(Kind::Block, value)?)
        } else {
            return Err(DecodeError::Key);
        };
        if record.key().to_bytes() == key { Ok(record) } else { Err(DecodeError::Key) }
    }

    fn key(&self) -> RecordKey {
        match self {
            Self::Cluster(_) => RecordKey::Cluster,
            Self::Node(r) => RecordKey::Node(r.id),
            Self::Session(r) => RecordKey::Session(r.id),
            Self::Open(r) => RecordKey::Open(r.id),
            Self::File(r) => RecordKey::File(r.key),
            Self::Share(r) => RecordKey::Share(r.id),
            Self::User(r) => RecordKey::User(r.name.to_uppercase()),
            Self::Group(r) => RecordKey::Group(r.name.to_uppercase()),
            Self::Token(r) => RecordKey::Token(r.hash),
            Self::PendingDelete(r) => RecordKey::PendingDelete(r.file),
            Self::AdminToken(r) => RecordKey::AdminToken(r.hash),
            Self::Block(r) => RecordKey::Block(r.network),
        }
    }
}

impl Loader {
    /// Takes a record. Opens before their files cost least, and so does an ascending order of keys.
    ///
    /// # Errors
    /// It has been taken before: what is gathered for the indexes could not be taken back.
    pub fn take(&mut self, record: StoredRecord) -> Result<(), DecodeError> {
        let state = &mut self.state;
        let is_new = match record.0 {
            Record::Cluster(r) => state.cluster.replace(r).is_none(),
            Record::Node(r) => state.nodes.insert(r.id, r).is_none(),
            Record::Session(mut r) => {
                r.user = one_sid(&mut self.users, r.user);
                self.index.session(&r);
                state.sessions.insert(r.id, r).is_none()
            }
            Record::Open(mut r) => {
                r.user = one_sid(&mut self.users, r.user);
                self.index.open(&r);
                state.opens.insert(r.id, r).is_none()
            }
            Record::File(mut r) => {
                share_paths(state, &mut r);
                self.index.file(&r);
                state.files.insert(r.key, r).is_none()
            }
            Record::Share(r) => state.shares.insert(r.id, r).is_none(),
            Record::User(r) => {
                self.index.user(&r);
                state.users.insert(r.name.to_uppercase(), r).is_none()
            }
            Record::Group(r) => {
                self.index.group(&r);
                state.groups.insert(r.name.to_uppercase(), r).is_none()
            }
            Record::Token(r) => state.tokens.insert(r.hash, r).is_none(),
            Record::PendingDelete(r) => state.pending_deletes.insert(r.file, r).is_none(),
            Record::AdminToken(r) => state.admin_tokens.insert(r.hash, r).is_none(),
            Record::Block(r) => state.blocks.insert(r.network, r).is_none(),
        };
        if is_new { Ok(()) } else { Err(DecodeError::Key) }
    }

    /// Builds the indexes.
    #[must_use]
    pub fn finish(self) -> State {
        let mut state = self.state;
        state.index = self.index.finish();
        state
    }
}

/// The same SID in the same place: a user has many opens.
fn one_sid(users: &mut BTreeSet<Arc<Sid>>, sid: Arc<Sid>) -> Arc<Sid> {
    match users.get(&sid) {
        Some(known) => Arc::clone(known),
        None => {
            users.insert(Arc::clone(&sid));
            sid
        }
    }
}

/// As when it was granted: one path for a lease and its opens. (Opens come first in the order of keys.)
fn share_paths(state: &State, file: &mut FileState) {
    for lease in file.leases.values_mut() {
        let open = lease.opens.first().and_then(|id| state.opens.get(&id));
        if let Some(open) = open.filter(|o| o.path == lease.path) {
            lease.path = Arc::clone(&open.path);
        }
    }
}
