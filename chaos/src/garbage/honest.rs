//! A client that does nothing wrong while others do: one session that is asked all the time, one file that is written, and a new logon
//! again and again. Whatever it is refused is somebody else's fault.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::client::{Mount, OpenPlan, PersistentFile, Session, Timeline};
use crate::cluster::Cluster;
use crate::failover::run::mount_options;
use crate::stats::Samples;

/// Pause between two questions.
const ASK_PAUSE: Duration = Duration::from_millis(4);
/// Pause between two writes.
const WRITE_PAUSE: Duration = Duration::from_millis(20);
/// Pause between two logons.
const LOGON_PAUSE: Duration = Duration::from_millis(100);

/// What it has seen since it was asked last.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Milliseconds of an ECHO on its session.
    pub echo: Samples,
    /// Milliseconds of a 4 KiB WRITE that is on the disk when it is answered.
    pub write: Samples,
    /// Milliseconds of a new connection, a logon and a logoff.
    pub logon: Samples,
    /// What went wrong.
    pub errors: Vec<String>,
}

#[derive(Default)]
struct Counts {
    echo: Vec<f64>,
    write: Vec<f64>,
    logon: Vec<f64>,
    errors: Vec<String>,
}

/// The client at work.
pub(super) struct Honest {
    counts: Arc<Mutex<Counts>>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Honest {
    /// Begins at a node.
    pub(super) async fn start(cluster: &Cluster, index: usize) -> anyhow::Result<Self> {
        let endpoint = *cluster.endpoints().get(index).context("no such node")?;
        let (counts, stop, tasks) = (Arc::default(), CancellationToken::new(), TaskTracker::new());
        let (session, breaks) = Session::connect(endpoint.smb, &cluster.identity(), 0).await.context("logon of the honest client")?;
        tasks.spawn(Box::pin(repeat(
            Arc::clone(&counts),
            stop.clone(),
            ASK_PAUSE,
            "ECHO",
            |counts| &mut counts.echo,
            move || {
                let session = session.clone();
                let _ = &breaks;
                async move { session.echo().await.map_err(anyhow::Error::from) }
            },
        )));
        let mut options = mount_options(cluster);
        (options.witness, options.nodes) = (false, vec![endpoint]);
        let mount = Mount::connect(options, 0, Timeline::default()).await.context("mount of the honest client")?;
        let file = Arc::new(PersistentFile::open(&mount, OpenPlan::read_write("honest.bin")).await.context("file of the honest client")?);
        tasks.spawn(Box::pin(repeat(
            Arc::clone(&counts),
            stop.clone(),
            WRITE_PAUSE,
            "WRITE",
            |counts| &mut counts.write,
            move || {
                let (file, _mount) = (Arc::clone(&file), Arc::clone(&mount));
                async move { file.write(0, bytes::Bytes::from_static(&[1; 4096])).await.map(drop).map_err(anyhow::Error::from) }
            },
        )));
        let identity = cluster.identity();
        tasks.spawn(Box::pin(repeat(
            Arc::clone(&counts),
            stop.clone(),
            LOGON_PAUSE,
            "logon",
            |counts| &mut counts.logon,
            move || {
                let identity = identity.clone();
                async move {
                    let (session, _breaks) = Session::connect(endpoint.smb, &identity, 0).await?;
                    session.log_off().await.map_err(anyhow::Error::from)
                }
            },
        )));
        tasks.close();
        Ok(Self { counts, stop, tasks })
    }

    /// What it has seen since the last time.
    pub(super) fn take(&self) -> Seen {
        let counts = std::mem::take(&mut *self.counts.lock().unwrap_or_else(PoisonError::into_inner));
        let Counts { echo, write, logon, errors } = counts;
        Seen { echo: Samples::new(echo), write: Samples::new(write), logon: Samples::new(logon), errors }
    }

    /// Lets it end.
    pub(super) async fn stop(self) {
        self.stop.cancel();
        self.tasks.wait().await;
    }
}

async fn repeat<F: Future<Output = anyhow::Result<()>>>(
    counts: Arc<Mutex<Counts>>,
    stop: CancellationToken,
    pause: Duration,
    what: &'static str,
    which: fn(&mut Counts) -> &mut Vec<f64>,
    mut work: impl FnMut() -> F,
) {
    while stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_some() {
        let began = Instant::now();
        let done = work().await;
        let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
        match done {
            Ok(()) => which(&mut counts).push(began.elapsed().as_secs_f64() * 1000.0),
            Err(error) => counts.errors.push(format!("{what}: {error:#}")),
        }
    }
}
