//! Who watches which directory on this node, and the hook through which handlers report changes (MS-SMB2 3.3.4.4, MS-FSA 2.1.4.1).
//!
//! Only changes made through this node are seen. Knows nothing of the messages: `receive::change_notify` fetches what is kept here.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use persistence_model::{OpenId, ShareId};
use smb_backend::RelPath;
use smb_proto::{info::NotifyAction, message::change_notify::CompletionFilter};
use smb_types::Sid;

use crate::{
    places::Place,
    state::{Open, Server},
};

/// Most events that one open keeps between two requests, whatever its buffer.
const EVENTS_MAX: usize = 4096;
/// Bytes of an event besides its name.
const EVENT_FIXED_BYTES: usize = 12;

/// The opens that watch.
#[derive(Debug, Default)]
pub struct NotifyRegistry {
    count: AtomicUsize,
    watchers: Mutex<BTreeMap<OpenId, Watcher>>,
}

/// An open that watches, with its place among the directories that its user watches.
type Watcher = (Weak<Open>, Place<Sid>);

impl NotifyRegistry {
    /// Adds an open that begins to watch.
    pub(crate) fn add(&self, open: &Arc<Open>, place: Place<Sid>) {
        let mut watchers = self.watchers.lock();
        watchers.retain(|_, (watcher, _)| watcher.strong_count() > 0);
        watchers.insert(open.open_id, (Arc::downgrade(open), place));
        self.count.store(watchers.len(), Ordering::Release);
    }

    /// Removes an open.
    pub fn remove(&self, open: OpenId) {
        if self.is_idle() {
            return;
        }
        let mut watchers = self.watchers.lock();
        watchers.remove(&open);
        self.count.store(watchers.len(), Ordering::Release);
    }

    /// Tells whether anybody watches anything: one atomic read.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }

    fn watchers(&self) -> Vec<Arc<Open>> {
        self.watchers.lock().values().filter_map(|(watcher, _)| watcher.upgrade()).collect()
    }
}

/// One change: where, what, and which filters want to hear of it.
#[derive(Debug, Clone)]
pub struct Change<'a> {
    /// The file or directory that changed.
    pub path: &'a RelPath,
    /// Its stream, if the stream changed.
    pub stream: Option<&'a str>,
    /// What happened.
    pub action: NotifyAction,
    /// Any of these in a watcher's filter is enough.
    pub filter: CompletionFilter,
}

/// Reports one change of a file or directory.
pub fn report(server: &Server, share: ShareId, path: &RelPath, action: NotifyAction, filter: CompletionFilter) {
    report_all(server, share, &[Change { path, stream: None, action, filter }]);
}

/// Reports changes that belong together: a watcher gets them in one reply.
pub fn report_all(server: &Server, share: ShareId, changes: &[Change<'_>]) {
    if server.notify.is_idle() {
        return;
    }
    for open in server.notify.watchers() {
        if open.tree.share.share_id == share {
            tell(&open, changes);
        }
    }
}

/// The records of a file have changed: whoever waits for it tries again, whoever watches it looks whether it is to be deleted.
pub fn file_changed(server: &Server, file: persistence_model::FileKey) {
    server.file_watches.changed(file);
    if server.notify.is_idle() {
        return;
    }
    for open in server.notify.watchers().iter().filter(|open| open.file == file) {
        open.notify_wake.notify_waiters();
    }
}

/// Reports that an open's file has been modified.
pub(crate) fn changed(server: &Server, open: &Open, filter: CompletionFilter) {
    if server.notify.is_idle() {
        return;
    }
    let path = open.path.read().clone();
    let (action, filter) = match open.stream {
        None => (NotifyAction::Modified, filter),
        Some(_) => (NotifyAction::ModifiedStream, of_stream(filter)),
    };
    let change = Change { path: &path, stream: open.stream.as_deref(), action, filter };
    report_all(server, open.tree.share.share_id, &[change]);
}

/// What a change of a named stream's size or content counts as.
fn of_stream(filter: CompletionFilter) -> CompletionFilter {
    let mut mapped = filter.without(CompletionFilter::SIZE | CompletionFilter::LAST_WRITE);
    if filter.intersects(CompletionFilter::SIZE) {
        mapped |= CompletionFilter::STREAM_SIZE;
    }
    if filter.intersects(CompletionFilter::LAST_WRITE) {
        mapped |= CompletionFilter::STREAM_WRITE;
    }
    mapped
}

fn tell(watcher: &Open, changes: &[Change<'_>]) {
    let mut state = watcher.notify.lock();
    let Some(watch) = state.watch else { return };
    let directory = watcher.path.read().clone();
    let mut news = false;
    for change in changes {
        if !change.filter.intersects(CompletionFilter(watch.filter)) {
            continue;
        }
        let Some(mut name) = below(change.path, &directory, watch.recursive) else { continue };
        if let Some(stream) = change.stream {
            name = format!("{name}:{stream}:$DATA");
        }
        news = true;
        if state.overflow {
            continue;
        }
        let entry = (change.action.to_wire(), name);
        // windows: the same change of the same file, not fetched yet, is not told twice.
        if change.action == NotifyAction::Modified && state.events.back() == Some(&entry) {
            continue;
        }
        state.kept_bytes += EVENT_FIXED_BYTES + smb_proto::utf16::byte_len(&entry.1).next_multiple_of(4);
        state.events.push_back(entry);
        // MS-SMB2 3.3.4.4
        // What no longer fits the first request's buffer is forgotten, and the client told to list the directory.
        if state.kept_bytes > watch.buffer_bytes || state.events.len() > EVENTS_MAX {
            state.events.clear();
            state.kept_bytes = 0;
            state.overflow = true;
        }
    }
    drop(state);
    if news {
        watcher.notify_wake.notify_waiters();
    }
}

/// The name relative to a watched directory; None when it is elsewhere.
fn below(path: &RelPath, directory: &RelPath, recursive: bool) -> Option<String> {
    if !path.starts_with(directory) {
        return None;
    }
    let depth = directory.components().count();
    let rest: Vec<&str> = path.components().skip(depth).collect();
    match rest.len() {
        0 => None,
        1 => Some(rest[0].to_owned()),
        _ if recursive => Some(rest.join("\\")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_relative_to_the_watched_directory() {
        let path = |text| RelPath::parse_smb(text).unwrap();
        assert_eq!(below(&path("a\\b"), &path("A"), false).as_deref(), Some("b"));
        assert_eq!(below(&path("a\\b\\c"), &path("a"), false), None);
        assert_eq!(below(&path("a\\b\\c"), &path("a"), true).as_deref(), Some("b\\c"));
        assert_eq!(below(&path("ab"), &path("a"), true), None);
        assert_eq!(below(&path("a"), &path("a"), true), None);
        assert_eq!(below(&path("x"), &RelPath::root(), false).as_deref(), Some("x"));
    }
}
