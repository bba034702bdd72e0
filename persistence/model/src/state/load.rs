//! From stored bytes to a state. Each record is looked at once, while it is at hand, for all indexes.

use std::collections::BTreeSet;
use std::sync::Arc;

use smb_types::Sid;

use super::index::Builder;
use super::{RecordKey, State};
use crate::codec::{self, DecodeError, Kind};
use crate::record::{FileState, JoinToken, Node, Open, PendingDelete, Session, User};

/// A state half loaded.
#[derive(Default)]
pub(super) struct Loading {
    state: State,
    index: Builder,
    users: BTreeSet<Arc<Sid>>,
}

impl Loading {
    /// Takes one record.
    pub(super) fn record(&mut self, key: &[u8], value: &[u8]) -> Result<(), DecodeError> {
        let kind = *key.first().ok_or(DecodeError::Key)?;
        let state = &mut self.state;
        let found = if kind == Kind::Cluster as u8 {
            state.cluster = Some(codec::decode(Kind::Cluster, value)?);
            RecordKey::Cluster
        } else if kind == Kind::Node as u8 {
            let r: Node = codec::decode(Kind::Node, value)?;
            let k = r.id;
            state.nodes.insert(k, r);
            RecordKey::Node(k)
        } else if kind == Kind::Session as u8 {
            let mut r: Session = codec::decode(Kind::Session, value)?;
            r.user = self.one_sid(r.user);
            let k = r.id;
            self.index.session(&r);
            once(self.state.sessions.insert(k, r))?;
            RecordKey::Session(k)
        } else if kind == Kind::Open as u8 {
            let mut r: Box<Open> = codec::decode(Kind::Open, value)?;
            r.user = self.one_sid(r.user);
            let k = r.id;
            self.index.open(&r);
            once(self.state.opens.insert(k, r))?;
            RecordKey::Open(k)
        } else if kind == Kind::File as u8 {
            let mut r: Box<FileState> = codec::decode(Kind::File, value)?;
            share_paths(state, &mut r);
            let k = r.key;
            self.index.file(&r);
            once(self.state.files.insert(k, r))?;
            RecordKey::File(k)
        } else if kind == Kind::Share as u8 {
            let r = codec::decode_share(value)?;
            let k = r.id;
            state.shares.insert(k, r);
            RecordKey::Share(k)
        } else if kind == Kind::User as u8 {
            let r: User = codec::decode(Kind::User, value)?;
            let k = r.name.to_uppercase();
            state.users.insert(k.clone(), r);
            RecordKey::User(k)
        } else if kind == Kind::Token as u8 {
            let r: JoinToken = codec::decode(Kind::Token, value)?;
            let k = r.hash;
            state.tokens.insert(k, r);
            RecordKey::Token(k)
        } else if kind == Kind::PendingDelete as u8 {
            let r: PendingDelete = codec::decode(Kind::PendingDelete, value)?;
            let k = r.file;
            state.pending_deletes.insert(k, r);
            RecordKey::PendingDelete(k)
        } else {
            return Err(DecodeError::Key);
        };
        if found.to_bytes() == key { Ok(()) } else { Err(DecodeError::Key) }
    }

    /// The same SID in the same place: a user has many opens.
    fn one_sid(&mut self, sid: Arc<Sid>) -> Arc<Sid> {
        match self.users.get(&sid) {
            Some(known) => Arc::clone(known),
            None => {
                self.users.insert(Arc::clone(&sid));
                sid
            }
        }
    }

    /// Builds the indexes.
    pub(super) fn finish(self) -> State {
        let mut state = self.state;
        state.index = self.index.finish();
        state
    }
}

/// A record comes once: what is gathered for the indexes could not be taken back.
fn once<T>(before: Option<T>) -> Result<(), DecodeError> {
    before.map_or(Ok(()), |_| Err(DecodeError::Key))
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
