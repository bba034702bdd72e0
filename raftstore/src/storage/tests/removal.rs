//! Files that a purge or a snapshot makes superfluous are removed behind it: nothing waits, however long the file system takes.

use std::any::Any;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc;
use std::time::Duration;

use openraft::RaftSnapshotBuilder;
use openraft::storage::RaftStateMachine;
use parking_lot::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::*;
use crate::environment::{Disk, DiskFile, OpenFile};

/// Longest time that anything here is waited for.
const WAIT_MAX: Duration = Duration::from_secs(20);

/// The system's disk, which removes a file only when it is let.
#[derive(Debug)]
struct Hesitant {
    let_go: Mutex<mpsc::Receiver<()>>,
    asked: UnboundedSender<PathBuf>,
    removed: Mutex<mpsc::Sender<PathBuf>>,
    /// Nobody let it for so long that it went on.
    waited_in_vain: AtomicBool,
}

impl Disk for Hesitant {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        SystemDisk.create_dir_all(dir)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        SystemDisk.list(dir)
    }
    fn open(&self, path: &Path, how: OpenFile) -> io::Result<Arc<dyn DiskFile>> {
        SystemDisk.open(path, how)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        SystemDisk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        let _ = self.asked.send(path.to_owned());
        // An end of the channel lets it go for good.
        if self.let_go.lock().recv_timeout(WAIT_MAX) == Err(mpsc::RecvTimeoutError::Timeout) {
            self.waited_in_vain.store(true, Ordering::Relaxed);
        }
        SystemDisk.remove(path)?;
        let _ = self.removed.lock().send(path.to_owned());
        Ok(())
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        SystemDisk.sync_dir(dir)
    }
    fn claim(&self, dir: &Path) -> io::Result<Box<dyn Any + Send + Sync>> {
        SystemDisk.claim(dir)
    }
}

/// What a test does with the disk.
struct Hold {
    disk: Arc<Hesitant>,
    environment: Environment,
    let_go: mpsc::Sender<()>,
    asked: UnboundedReceiver<PathBuf>,
    removed: mpsc::Receiver<PathBuf>,
}

fn hold() -> Hold {
    let ((let_go, gate), (removed, removals), (asked, asks)) = (mpsc::channel(), mpsc::channel(), unbounded_channel());
    let disk = Arc::new(Hesitant { let_go: Mutex::new(gate), asked, removed: Mutex::new(removed), waited_in_vain: AtomicBool::new(false) });
    let environment = Environment { disk: disk.clone(), ..Environment::default() };
    Hold { disk, environment, let_go, asked: asks, removed: removals }
}

/// On one thread: if it removed the file, nobody could let it.
#[tokio::test]
async fn the_snapshot_before_is_removed_while_other_tasks_go_on() {
    let dir = TempDir::new().unwrap();
    let mut hold = hold();
    let (mut log, mut state) = open_with(opening(dir.path(), hold.environment.clone())).unwrap();
    let mut first = None;
    for index in 0..2 {
        log.blocking_append([entry(index)]).await.unwrap();
        let responder: openraft::storage::EntryResponder<TypeConfig> = (entry(index), None);
        state.apply(futures::stream::iter([Ok(responder)])).await.unwrap();
        let mut builder = state.get_snapshot_builder().await;
        let letting = async {
            if index == 1 {
                assert_eq!(hold.asked.recv().await, first);
                hold.let_go.send(()).unwrap();
            }
        };
        let (built, ()) = tokio::join!(builder.build_snapshot(), letting);
        first = Some(built.unwrap().snapshot.path);
    }
    assert!(!hold.disk.waited_in_vain.load(Ordering::Relaxed), "the thread of everything else removed the file");
    assert_eq!(state.get_current_snapshot().await.unwrap().unwrap().snapshot.path, first.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purge_does_not_wait_for_the_files_that_it_frees() {
    let dir = TempDir::new().unwrap();
    let hold = hold();
    let small = Opening { segment_bytes: 16 << 10, ..opening(dir.path(), hold.environment.clone()) };
    let files = || SystemDisk.list(&dir.path().join("log")).unwrap();
    let (mut log, state) = open_with(small).unwrap();
    log.blocking_append((0..3000).map(entry)).await.unwrap();
    let before = files();
    assert!(before.len() > 12, "{before:?}");

    log.purge(entry(2999).log_id).await.unwrap();
    log.blocking_append([entry(3000)]).await.unwrap();
    assert!(hold.removed.try_recv().is_err(), "the purge waited until a file was removed");
    drop(hold.let_go);
    let mut gone: Vec<PathBuf> = Vec::new();
    // The one in use, the next one, one that is being prepared, and the spare ones.
    while files().len() > 7 {
        gone.push(hold.removed.recv_timeout(WAIT_MAX).unwrap());
    }
    assert!(gone.iter().zip(&before).all(|(gone, before)| gone == before), "from the lowest on, so that no gap comes into being: {gone:?}");

    let mut batch = records::Batch::default();
    batch.put(Table::Meta, key::APPLIED, codec::encode(Kind::Applied, &state::tests_progress(entry(2999).log_id)).unwrap());
    state.database().write(batch, true).unwrap();
    drop((log, state));
    let (mut log, _state) = reopen(dir.path()).unwrap();
    assert_eq!(log.try_get_log_entries(..).await.unwrap(), [entry(3000)]);
}
