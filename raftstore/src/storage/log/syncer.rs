//! Who syncs the log, and tells those who wait for it: a thread, or a task of the simulation.
//!
//! One sync serves everything that waits. Answers come in the order of the requests.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use openraft::storage::IOFlushed;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use super::segments::Segments;
use crate::error::StartError;
use crate::faults::Point;
use crate::types::TypeConfig;

/// Requests that one sync serves at most.
const GROUP_REQUESTS_MAX: usize = 1024;
/// How long a flush of a simulated disk takes.
const SIMULATED_FLUSH: Duration = Duration::from_micros(200);

/// Somebody who waits.
pub(crate) enum Job {
    /// Entries that have to be stable.
    Stable(IOFlushed<TypeConfig>),
    /// Entries that only wait behind others.
    Written(IOFlushed<TypeConfig>),
    /// Anything else that has to be stable.
    Sync(oneshot::Sender<io::Result<()>>),
}

/// The door to whoever syncs.
pub(crate) struct Syncer {
    door: Arc<Mutex<Door>>,
    waiting: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
    simulated: bool,
}

/// Where jobs wait until whoever syncs is woken for them.
struct Door {
    /// Set until the drop of the [`Syncer`], whoever else still holds the door then.
    jobs: Option<mpsc::UnboundedSender<Job>>,
    /// Those that [`Syncer::send_soon`] took, in order. Not empty: a task is about to pass them on.
    soon: Vec<Job>,
}

impl Door {
    fn pass_on(&mut self) -> io::Result<()> {
        let jobs = self.jobs.as_ref().ok_or_else(stopped)?;
        self.soon.drain(..).try_for_each(|job| jobs.send(job)).map_err(|_| stopped())
    }
}

impl Syncer {
    /// Starts it. The receiver is closed when it has ended, which it does when this handle is dropped.
    pub(crate) fn start(segments: Arc<Mutex<Segments>>, simulated: bool) -> Result<(Self, oneshot::Receiver<()>), StartError> {
        let (jobs, mut requests) = mpsc::unbounded_channel();
        let (alive, ended) = oneshot::channel::<()>();
        let waiting = Arc::new(AtomicUsize::new(0));
        let worker = Worker { segments, waiting: waiting.clone() };
        let thread = if simulated {
            tokio::spawn(async move {
                let mut group = Vec::new();
                while requests.recv_many(&mut group, GROUP_REQUESTS_MAX).await > 0 {
                    tokio::time::sleep(SIMULATED_FLUSH).await;
                    worker.serve(&mut group);
                }
                drop(alive);
            });
            None
        } else {
            let run = move || {
                let mut group = Vec::new();
                while requests.blocking_recv_many(&mut group, GROUP_REQUESTS_MAX) > 0 {
                    worker.serve(&mut group);
                }
                drop(worker);
                drop(alive);
            };
            let thread = std::thread::Builder::new().name("log-sync".to_owned()).spawn(run);
            Some(thread.map_err(|err| StartError::Core(format!("the log's thread did not start: {err}")))?)
        };
        let door = Arc::new(Mutex::new(Door { jobs: Some(jobs), soon: Vec::new() }));
        Ok((Self { door, waiting, thread, simulated }, ended))
    }

    /// Whether nobody waits: then what is written may be answered at once.
    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.load(Ordering::Acquire) == 0
    }

    /// Adds somebody who waits, behind those that were added before.
    fn send(&self, job: Job) -> io::Result<()> {
        self.waiting.fetch_add(1, Ordering::AcqRel);
        let mut door = self.door.lock();
        door.soon.push(job);
        door.pass_on()
    }

    /// Adds somebody who waits; the thread is woken when the tasks that are ready now have run. The entries of a leader are on their way
    /// to its followers then: a thread often takes the processor of the one that wakes it, and the own sync is over before a
    /// follower's answer comes.
    pub(crate) fn send_soon(&self, job: Job) -> io::Result<()> {
        if self.simulated {
            return self.send(job);
        }
        self.waiting.fetch_add(1, Ordering::AcqRel);
        let mut door = self.door.lock();
        if door.jobs.as_ref().is_none_or(mpsc::UnboundedSender::is_closed) {
            return Err(stopped());
        }
        door.soon.push(job);
        if door.soon.len() == 1 {
            let door = self.door.clone();
            tokio::spawn(async move {
                tokio::task::yield_now().await;
                // Closed in the meantime: then nobody waits any more.
                drop(door.lock().pass_on());
            });
        }
        Ok(())
    }

    /// Waits until everything written so far is stable.
    pub(crate) async fn sync(&self) -> io::Result<()> {
        let (done, wait) = oneshot::channel();
        self.send(Job::Sync(done))?;
        wait.await.map_err(|_| stopped())?
    }
}

impl Drop for Syncer {
    /// Ends the thread and waits for it: no thread may hold the files when the program ends.
    fn drop(&mut self) {
        {
            let mut door = self.door.lock();
            // Fails when the thread broke: that is said below.
            drop(door.pass_on());
            door.jobs = None;
        }
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the log's thread broke");
        }
    }
}

fn stopped() -> io::Error {
    io::Error::other("the log is closed")
}

struct Worker {
    segments: Arc<Mutex<Segments>>,
    waiting: Arc<AtomicUsize>,
}

impl Worker {
    fn serve(&self, group: &mut Vec<Job>) {
        let wanted = group.iter().any(|job| !matches!(job, Job::Written(_)));
        let result = if wanted { sync(&self.segments) } else { self.segments.lock().check() };
        for job in group.drain(..) {
            let answer = result.as_ref().copied().map_err(|err| io::Error::new(err.kind(), err.to_string()));
            match job {
                Job::Stable(flushed) | Job::Written(flushed) => flushed.io_completed(answer),
                // A caller that went away does not want to know.
                Job::Sync(done) => drop(done.send(answer)),
            }
            self.waiting.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// Makes stable what was written before the call.
pub(crate) fn sync(segments: &Mutex<Segments>) -> io::Result<()> {
    let (file, upto) = {
        let segments = segments.lock();
        segments.check()?;
        segments.to_sync()
    };
    let ready = segments.lock().pass(Point::LogAfterWriteBeforeSync);
    let from = Instant::now();
    let result = ready.and_then(|()| file.sync());
    let mut segments = segments.lock();
    segments.note_flush(from.elapsed());
    segments.synced(upto, result)?;
    segments.pass(Point::LogAfterSyncBeforeAck)
}
