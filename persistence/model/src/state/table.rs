//! The only ways to change an open or a file: they keep indexes and the list of changed records true.

use super::{RecordKey, State};
use crate::id::{FileKey, OpenId};
use crate::record::{FileState, Open};

impl State {
    pub(crate) fn insert_open(&mut self, open: Open) {
        assert!(!self.opens.contains_key(&open.id), "an open's id is given once");
        self.index.add_open(&open);
        self.touch(RecordKey::Open(open.id));
        self.opens.insert(open.id, open);
    }

    /// Changes an open; None when there is none.
    pub(crate) fn edit_open<R>(&mut self, id: OpenId, change: impl FnOnce(&mut Open) -> R) -> Option<R> {
        let open = self.opens.get_mut(&id)?;
        self.index.remove_open(open);
        let result = change(open);
        assert_eq!(open.id, id, "an open keeps its id");
        self.index.add_open(open);
        self.touch(RecordKey::Open(id));
        Some(result)
    }

    pub(crate) fn remove_open(&mut self, id: OpenId) -> Option<Open> {
        let open = self.opens.remove(&id)?;
        self.index.remove_open(&open);
        self.touch(RecordKey::Open(id));
        Some(open)
    }

    pub(crate) fn insert_file(&mut self, file: FileState) {
        assert!(!self.files.contains_key(&file.key), "a file has one record");
        self.index.add_file(&file);
        self.touch(RecordKey::File(file.key));
        self.files.insert(file.key, file);
    }

    /// Changes a file's record; None when there is none.
    pub(crate) fn edit_file<R>(&mut self, key: FileKey, change: impl FnOnce(&mut FileState) -> R) -> Option<R> {
        let file = self.files.get_mut(&key)?;
        self.index.remove_file(file);
        let result = change(file);
        assert_eq!(file.key, key, "a file keeps its key");
        self.index.add_file(file);
        self.touch(RecordKey::File(key));
        Some(result)
    }

    pub(crate) fn remove_file(&mut self, key: FileKey) -> Option<FileState> {
        let file = self.files.remove(&key)?;
        self.index.remove_file(&file);
        self.touch(RecordKey::File(key));
        Some(file)
    }
}
