//! The only ways to change an open, a file or a session: they keep indexes and the list of changed records true.

use std::sync::Arc;

use super::index::{OpenKeys, lease_keys};
use super::{RecordKey, State};
use crate::id::{FileKey, OpenId, SessionId};
use crate::record::{FileState, Open, Session};

impl State {
    pub(crate) fn insert_open(&mut self, open: Open) {
        self.visit();
        let id = open.id;
        self.index.open_changed(id, None, Some(&OpenKeys::of(&open)));
        self.touch(RecordKey::Open(id));
        assert!(self.opens.insert(id, Box::new(open)).is_none(), "an open's id is given once");
    }

    /// Changes an open; None when there is none.
    pub(crate) fn edit_open<R>(&mut self, id: OpenId, change: impl FnOnce(&mut Open) -> R) -> Option<R> {
        self.visit();
        let open = self.opens.get_mut(&id)?;
        let old = OpenKeys::of(open);
        let result = change(open);
        assert_eq!(open.id, id, "an open keeps its id");
        let new = OpenKeys::of(open);
        if old != new {
            self.index.open_changed(id, Some(&old), Some(&new));
        }
        self.touch(RecordKey::Open(id));
        Some(result)
    }

    pub(crate) fn remove_open(&mut self, id: OpenId) -> Option<Open> {
        self.visit();
        let open = *self.opens.remove(&id)?;
        self.index.open_changed(id, Some(&OpenKeys::of(&open)), None);
        self.touch(RecordKey::Open(id));
        Some(open)
    }

    pub(crate) fn insert_file(&mut self, file: FileState) {
        self.visit();
        let key = file.key;
        self.index.file_changed(key, &[], &lease_keys(&file));
        self.touch(RecordKey::File(key));
        if key.stream != 0 {
            self.index.streams.insert(key);
        }
        assert!(self.files.insert(key, Box::new(file)).is_none(), "a file has one record");
    }

    /// Changes a file's record; None when there is none.
    pub(crate) fn edit_file<R>(&mut self, key: FileKey, change: impl FnOnce(&mut FileState) -> R) -> Option<R> {
        self.visit();
        let file = self.files.get_mut(&key)?;
        let old = lease_keys(file);
        let result = change(file);
        assert_eq!(file.key, key, "a file keeps its key");
        self.index.file_changed(key, &old, &lease_keys(file));
        self.touch(RecordKey::File(key));
        Some(result)
    }

    pub(crate) fn remove_file(&mut self, key: FileKey) -> Option<FileState> {
        self.visit();
        let file = *self.files.remove(&key)?;
        self.index.file_changed(key, &lease_keys(&file), &[]);
        if key.stream != 0 {
            self.index.streams.remove(&key);
        }
        self.touch(RecordKey::File(key));
        Some(file)
    }

    pub(crate) fn insert_session(&mut self, session: Session) {
        self.visit();
        let (id, node) = (session.id, session.node);
        self.index.sessions_of_node.insert((node, id));
        self.index.sessions_of_user.insert((Arc::clone(&session.user), id));
        self.touch(RecordKey::Session(id));
        assert!(self.sessions.insert(id, session).is_none(), "a session's id is given once");
    }

    pub(crate) fn remove_session(&mut self, id: SessionId) -> Option<Session> {
        self.visit();
        let session = self.sessions.remove(&id)?;
        self.index.sessions_of_node.remove(&(session.node, id));
        self.index.sessions_of_user.remove(&(Arc::clone(&session.user), id));
        self.touch(RecordKey::Session(id));
        Some(session)
    }
}
