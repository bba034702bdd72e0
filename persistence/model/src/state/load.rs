//! From stored bytes to a state: decodes, gathers, and builds the tables from sorted lists, which is faster than one insertion after the other and leaves
//! no room in the trees.

use std::collections::BTreeSet;
use std::sync::Arc;

use smb_types::Sid;

use super::{RecordKey, State};
use crate::codec::{self, DecodeError, Kind};
use crate::id::{FileKey, OpenId};
use crate::record::{FileState, JoinToken, Node, Open, PendingDelete, Session, Share, User};

/// A state half loaded.
#[derive(Default)]
pub(super) struct Loading {
    state: State,
    opens: Vec<(OpenId, Box<Open>)>,
    files: Vec<(FileKey, Box<FileState>)>,
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
            self.state.sessions.insert(k, r);
            RecordKey::Session(k)
        } else if kind == Kind::Open as u8 {
            let mut r: Box<Open> = codec::decode(Kind::Open, value)?;
            r.user = self.one_sid(r.user);
            let k = r.id;
            self.opens.push((k, r));
            RecordKey::Open(k)
        } else if kind == Kind::File as u8 {
            let r: Box<FileState> = codec::decode(Kind::File, value)?;
            let k = r.key;
            self.files.push((k, r));
            RecordKey::File(k)
        } else if kind == Kind::Share as u8 {
            let r: Share = codec::decode(Kind::Share, value)?;
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

    /// Builds the tables and the indexes.
    pub(super) fn finish(mut self) -> State {
        let state = &mut self.state;
        state.opens = self.opens.into_iter().collect();
        for (_, file) in &mut self.files {
            for lease in file.leases.values_mut() {
                // As when it was granted: one path for a lease and its opens.
                let open = lease.opens.first().and_then(|id| state.opens.get(&id));
                if let Some(open) = open.filter(|o| o.path == lease.path) {
                    lease.path = Arc::clone(&open.path);
                }
            }
        }
        state.files = self.files.into_iter().collect();
        state.rebuild_indexes();
        self.state
    }
}
