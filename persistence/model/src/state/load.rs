//! From stored bytes to a state, in two steps: what a record alone says (decoding), and what the state makes of it (tables, indexes). Each
//! record is looked at once, while it is at hand. Of many records the two steps go on at the same time, in two threads.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use smb_types::Sid;

use super::index::Builder;
use super::{RecordKey, State};
use crate::codec::{self, DecodeError, Kind};
use crate::record::{Cluster, FileState, JoinToken, Node, Open, PendingDelete, Session, Share, User};

/// Records that are handed over together.
const CHUNK_RECORDS: usize = 1024;
/// Chunks that may wait.
const CHUNKS_AHEAD: usize = 16;

/// A record by itself.
enum Record {
    Cluster(Cluster),
    Node(Node),
    Session(Session),
    Open(Box<Open>),
    File(Box<FileState>),
    Share(Share),
    User(User),
    Token(JoinToken),
    PendingDelete(PendingDelete),
}

/// A state half loaded.
#[derive(Default)]
struct Loading {
    state: State,
    index: Builder,
    users: BTreeSet<Arc<Sid>>,
}

/// Makes a state of records, each once.
pub(super) fn load(records: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>) -> Result<State, DecodeError> {
    let mut decoded = records.into_iter().map(|(key, value)| Record::decode(&key, &value)).fuse();
    let first: Vec<_> = decoded.by_ref().take(CHUNK_RECORDS).collect::<Result<_, _>>()?;
    let mut loading = Loading::default();
    loading.take_all(first)?;
    let Some(next) = decoded.next() else { return Ok(loading.finish()) };
    let mut decoded = std::iter::once(next).chain(decoded);
    thread::scope(|scope| {
        let (give, chunks) = sync_channel(CHUNKS_AHEAD);
        let worker = thread::Builder::new().name("state-build".to_owned()).spawn_scoped(scope, move || loading.take_chunks(&chunks));
        let worker = worker.map_err(|error| DecodeError::NoThread(error.to_string()))?;
        loop {
            let chunk: Vec<_> = decoded.by_ref().take(CHUNK_RECORDS).collect::<Result<_, _>>()?;
            // Nobody takes any more after a record that does not fit.
            if chunk.is_empty() || give.send(chunk).is_err() {
                break;
            }
        }
        drop(give);
        worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

impl Record {
    /// Decodes one, and checks that the key is its key.
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
        } else if kind == Kind::Token as u8 {
            Self::Token(codec::decode(Kind::Token, value)?)
        } else if kind == Kind::PendingDelete as u8 {
            Self::PendingDelete(codec::decode(Kind::PendingDelete, value)?)
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
            Self::Token(r) => RecordKey::Token(r.hash),
            Self::PendingDelete(r) => RecordKey::PendingDelete(r.file),
        }
    }
}

impl Loading {
    fn take_chunks(mut self, chunks: &Receiver<Vec<Record>>) -> Result<State, DecodeError> {
        chunks.iter().try_for_each(|chunk| self.take_all(chunk))?;
        Ok(self.finish())
    }

    fn take_all(&mut self, records: Vec<Record>) -> Result<(), DecodeError> {
        records.into_iter().try_for_each(|record| self.take(record))
    }

    /// A record comes once: what is gathered for the indexes could not be taken back.
    fn take(&mut self, record: Record) -> Result<(), DecodeError> {
        let state = &mut self.state;
        let is_new = match record {
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
            Record::User(r) => state.users.insert(r.name.to_uppercase(), r).is_none(),
            Record::Token(r) => state.tokens.insert(r.hash, r).is_none(),
            Record::PendingDelete(r) => state.pending_deletes.insert(r.file, r).is_none(),
        };
        if is_new { Ok(()) } else { Err(DecodeError::Key) }
    }

    /// Builds the indexes.
    fn finish(self) -> State {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Command;
    use crate::id::LogTime;

    /// More records than are loaded at one go.
    const MANY: usize = 3 * CHUNK_RECORDS + 7;

    fn many_users() -> State {
        let mut state = State::new();
        state.apply(LogTime(1), &Command::ClusterInit { net_name: "HOLDFAST".into(), server_guid: smb_types::Guid([7; 16]) });
        for n in 0..MANY {
            state.apply(LogTime(2), &Command::UserAdd { name: format!("user{n}"), nt_hash: [1; 16], sid: None });
        }
        assert_eq!(state.users.len(), MANY);
        state
    }

    #[test]
    fn many_records_are_loaded_as_few_are() {
        let state = many_users();
        assert_eq!(State::load(state.all_records()), Ok(state));
    }

    #[test]
    fn what_is_wrong_is_found_wherever_it_stands() {
        let records = many_users().all_records();
        for place in [0, CHUNK_RECORDS, CHUNK_RECORDS + 1, records.len() - 1] {
            let mut bad = records.clone();
            *bad[place].1.last_mut().expect("a checksum is at the end") ^= 1;
            assert_eq!(State::load(bad), Err(DecodeError::Checksum), "record {place}");
            let mut bad = records.clone();
            bad[place].0.push(0);
            assert_eq!(State::load(bad), Err(DecodeError::Key), "record {place}");
            let twice = records.iter().cloned().chain([records[place].clone()]);
            assert_eq!(State::load(twice), Err(DecodeError::Key), "record {place}, twice");
        }
    }
}
