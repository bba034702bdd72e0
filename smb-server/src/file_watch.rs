//! Requests that wait for something to change about one file: each is woken by changes of its own file, by no other, and never polls.
//!
//! Knows nothing of what changed: whoever is woken asks the records again.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use persistence_model::FileKey;
use tokio::sync::watch;

/// The files that somebody waits for.
#[derive(Debug, Default)]
pub struct FileWatches {
    /// Watched files: read without the lock, because most changes concern nobody.
    count: AtomicUsize,
    files: Mutex<BTreeMap<FileKey, Watched>>,
}

#[derive(Debug, Default)]
struct Watched {
    watchers: usize,
    changes: watch::Sender<()>,
}

/// Waits for something to change about one file.
#[derive(Debug)]
pub struct FileWatch {
    watches: Arc<FileWatches>,
    file: FileKey,
    changes: watch::Receiver<()>,
}

impl FileWatches {
    /// Starts to watch a file. Make the watch, propose (again), and only then wait: nothing is missed between the two.
    pub fn watch(self: &Arc<Self>, file: FileKey) -> FileWatch {
        let mut files = self.files.lock();
        let watched = files.entry(file).or_default();
        watched.watchers += 1;
        let changes = watched.changes.subscribe();
        self.count.store(files.len(), Ordering::SeqCst);
        FileWatch { watches: Arc::clone(self), file, changes }
    }

    /// Leases, opens or locks of a file have changed.
    pub(crate) fn changed(&self, file: FileKey) {
        if self.count.load(Ordering::SeqCst) > 0
            && let Some(watched) = self.files.lock().get(&file)
        {
            watched.changes.send_replace(());
        }
    }

    /// Anything may have changed.
    pub(crate) fn all_changed(&self) {
        self.files.lock().values().for_each(|watched| watched.changes.send_replace(()));
    }
}

impl FileWatch {
    /// Returns when something has changed since the watch was made, or since the last call returned.
    pub async fn changed(&mut self) {
        // The sender lives as long as the watch.
        let _ = self.changes.changed().await;
    }
}

impl Drop for FileWatch {
    fn drop(&mut self) {
        let mut files = self.watches.files.lock();
        if let Some(watched) = files.get_mut(&self.file) {
            watched.watchers -= 1;
            if watched.watchers == 0 {
                files.remove(&self.file);
            }
        }
        self.watches.count.store(files.len(), Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn file(inode: u64) -> FileKey {
        FileKey { inode, ..FileKey::default() }
    }

    #[tokio::test]
    async fn a_watch_hears_of_its_own_file_since_it_was_made() {
        let watches = Arc::new(FileWatches::default());
        watches.changed(file(1));
        let (mut one, mut two) = (watches.watch(file(1)), watches.watch(file(2)));
        let mut other = watches.watch(file(1));
        watches.changed(file(1));
        one.changed().await;
        assert!(one.changed().now_or_never().is_none(), "once for each change");
        assert!(two.changed().now_or_never().is_none(), "another file");
        drop(one);
        other.changed().await;
        watches.all_changed();
        two.changed().await;
        other.changed().await;
        drop((two, other));
        assert_eq!((watches.count.load(Ordering::SeqCst), watches.files.lock().len()), (0, 0), "nothing is kept");
    }
}
