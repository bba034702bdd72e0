//! Writes what was applied, behind the answers: a thread, or a task of the simulation.
//!
//! The log holds every entry that the database lacks, so nobody has to wait for the database, and it need not hurry: what comes within
//! some milliseconds is written together, each key once. After a failed write nothing more is written, and whoever comes next is told why.

use std::io;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::Database;
use super::records::Batch;
use crate::error::StartError;
use crate::faults::Point;

/// Batches that may wait; whoever applies more waits with them.
const QUEUE_BATCHES_MAX: usize = 4096;
/// How long more is waited for, unless somebody asks. Waking a thread for each command would cost more than its write.
const GATHER_PAUSE: Duration = Duration::from_millis(20);

enum Job {
    Write(Batch),
    /// Somebody wants to know when everything before it is written.
    Tell(oneshot::Sender<()>),
}

impl Job {
    fn is_awaited(&self) -> bool {
        matches!(self, Self::Tell(_))
    }
}

/// The door to whoever writes.
pub(crate) struct WriteBehind {
    /// Set until the drop.
    jobs: Option<mpsc::Sender<Job>>,
    failed: Arc<OnceLock<(io::ErrorKind, String)>>,
    thread: Option<JoinHandle<()>>,
}

impl WriteBehind {
    pub(crate) fn start(database: Arc<Database>) -> Result<Self, StartError> {
        let (jobs, mut requests) = mpsc::channel(QUEUE_BATCHES_MAX);
        let failed = Arc::new(OnceLock::new());
        let simulated = database.environment().simulated;
        let worker = Worker { database, failed: failed.clone() };
        let thread = if simulated {
            tokio::spawn(async move {
                let mut waiting = Vec::new();
                while requests.recv_many(&mut waiting, QUEUE_BATCHES_MAX).await > 0 {
                    if !waiting.iter().any(Job::is_awaited) {
                        tokio::time::sleep(GATHER_PAUSE).await;
                    }
                    while let Ok(more) = requests.try_recv() {
                        waiting.push(more);
                    }
                    worker.serve(&mut waiting);
                }
            });
            None
        } else {
            let run = move || {
                let mut waiting = Vec::new();
                while requests.blocking_recv_many(&mut waiting, QUEUE_BATCHES_MAX) > 0 {
                    if !waiting.iter().any(Job::is_awaited) {
                        std::thread::sleep(GATHER_PAUSE);
                    }
                    while let Ok(more) = requests.try_recv() {
                        waiting.push(more);
                    }
                    worker.serve(&mut waiting);
                }
            };
            let thread = std::thread::Builder::new().name("state-write".to_owned()).spawn(run);
            Some(thread.map_err(|err| StartError::Core(format!("the state's thread did not start: {err}")))?)
        };
        Ok(Self { jobs: Some(jobs), failed, thread })
    }

    /// Hands over what comes next. Waits only where too much waits already.
    ///
    /// # Errors
    /// An earlier write failed.
    pub(crate) async fn write(&self, batch: Batch) -> io::Result<()> {
        self.check()?;
        self.send(Job::Write(batch)).await
    }

    /// Waits until everything that was handed over is in the database.
    ///
    /// # Errors
    /// A write failed.
    pub(crate) async fn settle(&self) -> io::Result<()> {
        let (tell, told) = oneshot::channel();
        self.send(Job::Tell(tell)).await?;
        told.await.map_err(|_| stopped())?;
        self.check()
    }

    async fn send(&self, job: Job) -> io::Result<()> {
        self.jobs.as_ref().ok_or_else(stopped)?.send(job).await.map_err(|_| stopped())
    }

    fn check(&self) -> io::Result<()> {
        match self.failed.get() {
            Some((kind, because)) => Err(io::Error::new(*kind, because.clone())),
            None => Ok(()),
        }
    }
}

impl Drop for WriteBehind {
    /// Writes the rest and ends the thread: none may hold the database when the program ends.
    fn drop(&mut self) {
        self.jobs = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the state's thread broke");
        }
    }
}

fn stopped() -> io::Error {
    io::Error::other("the state is closed")
}

struct Worker {
    database: Arc<Database>,
    failed: Arc<OnceLock<(io::ErrorKind, String)>>,
}

impl Worker {
    fn serve(&self, waiting: &mut Vec<Job>) {
        let (mut together, mut waiters) = (Batch::default(), Vec::new());
        for job in waiting.drain(..) {
            match job {
                Job::Write(batch) => together.append(batch),
                Job::Tell(tell) => waiters.push(tell),
            }
        }
        if !together.is_empty()
            && self.failed.get().is_none()
            && let Err(err) = self.write(together)
        {
            tracing::error!(%err, "the state cannot be written");
            // Nobody else sets it.
            drop(self.failed.set((err.kind(), err.to_string())));
        }
        for tell in waiters {
            // Who waited may have gone away.
            let _ = tell.send(());
        }
    }

    fn write(&self, batch: Batch) -> io::Result<()> {
        self.database.write(batch.newest(), false)?;
        self.database.environment().pass(Point::ApplyAfter)
    }
}
